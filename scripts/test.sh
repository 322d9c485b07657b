#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Unit tests in the sanitized build, then all tests (the unit tests once more, optimised) in the release build, on real
# servers; last the short round of the fault tests, which kill hosts of both builds (FAULT_SEED=... for the dice of an
# earlier run). Ends with one line: "tests: N passed, M failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-$(nproc)}

build() { cmake --preset "$1" "${@:2}" >/dev/null && cmake --build --preset "$1" -j "$jobs"; }

# Runs ctest with the arguments; adds its counts to passed and failed.
passed=0 failed=0
run() {
  local report total bad
  report=$(mktemp)
  ctest "$@" --output-on-failure --no-tests=error 2>&1 | tee "$report" || true
  # "97% tests passed, 1 tests failed out of 42"
  read -r bad total < <(sed -nE 's/.* tests passed, ([0-9]+) tests failed out of ([0-9]+)/\1 \2/p' "$report") || { bad=1 total=1; }
  rm -f "$report"
  passed=$((passed + total - bad)) failed=$((failed + bad))
}

build dev -DPIPELINE_BUILD_BENCH=OFF
run --test-dir build/dev -L unit -j "$jobs"
build release -DPIPELINE_BUILD_TESTS=ON -DPIPELINE_BUILD_BENCH=ON
run --test-dir build/release -L unit -j "$jobs"
run --test-dir build/release -LE 'unit|faults'
ROUNDS=1 run --test-dir build/release -L faults -j "$jobs"

echo "tests: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
