#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka through json_telemetry and threshold_alert, without a sink for the records, beside a program without a framework.

    /usr/bin/python3 tests/bench/lane.py
    /usr/bin/python3 tests/bench/lane.py --before build/before      another build, in alternating rounds

The messages carry the two headers that the bridge adds. The CPU time is that of all threads of the host, with its start, so
that other load on the machine changes it less than the rate. The straight-line program does the same work in one loop.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from common import JVM, Lane, Result, Results, Settings, alternating, arguments, fill_topic, messages, save, straight_line, table

from services import Kafka

TOPIC, PARTITIONS = "lane", 4


def bare(build: Path, kafka: Kafka) -> Result:
    found = straight_line(build, kafka.brokers, TOPIC)
    return {
        "records_per_second": found["rows_per_second"],
        "cpu_us_per_record": found["cpu_us_per_row"],
        "peak_memory_mib": found["peak_memory_mib"],
    }


def measure(settings: Settings, before: Path | None = None) -> Results:
    numbers = count()
    with Kafka(java_options=JVM) as kafka, tempfile.TemporaryDirectory() as folder:
        fill_topic(kafka, TOPIC, PARTITIONS, settings.messages, messages)

        def lane(build: Path, **more: object) -> Callable[[], Result]:
            work = Lane(kafka, TOPIC, settings.messages, Path(folder), settings=more)
            return lambda: work.run(f"lane-{next(numbers)}", build)

        cases = {"1 lane": lane(settings.build), "2 lanes": lane(settings.build, lanes=2)}
        if before:
            cases["1 lane, before"] = lane(before)
        cases["straight-line program"] = lambda: bare(settings.build, kafka)
        found = alternating(cases, settings.rounds)
    for result in found.values():
        result["cpu_of_straight"] = result["cpu_us_per_record"] / max(found["straight-line program"]["cpu_us_per_record"], 1e-9)
    return found


COLUMNS = [
    ("records_per_second", "records/s", ",.0f"), ("cpu_us_per_record", "CPU µs/record", ".3f"),
    ("cpu_of_straight", "of straight", ".2f"), ("peak_memory_mib", "peak MiB", ".0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


def main() -> int:
    parsed = arguments(__doc__, lambda parser: parser.add_argument("--before", type=Path, metavar="BUILD"))
    found = measure(parsed.settings, parsed.before.resolve() if parsed.before else None)
    show(found)
    print(f"\n{save({'lane': found}, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
