#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput from Kafka into TimescaleDB, beside the limit of the database and beside a program without a framework.

    /usr/bin/python3 tests/bench/bench.py                    1,000,000 messages, 5 rounds
    /usr/bin/python3 tests/bench/bench.py --messages 200000 --rounds 3

The benchmark starts its own servers. Each case of configs/iot.yaml is compared with two others that write transactions of the
same size, with as many connections: raw COPY (a binary COPY by psycopg2 of the rows that the pipeline stored, encoded in
advance) and the straight-line program (straight_line/). All cases alternate, and medians are compared. Machines are noisy, so
look at ratios, not at rows per second.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from common import JVM, START, Result, Results, Settings, alternating, fill_topic, messages, program, straight_line, table

from services import Kafka, Mosquitto, Record, Timescale

PARTITIONS = 4
# Name, whether the messages have headers, writers, settings. While a write is in flight, rows accumulate in complete batches of
# the lane (4,096 rows), and the next write contains up to max_bytes of written data, and up to a quarter of the queue's memory.
# Under load these limits, not batch.rows, determine the size of a transaction.
BIG = ["sinks.store.batch.rows=10000", "sinks.store.batch.max_bytes=10MiB"]
TWO = ["lanes=2", "sinks.store.writers=2"]
CASES: list[tuple[str, bool, int, list[str]]] = [
    ("configs/iot.yaml: 1 lane, 1 writer", True, 1, []),
    ("1 lane, 1 writer, batch.rows: 10,000", True, 1, BIG),
    ("2 lanes, 2 writers", True, 2, TWO),
    ("2 lanes, 2 writers, batch.rows: 10,000", True, 2, TWO + BIG),
    ("messages without headers: 1 lane, 1 writer", False, 1, []),
    ("messages without headers: 2 lanes, 2 writers, batch.rows: 10,000", False, 2, TWO + BIG),
]


class Copier:
    """A connection that runs COPY with encoded bytes."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)

    def out(self, query: str) -> bytes:
        """Return the rows of a query in COPY's binary form."""
        data = io.BytesIO()
        self._copy(f"COPY ({query}) TO STDOUT (FORMAT binary)", data)
        return data.getvalue()

    def write(self, transactions: Sequence[bytes]) -> None:
        for data in transactions:
            # Use one buffer, so that libpq gets the bytes in a single call.
            self._copy("COPY raw_telemetry FROM STDIN (FORMAT binary)", io.BytesIO(data), len(data))

    def _copy(self, sql: str, data: io.BytesIO, buffer: int = 8192) -> None:
        with self._connection, self._connection.cursor() as cursor:
            cursor.copy_expert(sql, data, buffer)

    def close(self) -> None:
        self._connection.close()


