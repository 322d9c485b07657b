#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The cost of many devices: the default pipeline, exactly once, with 1,000 and with 1,000,000 device ids.

    /usr/bin/python3 tests/bench/devices.py                     2,000,000 messages for each
    /usr/bin/python3 tests/bench/devices.py --devices 100000

The alert rules keep state for each device, and snapshots of changed state are written to the sink. The last columns show the
number of entries and their size in the database.
"""

from __future__ import annotations

import argparse
import sys

from bench import Bench
from common import JVM, Result

from services import Kafka, Mosquitto, Timescale


def measure(devices: int, count: int) -> Result:
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        bench = Bench(kafka, database, mqtt, count, devices)
        found = bench.pipeline(["memory_limit=1GiB", "shutdown_timeout=3m"])
        entries, size = database.query(
            "SELECT count(*), pg_total_relation_size('pipeline_state') FROM pipeline_state", database="bench"
        )[0]
        return {**found, "entries": float(str(entries)), "state_mib": float(str(size)) / (1 << 20)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--devices", type=int, nargs="*", default=[1_000, 1_000_000])
    arguments = parser.parse_args()
    print(f"{'devices':>10}{'rows/s':>10}{'us CPU/row':>12}{'peak MiB':>10}{'entries':>12}{'state MiB':>11}")
    for devices in arguments.devices:
        r = measure(devices, arguments.messages)
        print(
            f"{devices:>10,}{r['rows_per_second']:>10,.0f}{r['cpu_us_per_row']:>12.2f}{r['peak_memory_mib']:>10.0f}"
            f"{r['entries']:>12,.0f}{r['state_mib']:>11.0f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
