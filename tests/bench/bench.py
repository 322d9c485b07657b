#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput from Kafka into TimescaleDB, beside what the database itself takes, in one run.

    make bench                          1,000,000 messages
    python3 tests/bench/bench.py --messages 200000

The raw limit is a binary COPY of the very rows that the pipeline stores, by one connection in transactions of 10,000 rows,
into a hypertable of the same shape (timescale_sink_bench prints it). Machines are noisy: compare ratios, not rows/s.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from services import Kafka, Mosquitto, Record, Timescale, wait_until  # noqa: E402

JVM = ["-XX:+UseG1GC"]  # the services' quick start options cost throughput


def messages(count: int) -> Iterator[Record]:
    """About 125 bytes each, of 90 devices: what services and peers were measured with."""
    for n in range(count):
        device = n % 90
        value = {
            "user_id": f"user-{device // 3}",
            "device_id": f"device-{device}",
            "timestamp": 1_763_000_000_000 + n,
            "temperature": round(20 + (n % 400) / 16, 4),
            "humidity": round(40 + (n % 32) / 8, 3),
        }
        yield Record(json.dumps(value).encode(), f"device-{device}".encode(), partition=n % 4)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_mib(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def raw_limit(build: Path, url: str, rows: int) -> float:
    """Rows a second of a plain binary COPY."""
    program = build / "bin" / "timescale_sink_bench"
    out = subprocess.run(
        [program, "--raw", "--rows", str(rows)], env={**os.environ, "DATABASE_URL": url},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = re.search(r"raw\D*([\d.,]+) rows/s", out)
    assert found, out
    return float(found[1].replace(",", ""))


def pipeline_rate(kafka: Kafka, database: Timescale, mqtt: Mosquitto, name: str, count: int, sets: list[str]) -> dict[str, float]:
    from pipeline_host import SOURCE, PipelineHost

    database.create_database(name)
    environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": database.url(name), "MQTT_URL": mqtt.url()}
    with tempfile.TemporaryDirectory() as folder:
        host = PipelineHost(
            SOURCE / "configs" / "iot.yaml", Path(folder), environment=environment,
            sets=[f"sources.telemetry.group={name}", "sources.telemetry.topic=bench", *sets],
        )  # fmt: skip
        with host:
            host.wait_for_log("metrics and health")
            wait_until(lambda: host.metric("pipeline_records_out_total", node="store") > 0, "the first rows", 120)
            began, first = time.monotonic(), host.metric("pipeline_records_out_total", node="store")
            cpu = cpu_seconds(host.process.pid)
            wait_until(lambda: host.metric("pipeline_records_out_total", node="store") >= count, "all rows", 600)
            took, used = time.monotonic() - began, cpu_seconds(host.process.pid) - cpu
            memory = peak_memory_mib(host.process.pid)
            assert host.stop() == 0, host.log()
    stored = int(str(database.query("SELECT count(*) FROM raw_telemetry", database=name)[0][0]))
    assert stored == count, f"{stored} rows of {count}"
    database.drop_database(name)
    return {"rate": (count - first) / took, "cpu_us": used / (count - first) * 1e6, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    os.environ["PIPELINE_BUILD_DIR"] = str(build)
    cases = {
        "1,000 rows or 100 ms (the default)": [],
        "10,000 rows or 100 ms": ["sinks.store.batch.rows=10000", "sinks.store.batch.max_bytes=16MiB"],
        "2 lanes, 2 writers": ["lanes=2", "sinks.store.writers=2"],
    }
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        kafka.create_topic("bench", partitions=4)
        kafka.produce("bench", messages(arguments.messages))
        print(f"{arguments.messages:,} messages, medians of {arguments.rounds} rounds\n", flush=True)
        print(f"{'':<38}{'rows/s':>10}{'of raw':>9}{'CPU µs/row':>12}{'peak MiB':>10}")
        limits, results = [], {case: [] for case in cases}
        for round_number in range(arguments.rounds):
            limits.append(raw_limit(build, database.url(), arguments.messages))
            for number, (case, sets) in enumerate(cases.items()):
                results[case].append(pipeline_rate(kafka, database, mqtt, f"bench_{round_number}_{number}", arguments.messages, sets))
        median = lambda values: sorted(values)[len(values) // 2]  # noqa: E731
        limit = median(limits)
        print(f"{'raw binary COPY, 1 connection':<38}{limit:>10,.0f}{1:>9.0%}")
        for case, runs in results.items():
            rate = median([run["rate"] for run in runs])
            print(f"{case:<38}{rate:>10,.0f}{rate / limit:>9.0%}{median([r['cpu_us'] for r in runs]):>12.2f}{median([r['memory'] for r in runs]):>10.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