class Bench:
    """A topic of messages, and a database with the table that the pipeline creates. `name` is the name of both."""

    def __init__(
        self, kafka: Kafka, database: Timescale, mqtt: Mosquitto, count: int, devices: int = 90, *, name: str = "bench",
        partitions: int = PARTITIONS, headers: bool = True, make: Callable[[range], Iterable[Record]] | None = None,
    ) -> None:  # fmt: skip
        self._kafka, self._database, self._count, self._name = kafka, database, count, name
        self.url = database.create_database(name)
        self._environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": self.url, "MQTT_URL": mqtt.url()}
        self._groups = 0
        fill_topic(kafka, name, partitions, count, make or (lambda numbers: messages(numbers, devices, headers)))

    def slices(self, rows: int) -> list[bytes]:
        """Return the stored rows in COPY's binary form, split into transactions of `rows` rows."""
        copier = Copier(self.url)
        cut = "SELECT * FROM raw_telemetry WHERE time >= to_timestamp({} / 1000.0) AND time < to_timestamp({} / 1000.0)"
        found = [copier.out(cut.format(START + n, START + n + rows)) for n in range(0, self._count, rows)]
        copier.close()
        return found

    def empty(self) -> None:
        # Drop the positions, too: the sink would continue at them even with a new group.
        positions = "pipeline_positions, pipeline_state, straight_line_positions"
        self._database.execute(
            f"TRUNCATE raw_telemetry; DROP TABLE IF EXISTS {positions}; CHECKPOINT", database=self._name
        )

    def rows(self) -> int:
        return int(str(self._database.query("SELECT count(*) FROM raw_telemetry", database=self._name)[0][0]))

    def raw(self, transactions: Sequence[bytes], connections: int) -> Result:
        self.empty()
        copiers = [Copier(self.url) for _ in range(connections)]
        threads = [threading.Thread(target=c.write, args=(transactions[i::connections],)) for i, c in enumerate(copiers)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        for copier in copiers:
            copier.close()
        assert self.rows() == self._count
        return {"rows_per_second": self._count / took}

    def straight(self, build: Path, connections: int, rows: int) -> Result:
        """Store the topic with the straight-line program."""
        self.empty()
        found = straight_line(build, self._kafka.brokers, self._name, self.url, connections, rows)
        assert self.rows() == self._count
        names = ("rows_per_second", "cpu_us_per_row", "peak_memory_mib")
        return {**{name: found[name] for name in names}, "rows_per_transaction": self._count / found["transactions"]}

    def pipeline(
        self, sets: Sequence[str], build: Path | None = None, watch: Callable[[Any], object] = lambda host: None
    ) -> Result:
        """Store the topic. watch: called with the host after the first and after the last row."""
        from pipeline_host import BUILD, SOURCE, PipelineHost  # BUILD comes from the environment

        if self._groups:
            self.empty()
        self._groups += 1
        group = [f"sources.telemetry.group={self._name}{self._groups}", f"sources.telemetry.topic={self._name}"]
        with tempfile.TemporaryDirectory() as folder:
            config = SOURCE / "configs" / "iot.yaml"
            with PipelineHost(
                config, Path(folder), environment=self._environment, sets=[*group, *sets], build=build or BUILD
            ) as host:

                def stored_after(rows: int) -> tuple[float, float, float]:
                    """Wait until more than `rows` rows are stored; return the time, their number and the CPU seconds."""
                    while (stored := host.metric("pipeline_records_out_total", node="store")) <= rows:
                        assert host.process.poll() is None, host.log()
                        time.sleep(0.02)  # requests use the host's CPU, too
                    return time.monotonic(), stored, host.cpu_seconds()

                began, first, cpu = stored_after(0)
                watch(host)
                ended, last, cpu_then = stored_after(self._count - 1)
                watch(host)
                memory = host.peak_memory()
                transactions = host.metric("pipeline_timescale_transactions_total")
                assert host.stop() == 0, host.log()
        assert self.rows() == self._count
        rows = max(last - first, 1)
        return {
            "rows_per_second": rows / max(ended - began, 1e-3),
            "cpu_us_per_row": (cpu_then - cpu) / rows * 1e6,
            "peak_memory_mib": memory,
            "rows_per_transaction": self._count / transactions,
        }


def measure(settings: Settings) -> Results:
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        benches = {
            headers: Bench(kafka, database, mqtt, settings.messages, name=name, headers=headers)
            for headers, name in ((True, "bench"), (False, "plain"))
        }
        cases: dict[str, Callable[[], Result]] = {}
        beside: dict[str, tuple[str, str]] = {}
        encoded: dict[int, list[bytes]] = {}
        benches[True].pipeline([])  # creates the table, and warms up
        for name, headers, writers, sets in CASES:
            bench = benches[headers]
            size = round(bench.pipeline(sets)["rows_per_transaction"], -2) or 100.0
            rows = int(min(size, settings.messages))
            raw = f"raw COPY, connections: {writers}, rows: {rows:,}"
            plain = "" if headers else ", without headers"
            straight = f"straight-line program, connections: {writers}, rows: {rows:,}{plain}"
            if rows not in encoded:
                encoded[rows] = bench.slices(rows)
            beside[name] = (raw, straight)
            cases[name] = partial(bench.pipeline, sets)
            cases[raw] = partial(benches[True].raw, encoded[rows], writers)
            cases[straight] = partial(bench.straight, settings.build, writers, rows)
        found = alternating(cases, settings.rounds)
    for name, (raw, straight) in beside.items():
        found[name]["of_raw"] = found[name]["rows_per_second"] / found[raw]["rows_per_second"]
        found[name]["of_straight"] = found[name]["rows_per_second"] / found[straight]["rows_per_second"]
        found[name]["cpu_of_straight"] = found[name]["cpu_us_per_row"] / max(found[straight]["cpu_us_per_row"], 1e-9)
    return found


COLUMNS = [
    ("rows_per_second", "rows/s", ",.0f"), ("of_raw", "of raw", ".0%"), ("of_straight", "of straight", ".0%"),
    ("cpu_us_per_row", "CPU µs/row", ".2f"), ("cpu_of_straight", "of straight", ".2f"),
    ("peak_memory_mib", "peak MiB", ".0f"), ("rows_per_transaction", "rows/transaction", ",.0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


if __name__ == "__main__":
    sys.exit(program(__doc__, measure, show))
