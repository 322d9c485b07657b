#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of configs/iot.yaml while it stores a backlog of ten million records.

    /usr/bin/python3 tests/bench/backlog.py
    /usr/bin/python3 tests/bench/backlog.py --records 1000000

The topic needs about 2.5 GB of disk space, and the table about 2 GB.
"""

from __future__ import annotations

import sys
from functools import partial

from bench import Bench
from common import JVM, Results, Settings, alternating, arguments, save, table

from services import Kafka, Mosquitto, Timescale

CASES = {"default": [], "memory_limit: 128MiB": ["memory_limit=128MiB"], "memory_limit: 64MiB": ["memory_limit=64MiB"]}
TEN_MILLION = 10_000_000


def measure(settings: Settings, records: int = TEN_MILLION) -> Results:
    count = settings.few(records, 50_000)
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        bench = Bench(kafka, database, mqtt, count, name="backlog")
        found = alternating({name: partial(bench.pipeline, sets) for name, sets in CASES.items()}, settings.rounds)
    return {name: {**result, "records": float(count)} for name, result in found.items()}


SIZE = "10,000,000 records"  # below the table in docs/performance.md
COLUMNS = [
    ("records", "records", ",.0f"), ("peak_memory_mib", "peak MiB", ".0f"), ("rows_per_second", "rows/s", ",.0f"),
    ("cpu_us_per_row", "CPU µs/row", ".2f"), ("rows_per_transaction", "rows/transaction", ",.0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


def main() -> int:
    parsed = arguments(__doc__, lambda parser: parser.add_argument("--records", type=int, default=TEN_MILLION))
    found = measure(parsed.settings, parsed.records)
    show(found)
    print(f"\n{save({'backlog': found}, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
