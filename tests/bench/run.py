#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks one after another, and write their results to one JSON file (`make bench`).

    /usr/bin/python3 tests/bench/run.py                        everything, five rounds: several hours
    /usr/bin/python3 tests/bench/run.py database lane          only these
    /usr/bin/python3 tests/bench/run.py --quick                everything with few records: minutes; no figure means anything
    /usr/bin/python3 tests/bench/run.py --docs                 also write tables and plots to docs/performance.md

The file is written after each benchmark, so that a failure loses only the one that failed; the exit code is then 1.
"""

from __future__ import annotations

import sys
import traceback
from argparse import ArgumentParser

import backlog
import bench
import document
import framework
import lane
import latency
import mqtt
import quiet
import scaling
import start
import topics
from common import ROOT, Results, arguments, save

BENCHMARKS = {
    "database": bench,
    "lane": lane,
    "topics": topics,
    "mqtt": mqtt,
    "framework": framework,
    "latency": latency,
    "quiet": quiet,
    "start": start,
    "backlog": backlog,
    "scaling": scaling,
}


def main() -> int:
    def options(parser: ArgumentParser) -> None:
        parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"one of: {', '.join(BENCHMARKS)}")
        parser.add_argument("--docs", action="store_true", help="write tables and plots to docs/performance.md")

    parsed = arguments(__doc__, options)
    chosen = parsed.benchmarks or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        sys.exit(f"unknown benchmarks: {', '.join(sorted(unknown))} (one of: {', '.join(BENCHMARKS)})")
    found: dict[str, Results] = {}
    failed = []
    file = None
    for name in chosen:
        print(f"\n=== {name}", flush=True)
        try:
            found[name] = BENCHMARKS[name].measure(parsed.settings)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        BENCHMARKS[name].show(found[name])
        file = save(found, parsed.settings, file)
    if file:
        print(f"\n{file}")
    if file and parsed.docs:
        document.write(ROOT / file)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
