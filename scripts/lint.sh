#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Check formatting, words, spelling, shell scripts, the length of files, the deployment files, and clang-tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Print the program's name with the version of the Debian release: 15 in Debian 12, 19 in Debian 13.
tool() { command -v "$1-15" || command -v "$1-19"; }

mapfile -t sources < <(git ls-files '*.cpp' '*.hpp' '*.h' '*.c')
"$(tool clang-format)" --dry-run -Werror "${sources[@]}"
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run')
shellcheck "${scripts[@]}"
scripts/lint-words.sh
# Limit the length of files; .clang-tidy limits the length of functions. The C interface is one file by design.
long=$(git ls-files 'core/*' 'plugins/*' 'tools/*' | grep -E '\.(cpp|hpp|c|h)$' |
  grep -vE '_test\.cpp$|/tests/|/fuzz/|/bench/|^core/abi/pipeline/abi\.h$' | xargs wc -l | awk '$2 != "total" && $1 > 500')
if [[ -n $long ]]; then
  printf 'lint: error: more than 500 lines; split these files by responsibility:\n%s\n' "$long" >&2
  exit 1
fi
scripts/lint-deploy.sh
# clang cannot read the precompiled headers of another compiler.
cmake --preset release -B build/lint -DPIPELINE_BUILD_TESTS=OFF -DPIPELINE_PRECOMPILED_HEADERS=OFF >/dev/null
mapfile -t units < <(git ls-files 'core/*.cpp' 'plugins/*.cpp' 'tools/*.cpp' | grep -vE '_test\.cpp$|/tests/|/fuzz/|/bench/')
printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -n 4 "$(tool clang-tidy)" -quiet -p build/lint --extra-arg=-Wno-unknown-warning-option
echo "lint: clean"
