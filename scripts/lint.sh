#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t sources < <(git ls-files '*.cpp' '*.hpp' '*.h' '*.c')
clang-format-15 --dry-run -Werror "${sources[@]}"
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run')
shellcheck "${scripts[@]}"
scripts/lint-deploy.sh
cmake --preset release -DPIPELINE_BUILD_TESTS=OFF >/dev/null
mapfile -t units < <(git ls-files 'core/*.cpp' 'plugins/*.cpp' 'tools/*.cpp' | grep -vE '_test\.cpp$|/tests/|/fuzz/|/bench/')
printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-15 -quiet -p build/release --extra-arg=-Wno-unknown-warning-option
echo "lint: clean"
