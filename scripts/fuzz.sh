#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build the fuzz targets with clang and the address and undefined-behaviour sanitizers, and run each for some seconds.
#
#   scripts/fuzz.sh [target]...     (no argument: all)
#
# TIME=300    seconds for each target
# JOBS=N      number of targets to run at once; default: one for each processor
# MERGE=1     do not run: add inputs of earlier runs that reach new code to the committed corpora
#
# The results of a run are in build/fuzz/runs/<target>: the corpus, the log, and inputs that caused a failure (crash-*,
# timeout-*, oom-*, leak-*). The output ends with a table. The exit code is 1 if a target failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-$(nproc)}
runs=build/fuzz/runs
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=0}

# Run one target for `TIME` seconds with inputs of up to 8 KiB. Longer inputs are slower and do not reach more code.
run_one() {
  local target=$1 corpus=$2
  mkdir -p "$runs/$target/corpus"
  "build/fuzz/bin/$target" -max_total_time="${TIME:-300}" -max_len=8192 -timeout=25 -print_final_stats=1 \
    -artifact_prefix="$runs/$target/" "$runs/$target/corpus" "$corpus" >"$runs/$target/log" 2>&1
}

# Keep the corpus small: add only inputs that reach branches which no committed input reaches, and ignore execution
# counts.
merge_one() {
  local target=$1 corpus=$2
  "build/fuzz/bin/$target" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$corpus" "$runs/$target/corpus"
}

# Print a line of the table: target, executions, outcome.
report_one() {
  local target=$1 log=$runs/$1/log outcome=clean executed
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  grep -q '^Done ' "$log" || outcome="FAILED, see $log"
  printf '%-28s %14s executions   %s\n' "$target" "${executed:-?}" "$outcome"
  [[ $outcome == clean ]]
}

cmake --preset fuzz -DPIPELINE_BUILD_TESTS=OFF -DPIPELINE_BUILD_BENCH=OFF >/dev/null
mapfile -t all <build/fuzz/fuzz_targets.txt
chosen=()
for line in "${all[@]}"; do
  [[ $# -eq 0 || " $* " == *" ${line%% *} "* ]] && chosen+=("$line")
done
[[ ${#chosen[@]} -gt 0 ]] || { echo "fuzz: unknown target; the targets are: ${all[*]%% *}" >&2; exit 2; }
cmake --build --preset fuzz -j "$jobs" --target "${chosen[@]%% *}"

if [[ -n ${MERGE:-} ]]; then
  for line in "${chosen[@]}"; do merge_one "${line%% *}" "${line#* }"; done
  exit
fi
for line in "${chosen[@]}"; do
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
  run_one "${line%% *}" "${line#* }" &
done
wait
failed=0
for line in "${chosen[@]}"; do report_one "${line%% *}" || failed=1; done
exit "$failed"
