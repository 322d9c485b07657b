#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How the cost of a record grows with columns, devices, rules, partitions, the size of messages, and the size of transactions.

    /usr/bin/python3 tests/bench/scaling.py
    /usr/bin/python3 tests/bench/scaling.py --only devices rules

The results are named "columns: 10", and `x` is the number. `growth` is the factor by which the time for each unit of work (a
value, a record, a byte) has grown since the first case: above 1.0 means that the cost is worse than linear.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from bench import Bench
from common import JVM, RULES, START, Lane, Result, Results, Settings, alternating, arguments, fill_topic, messages, save, table

from services import Kafka, Mosquitto, Record, Timescale

COLUMN_COUNTS = (1, 10, 100)
DEVICES = (90, 10_000, 1_000_000)
RULE_COUNTS = (1, 10, 100)
PARTITIONS = (1, 2, 4, 8, 16, 32)
SIZES = (100, 1_000, 10_000, 100_000)
TRANSACTIONS = (100, 1_000, 10_000, 100_000)
Servers = tuple[Kafka, Timescale, Mosquitto]


def wide(numbers: range, columns: int) -> Iterator[Record]:
    """Yield readings with this many metrics."""
    for n in numbers:
        metrics = ",".join(f'"m{c}":{(n + c) % 400 / 16:g}' for c in range(columns))
        value = f'{{"user_id":"user-1","device_id":"device-{n % 90}","timestamp":{START + n},{metrics}}}'
        yield Record(value.encode(), b"device")


def long(numbers: range, size: int) -> Iterator[Record]:
    """Yield readings of this many bytes, most of which are a text without a column."""
    for n in numbers:
        value = f'{{"user_id":"user-1","device_id":"device-{n % 90}","timestamp":{START + n},"temperature":21.5'
        value += f',"note":"{"x" * (size - len(value) - 11)}"}}' if size > len(value) + 11 else "}"
        yield Record(value.encode(), b"device")


def columns(servers: Servers, settings: Settings) -> dict[str, Callable[[], Result]]:
    cases = {}
    for n in COLUMN_COUNTS:
        total = max(settings.messages // (5 + n), 1_000)
        bench = Bench(*servers, total, name=f"columns{n}", make=partial(wide, columns=n))
        names = ",".join(f"m{c}" for c in range(n))
        # The rules of configs/iot.yaml refer to metrics that these messages do not have.
        sets = [f"transforms.parsed.metrics=[{names}]", 'transforms.alerts.rules=[{name: hot, metric: m0, above: 80}]']
        bench.pipeline(sets)
        cases[f"columns: {n}"] = partial(bench.pipeline, sets)
    return cases


def devices(servers: Servers, settings: Settings) -> dict[str, Callable[[], Result]]:
    cases = {}
    for n in dict.fromkeys(min(n, settings.messages) for n in DEVICES):
        # Each device sends at least twice, so that its state is read again.
        bench = Bench(*servers, max(settings.messages, 2 * n), n, name=f"devices{n}")
        cases[f"devices: {n}"] = partial(bench.pipeline, ["memory_limit=1GiB", "shutdown_timeout=3m"])
    return cases


def rules(servers: Servers, settings: Settings, folder: Path) -> dict[str, Callable[[], Result]]:
    kafka = servers[0]
    fill_topic(kafka, "rules", 4, settings.messages, messages)
    numbers = count()
    cases = {}
    for n in RULE_COUNTS:
        given = [{**RULES[i % 2], "name": f"rule{i}"} for i in range(n)]
        lane = Lane(kafka, "rules", settings.messages, folder, rules=given)
        cases[f"rules: {n}"] = lambda work=lane: work.run(f"rules-{next(numbers)}", settings.build)
    return cases


def partitions(servers: Servers, settings: Settings) -> dict[str, Callable[[], Result]]:
    cases = {}
    for n in PARTITIONS:
        bench = Bench(*servers, settings.messages, name=f"partitions{n}", partitions=n)
        cases[f"partitions: {n}"] = partial(bench.pipeline, [])
    return cases


def sizes(servers: Servers, settings: Settings, folder: Path) -> dict[str, Callable[[], Result]]:
    kafka = servers[0]
    numbers = count()
    cases = {}
    for n in SIZES:
        total = max(min(settings.messages, settings.messages * 400 // n), 100)
        fill_topic(kafka, f"sizes{n}", 4, total, partial(long, size=n))
        lane = Lane(kafka, f"sizes{n}", total, folder)
        cases[f"sizes: {n}"] = lambda work=lane: work.run(f"sizes-{next(numbers)}", settings.build)
    return cases


def transactions(servers: Servers, settings: Settings) -> dict[str, Callable[[], Result]]:
    bench = Bench(*servers, settings.messages, name="transactions")
    cases = {}
    for n in TRANSACTIONS:
        batch = {"rows": n, "max_rows": n, "max_bytes": "1GiB", "delay": "1s"}
        sets = [f"sinks.store.batch.{key}={value}" for key, value in batch.items()]
        sets += ["sinks.store.queue.max_bytes=512MiB", "memory_limit=2GiB"]
        cases[f"transactions: {n}"] = partial(bench.pipeline, sets)
    return cases


# Name, and the unit of work whose cost must not grow: per x for columns and sizes, per record for the others.
GROUPS = {"columns": True, "devices": False, "rules": True, "partitions": False, "sizes": True, "transactions": False}


def add_growth(group: str, found: Results) -> None:
    first: float | None = None
    for name, result in found.items():
        x = float(name.partition(": ")[2])
        cost = result.get("cpu_us_per_row", result.get("cpu_us_per_record", 0.0))
        each = cost / x if GROUPS[group] else cost
        first = first or each
        result["x"] = x
        result["growth"] = each / first if first else 0.0


def measure(settings: Settings, only: Sequence[str] = tuple(GROUPS)) -> Results:
    if settings.quick:
        settings = Settings(settings.build, min(settings.messages, 4_000), 1, True)
    found: Results = {}
    for group in only:
        # Servers of their own: the topics and tables of a group are then gone.
        with (
            Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt, tempfile.TemporaryDirectory() as folder
        ):  # fmt: skip
            servers = (kafka, database, mqtt)
            make = {"columns": columns, "devices": devices, "partitions": partitions, "transactions": transactions}
            on_lane = {"rules": rules, "sizes": sizes}
            cases = make[group](servers, settings) if group in make else on_lane[group](servers, settings, Path(folder))
            results = alternating(cases, settings.rounds)
        add_growth(group, results)
        found |= results
    return found


SIZE = "at most 1,000,000 messages, 2,000,000 for a million devices"  # below the table in docs/performance.md
COLUMNS = [
    ("rows_per_second", "rows/s", ",.0f"), ("records_per_second", "records/s", ",.0f"),
    ("cpu_us_per_row", "CPU µs/row", ".2f"), ("cpu_us_per_record", "CPU µs/record", ".2f"), ("growth", "growth", ".2f"),
    ("peak_memory_mib", "peak MiB", ".0f"), ("rows_per_transaction", "rows/transaction", ",.0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


def main() -> int:
    def options(parser: ArgumentParser) -> None:
        parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))

    parsed = arguments(__doc__, options)
    found = measure(parsed.settings, parsed.only)
    show(found)
    print(f"\n{save({'scaling': found}, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
