#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Move the debug information of installed programs and plugins into .debug/<file>.debug beside them, where gdb, lldb and
# perf look for it.
#
#   scripts/split-debug.sh < build/release/install_manifest.txt
set -euo pipefail

while IFS= read -r file || [[ -n $file ]]; do
  file=${DESTDIR:-}$file
  [[ $(head -c 4 "$file" | tr -d '\0') == $'\x7fELF' ]] || continue
  debug=$(dirname "$file")/.debug/$(basename "$file").debug
  mkdir -p "$(dirname "$debug")"
  objcopy --only-keep-debug "$file" "$debug"
  objcopy --strip-unneeded --remove-section=.gnu_debuglink --add-gnu-debuglink="$debug" "$file"
done
