#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput from topic to topic, at least once and exactly once (by transactions), in one run.

    /usr/bin/python3 tests/bench/topics.py [--messages 1000000] [--rounds 3]

Compare ratios, not records per second: machines are noisy, and broker and host share the cores of this one. The CPU time is that
of all threads of the host, with its start.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path

from common import JVM, Result, Results, Settings, alternating, fill_topic, messages, program, table

from services import Kafka, wait_until

PARTITIONS = 4
LARGE = {"batch": {"rows": 10_000, "delay": "100ms", "max_bytes": "32MiB"}}
AT_LEAST_ONCE = "at least once"
CASES: dict[str, tuple[str, Mapping[str, object]]] = {
    AT_LEAST_ONCE: ("at_least_once", {}),
    "exactly once": ("exactly_once", {}),
    "exactly once, batch.max_bytes: 32MiB": ("exactly_once", LARGE),
    "exactly once, 32MiB, 4 writers": ("exactly_once", {**LARGE, "writers": 4}),
}


def copy(kafka: Kafka, folder: Path, target: str, total: int, delivery: str, more: Mapping[str, object]) -> Result:
    from pipeline_host import PipelineHost, configuration

    kafka.create_topic(target, PARTITIONS, {"retention.ms": -1})
    directory = folder / target
    config = configuration(
        directory,
        name=target,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": "source", "group": target}},
        sinks={"out": {"plugin": "kafka_sink", "from": "in", "brokers": kafka.brokers, "topic": target,
                       "format": "raw", "key": "{key}", "delivery": delivery,
                       "batch": {"rows": 10_000, "delay": "100ms"}, **more}},
    )  # fmt: skip
    with PipelineHost(config, directory) as host:
        # Measure from the first record to the last, without the claims at the start.
        wait_until(lambda: sum(kafka.end_offsets(target).values()) > 0, "the first record", 60)
        before, began = sum(kafka.end_offsets(target).values()), time.monotonic()
        wait_until(lambda: sum(kafka.end_offsets(target).values()) >= total, "all records", 600)
        took = time.monotonic() - began
        result = {
            "records_per_second": max(total - before, 1) / max(took, 1e-3),
            "cpu_us_per_record": host.cpu_seconds() / total * 1e6,
            "peak_memory_mib": host.peak_memory(),
        }
        host.stop()
    assert len(kafka.consume(target, at_least=total, timeout=300)) == total
    kafka.delete_topic(target)
    return result


def measure(settings: Settings) -> Results:
    numbers = count()
    with Kafka(java_options=JVM) as kafka, tempfile.TemporaryDirectory() as folder:
        fill_topic(kafka, "source", PARTITIONS, settings.messages, partial(messages, headers=False))

        def case(delivery: str, more: Mapping[str, object]) -> Result:
            return copy(kafka, Path(folder), f"target-{next(numbers)}", settings.messages, delivery, more)

        found = alternating({name: partial(case, *how) for name, how in CASES.items()}, settings.rounds)
    for result in found.values():
        result["of_at_least_once"] = result["records_per_second"] / found[AT_LEAST_ONCE]["records_per_second"]
    return found


COLUMNS = [
    ("records_per_second", "records/s", ",.0f"), ("of_at_least_once", "of at least once", ".0%"),
    ("cpu_us_per_record", "CPU µs/record", ".2f"), ("peak_memory_mib", "peak MiB", ".0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


if __name__ == "__main__":
    sys.exit(program(__doc__, measure, show))
