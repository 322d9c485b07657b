#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Check the spelling with codespell, and search for the phrases of scripts/words.txt. A part of `make lint`.
#
#   scripts/lint-words.sh [file or folder]...     (no argument: all files)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# All text files of the repository, except test data, generated pages, foreign texts, and the lists of this script.
files=("${@:-.}" ':!*/fuzz/corpus/*' ':!plugins/json_telemetry/tests/json_test_suite/*' ':!docs/reference/*' ':!LICENSE'
  ':!scripts/words.txt' ':!scripts/codespell-ignore.txt')
failed=0

die() {
  printf 'lint: error: %s\n' "$*" >&2
  exit 1
}

command -v codespell >/dev/null || die "codespell is not installed: scripts/install-deps.sh lint"
git grep -Ilz '' -- "${files[@]}" | xargs -0 codespell --check-hidden --ignore-words scripts/codespell-ignore.txt || failed=1

while IFS=$'\t' read -r pattern instead; do
  [[ -n $pattern && $pattern != \#* ]] || continue
  [[ -n $instead ]] || die "scripts/words.txt: no tab and suggestion after '$pattern'"
  found=$(git grep -nIoP -e "$pattern" -- "${files[@]}") || [[ $? -eq 1 ]] || die "scripts/words.txt: invalid pattern '$pattern'"
  [[ -n $found ]] || continue
  failed=1
  while IFS=: read -r file line phrase; do
    printf '%s:%s: "%s"; write instead: %s\n' "$file" "$line" "$phrase" "$instead"
  done <<<"$found"
done <scripts/words.txt

exit "$failed"
