#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput from topic to topic, at least once and exactly once by transactions, in one run.

    python3 tests/bench/topics.py --build build/release [--messages 1000000] [--rounds 3]

Ratios count, not records a second: machines are noisy, and broker and host share this one's cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

PARTITIONS = 4
LARGE = {"batch": {"rows": 10_000, "delay": "100ms", "max_bytes": "32MiB"}}
CASES = [("at_least_once", "at least once", {}), ("exactly_once", "exactly once", {}),
         ("exactly_once", "exactly once, batch.max_bytes: 32MiB", LARGE),
         ("exactly_once", "the same, 4 writers", {**LARGE, "writers": 4})]  # fmt: skip


def messages(count: int) -> Iterator[tuple[bytes, bytes]]:
    """About 125 bytes each."""
    for n in range(count):
        yield b"device-%d" % (n % 90), (
            b'{"user_id":"user-%d","device_id":"device-%d","timestamp":%d,"temperature":%.2f,"humidity":%.2f}'
            % (n % 30, n % 90, 1_763_000_000_000 + n, 20 + n % 400 / 16, 40 + n % 32 / 8)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["PIPELINE_BUILD_DIR"] = str(arguments.build.resolve())
    from pipeline_host import PipelineHost, configuration

    from services import Kafka, wait_until

    seconds: dict[str, list[float]] = {name: [] for _, name, _ in CASES}
    cpu: dict[str, list[float]] = {name: [] for _, name, _ in CASES}
    with Kafka(java_options=["-XX:+UseG1GC"]) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.create_topic("source", PARTITIONS, {"retention.ms": -1})
        kafka.produce("source", messages(arguments.messages), timeout=600)
        for turn in range(arguments.rounds):
            for number, (delivery, name, more) in enumerate(CASES):
                target = f"target-{turn}-{number}"
                kafka.create_topic(target, PARTITIONS, {"retention.ms": -1})
                directory = Path(folder) / target
                config = configuration(
                    directory,
                    name=target,
                    sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": "source", "group": target}},
                    sinks={"out": {"plugin": "kafka_sink", "from": "in", "brokers": kafka.brokers, "topic": target,
                                   "format": "raw", "key": "{key}", "delivery": delivery,
                                   "batch": {"rows": 10_000, "delay": "100ms"}, **more}},
                )  # fmt: skip
                with PipelineHost(config, directory) as host:
                    # From the first record to the last: the claims at the start are not what is measured.
                    wait_until(lambda t=target: sum(kafka.end_offsets(t).values()) > 0, "the first record", 60)
                    done, began = sum(kafka.end_offsets(target).values()), time.monotonic()
                    wait_until(lambda t=target: sum(kafka.end_offsets(t).values()) >= arguments.messages, "all", 600)
                    took = time.monotonic() - began
                    seconds[name].append(took * arguments.messages / (arguments.messages - done))
                    cpu[name].append(host.cpu_seconds())
                    host.stop()
                assert len(kafka.consume(target, at_least=arguments.messages, timeout=300)) == arguments.messages
                kafka.delete_topic(target)
    base = statistics.median(seconds[CASES[0][1]])
    print(f"{arguments.messages:,} records of about 125 bytes, {PARTITIONS} partitions, medians of {arguments.rounds}\n")
    print("| | records/s | of at least once | µs CPU a record |\n|---|---:|---:|---:|")
    for _, name, _ in CASES:
        median = statistics.median(seconds[name])
        each = statistics.median(cpu[name]) / arguments.messages * 1e6
        print(f"| {name} | {arguments.messages / median:,.0f} | {base / median:.0%} | {each:.2f} |")


if __name__ == "__main__":
    main()
