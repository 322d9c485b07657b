#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the unit tests in the sanitizer build, then all tests in the release build, on real servers, and finally one round
# of the fault tests, which use both builds (FAULT_SEED=... repeats an earlier run). The last lines are the output of
# all failures and "tests: N passed, M failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-$(nproc)}
slots=$((2 * jobs + 1))  # of ctest: see cmake/testing.cmake
# shellcheck source=scripts/test-totals.sh
. scripts/test-totals.sh

build() { cmake --preset "$1" "${@:2}" >/dev/null && cmake --build --preset "$1" -j "$jobs"; }

build dev
count scripts/run_tests.py --test-dir build/dev -L unit -j "$slots"
build release -DPIPELINE_BUILD_TESTS=ON -DPIPELINE_BUILD_BENCH=ON
count scripts/run_tests.py --test-dir build/release -LE faults -j "$slots"
ROUNDS=1 count scripts/run_tests.py --test-dir build/release -L faults -j $((jobs + 1))  # they mostly wait
print_totals
