#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The framework alone: framework_bench passes prepared batches through a filter to a sink that discards rows.

    /usr/bin/python3 tests/bench/framework.py
"""

from __future__ import annotations

import re
import subprocess
import sys

from common import Result, Results, Settings, alternating, program, table


def run(settings: Settings) -> Result:
    records = settings.few(50_000_000, 1_000_000)
    done = subprocess.run(
        [settings.build / "bin" / "framework_bench", str(records)], capture_output=True, text=True, check=False
    )
    found = re.search(r"([\d.]+) M records per second.*; ([\d.]+) ns each; ([\d.]+) allocations", done.stdout)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"framework_bench: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return {
        "records_per_cpu_second": float(found[1]) * 1e6,
        "ns_per_record": float(found[2]),
        "allocations_per_batch": float(found[3]),
    }


def measure(settings: Settings) -> Results:
    return alternating({"generated batches → filter → null sink": lambda: run(settings)}, settings.rounds)


SIZE = "50,000,000 records"  # below the table in docs/performance.md
COLUMNS = [
    ("records_per_cpu_second", "records per CPU second", ",.0f"), ("ns_per_record", "ns/record", ".1f"),
    ("allocations_per_batch", "allocations/batch of 4,096", ".1f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


if __name__ == "__main__":
    sys.exit(program(__doc__, measure, show))
