#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run ctest with the given arguments, then run each test that failed once more, alone.

    scripts/run_tests.py --test-dir build/release -L unit -j 2

A test fails if it fails both times. A test that passes the second time is counted as passed, but the report names it
as unstable, with the output of its failure: it depends on time or load, or it has found a rare fault. The last lines
are the report and "tests: N passed, M failed".
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

LINES_OF_OUTPUT = 40
LONGEST_LINE = 400


def run_ctest(arguments: list[str]) -> dict[str, str | None]:
    """Return the output of each test that failed, and None for each test that passed, by name."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        subprocess.run(["ctest", *arguments, "--output-on-failure", "--no-tests=error", "--output-junit", results], check=False)
        if not results.exists():
            return {}
        tests = ElementTree.parse(results).iter("testcase")
        return {test.attrib["name"]: (test.findtext("system-out") or "(no output)") if test.attrib["status"] == "fail" else None for test in tests}


def test_directory(arguments: list[str]) -> list[str]:
    if "--test-dir" not in arguments:
        return []
    at = arguments.index("--test-dir")
    return arguments[at : at + 2]


def report(first: dict[str, str], failed: set[str]) -> None:
    print("=== failures")
    for name, output in first.items():
        print(f"--- {name}: {'failed twice' if name in failed else 'UNSTABLE: failed, then passed when it was run again, alone'}")
        for line in output.rstrip().splitlines()[-LINES_OF_OUTPUT:]:
            print(f"    {line[:LONGEST_LINE]}")
    print("=== end of failures")


def main(arguments: list[str]) -> int:
    results = run_ctest(arguments)
    first = {name: output for name, output in results.items() if output is not None}
    failed: set[str] = set()
    if first:
        # By name: --rerun-failed selects by numbers, which differ if the first run had excluded tests.
        names = "|".join(re.escape(name) for name in first)
        again = run_ctest([*test_directory(arguments), "--tests-regex", f"^({names})$", "-j", "1"])
        failed = {name for name in first if again.get(name, "not run") is not None}
        report(first, failed)
    bad = len(failed) if results else 1  # without any result, ctest itself has failed
    print(f"tests: {len(results) - len(failed)} passed, {bad} failed", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
