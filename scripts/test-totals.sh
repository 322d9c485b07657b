# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Functions for scripts that add up the results of several test runs. The output of each run ends with a line "tests: N
# passed, M failed" and can contain a report between "=== failures" and "=== end of failures".
passed=0 failed=0 failures=
report_lines='/^=== failures$/,/^=== end of failures$/'

# Run a command, keep its report for the end, and add the counts of its last "tests: ..." line to passed and failed.
count() {
  local output code=0 good bad
  output=$(mktemp)
  "$@" 2>&1 | tee "$output" | sed -u "${report_lines}d" || code=1
  read -r good bad < <(sed -nE 's/^tests: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$output" | tail -n 1) || { good=0 bad=1; }
  failures+=$(sed -n "${report_lines}p" "$output" && printf '\n.')
  failures=${failures%.}
  rm -f "$output"
  passed=$((passed + good)) failed=$((failed + (bad > code ? bad : code)))
}

# Print all reports and the total. The exit status is 0 if every test passed.
print_totals() {
  printf '%s\n' "$failures" | sed '/^$/d'
  echo "tests: $passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
