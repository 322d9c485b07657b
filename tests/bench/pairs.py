#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two builds of pipeline-host on the same topic and table, in alternating pairs.

    python3 tests/bench/pairs.py --base ../before/build/release --new build/release
    python3 tests/bench/pairs.py --base A --new B --pairs 10 --messages 1000000 --set lanes=2

For each figure the program prints the ratio new/base (above 1: the new build is better) with its 95 % interval: the geometric
mean of the pairs' ratios, and Student's t over their logarithms. It exits with 1 if an interval reaches below --floor.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "bench"), str(ROOT / "tests" / "integration")]

from bench import Bench  # noqa: E402
from common import JVM, Result  # noqa: E402

from services import Kafka, Mosquitto, Timescale  # noqa: E402

# Two-sided 95 % quantiles of Student's t, by degrees of freedom (any statistical table).
STUDENT = [0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131]

# Each figure as "more is better".
FIGURES = {
    "rows per second": lambda run: run["rows_per_second"],
    "rows per CPU second of the host": lambda run: 1e6 / run["cpu_us_per_row"],
}


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return the lower bound, the mean and the upper bound of the ratio, at 95 %."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    degrees = len(logs) - 1
    quantile = STUDENT[degrees] if degrees < len(STUDENT) else 2.0
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean - half), math.exp(mean), math.exp(mean + half)


def measure(builds: dict[str, Path], messages: int, pairs: int, sets: list[str]) -> list[dict[str, Result]]:
    """Return the runs of each pair. The builds take turns in running first."""
    found = []
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        bench = Bench(kafka, database, mqtt, messages)
        for build in builds.values():
            bench.pipeline(sets, build)  # creates the table, and warms up
        for number in range(pairs):
            order = list(builds.items())[:: 1 if number % 2 == 0 else -1]
            pair = {name: bench.pipeline(sets, build) for name, build in order}
            found.append(pair)
            figures = ", ".join(f"{name} {pair[name]['rows_per_second']:,.0f} rows/s {pair[name]['cpu_us_per_row']:.2f} us" for name in builds)
            print(f"pair {number + 1} of {pairs}: {figures}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--new", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--floor", type=float, default=0.97)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    builds = {"base": arguments.base.resolve(), "new": arguments.new.resolve()}
    os.environ["PIPELINE_BUILD_DIR"] = str(builds["new"])

    pairs = measure(builds, arguments.messages, arguments.pairs, arguments.sets)
    good = True
    for name, figure in FIGURES.items():
        low, mean, high = interval([figure(pair["new"]) / figure(pair["base"]) for pair in pairs])
        good &= low > arguments.floor
        print(f"{name:<34} new/base {mean:.3f}  [{low:.3f}, {high:.3f}]")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
