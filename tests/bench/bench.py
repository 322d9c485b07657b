#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Throughput from Kafka into TimescaleDB, beside what the database itself takes, in one run.

    make bench                          1,000,000 messages, 3 rounds
    python3 tests/bench/bench.py --messages 200000

The servers are started for it. The raw limit is a binary COPY of the very rows that the pipeline stored, encoded beforehand,
into the very table, by bare libpq. All cases take turns, and medians are compared: machines are noisy, so look at ratios, not
at rows a second. The result is also written to build/bench/, as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from services import Kafka, Mosquitto, Record, Timescale  # noqa: E402

JVM = ["-XX:+UseG1GC"]  # the services' quick start options cost throughput
PARTITIONS = 4
START = 1_763_000_000_000
DATABASE = "bench"
Result = dict[str, float]

# Name, connections, rows a transaction.
RAW = [
    (f"raw COPY, {n} connection{'s'[: n - 1]}, {rows:,} rows", n, rows)
    for n in (1, 2)
    for rows in (1_000, 4_000, 10_000)
]
# Name, the raw limit to compare with, settings. While a write is in flight rows gather, in whole batches of the lane (4,096
# rows), and the next write takes up to max_bytes of them: under load that, not batch.rows, is what makes a transaction. The
# output's last column tells what came of it.
BIG = ["sinks.store.batch.rows=10000", "sinks.store.batch.max_bytes=10MiB"]
TWO = ["lanes=2", "sinks.store.writers=2"]
PIPELINE: list[tuple[str, str, list[str]]] = [
    ("configs/iot.yaml: 1 lane, 1 writer", RAW[1][0], []),
    ("1 lane, 1 writer, 10,000 rows", RAW[2][0], BIG),
    ("2 lanes, 2 writers", RAW[4][0], TWO),
    ("2 lanes, 2 writers, 10,000 rows", RAW[5][0], TWO + BIG),
]


def messages(numbers: range, devices: int = 90) -> Iterator[Record]:
    """About 125 bytes each, with the headers that the bridge gives them."""
    for n in numbers:
        device = n % devices
        value = (
            f'{{"user_id":"user-{device // 3}","device_id":"device-{device}","timestamp":{START + n},'
            f'"temperature":{20 + n % 400 / 16},"humidity":{40 + n % 32 / 8}}}'
        )
        topic = f"users/user-{device // 3}/devices/device-{device}/telemetry"
        headers = [("message_id", f"{n:032x}".encode()), ("mqtt_topic", topic.encode())]
        yield Record(value.encode(), f"device-{device}".encode(), headers=headers)


class Copier:
    """A connection that does nothing but COPY what is given to it, without a byte touched."""

    _copy_in = 4

    def __init__(self, url: str) -> None:
        self._lib = lib = ctypes.CDLL("libpq.so.5")
        for name in ("PQconnectdb", "PQexec", "PQgetResult"):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.PQerrorMessage.restype = ctypes.c_char_p
        lib.PQgetCopyData.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
        self._connection = ctypes.c_void_p(lib.PQconnectdb(url.encode()))

    def run(self, sql: str, *, copies: bool = False) -> None:
        result = ctypes.c_void_p(self._lib.PQexec(self._connection, sql.encode()))
        status = self._lib.PQresultStatus(result)
        self._lib.PQclear(result)
        if status not in ((3, self._copy_in) if copies else (1, 2)):
            raise RuntimeError(f"{sql}: {self._lib.PQerrorMessage(self._connection).decode()}")

    def out(self, query: str) -> bytes:
        """The rows of a query in COPY's binary form."""
        self.run(f"COPY ({query}) TO STDOUT (FORMAT binary)", copies=True)
        data, pieces = ctypes.c_void_p(), []
        while (size := self._lib.PQgetCopyData(self._connection, ctypes.byref(data), 0)) > 0:
            pieces.append(ctypes.string_at(data, size))
            self._lib.PQfreemem(data)
        self._end()
        return b"".join(pieces)

    def write(self, transactions: Sequence[bytes]) -> None:
        for data in transactions:
            self.run("BEGIN; COPY raw_telemetry FROM STDIN (FORMAT binary)", copies=True)
            self._lib.PQputCopyData(self._connection, data, len(data))
            self._lib.PQputCopyEnd(self._connection, None)
            self._end()
            self.run("COMMIT")

    def _end(self) -> None:
        while result := self._lib.PQgetResult(self._connection):
            self._lib.PQclear(ctypes.c_void_p(result))

    def close(self) -> None:
        self._lib.PQfinish(self._connection)


class Bench:
    """The servers with a topic of messages, and the table that the pipeline makes."""

    def __init__(self, kafka: Kafka, database: Timescale, mqtt: Mosquitto, count: int, devices: int = 90) -> None:
        self._database, self._count = database, count
        self._url = database.create_database(DATABASE)
        self._environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": self._url, "MQTT_URL": mqtt.url()}
        self._groups = 0
        kafka.create_topic(DATABASE, PARTITIONS, {"retention.ms": -1})
        for partition in range(PARTITIONS):
            kafka.produce(DATABASE, messages(range(partition, count, PARTITIONS), devices), partition=partition)

    def slices(self, rows: int) -> list[bytes]:
        """What the pipeline stored, in transactions of so many rows."""
        copier = Copier(self._url)
        cut = "SELECT * FROM raw_telemetry WHERE time >= to_timestamp({} / 1000.0) AND time < to_timestamp({} / 1000.0)"
        found = [copier.out(cut.format(START + n, START + n + rows)) for n in range(0, self._count, rows)]
        copier.close()
        return found

    def empty(self) -> None:
        # The positions, too: the sink knows better than a new group where it stands.
        self._database.execute(
            "TRUNCATE raw_telemetry; DROP TABLE IF EXISTS pipeline_positions, pipeline_state; CHECKPOINT", database=DATABASE
        )

    def rows(self) -> int:
        return int(str(self._database.query("SELECT count(*) FROM raw_telemetry", database=DATABASE)[0][0]))

    def raw(self, transactions: Sequence[bytes], connections: int) -> Result:
        self.empty()
        copiers = [Copier(self._url) for _ in range(connections)]
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

    def pipeline(self, sets: Sequence[str]) -> Result:
        from pipeline_host import SOURCE, PipelineHost  # knows the build from the environment

        if self._groups:
            self.empty()
        self._groups += 1
        group = [f"sources.telemetry.group={DATABASE}{self._groups}", f"sources.telemetry.topic={DATABASE}"]
        with tempfile.TemporaryDirectory() as folder:
            config = SOURCE / "configs" / "iot.yaml"
            with PipelineHost(config, Path(folder), environment=self._environment, sets=[*group, *sets]) as host:

                def stored_after(rows: int) -> tuple[float, float, float]:
                    """When, with how many rows stored and how much CPU taken."""
                    while (stored := host.metric("pipeline_records_out_total", node="store")) <= rows:
                        assert host.process.poll() is None, host.log()
                        time.sleep(0.02)  # asking takes the host's CPU too
                    return time.monotonic(), stored, host.cpu_seconds()

                began, first, cpu = stored_after(0)
                ended, _, cpu_then = stored_after(self._count - 1)
                memory = host.peak_memory()
                transactions = host.metric("pipeline_timescale_transactions_total")
                assert host.stop() == 0, host.log()
        assert self.rows() == self._count
        rows = self._count - first
        return {
            "rows_per_second": rows / (ended - began),
            "cpu_us_per_row": (cpu_then - cpu) / rows * 1e6,
            "peak_memory_mib": memory,
            "rows_per_transaction": self._count / transactions,
        }


def medians(runs: Sequence[Result]) -> Result:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measure(count: int, rounds: int) -> dict[str, Result]:
    results: dict[str, list[Result]] = {name: [] for name, *_ in [*RAW, *PIPELINE]}
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        bench = Bench(kafka, database, mqtt, count)
        bench.pipeline([])  # makes the table, and warms up
        transactions = {rows: bench.slices(rows) for rows in {rows for _, _, rows in RAW}}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for name, connections, rows in RAW:
                results[name].append(bench.raw(transactions[rows], connections))
            for name, _, sets in PIPELINE:
                results[name].append(bench.pipeline(sets))
    found = {name: medians(runs) for name, runs in results.items()}
    for name, limit, _ in PIPELINE:
        found[name]["of_raw"] = found[name]["rows_per_second"] / found[limit]["rows_per_second"]
    return found


def show(found: dict[str, Result]) -> None:
    print(f"\n{'':<40}{'rows/s':>10}{'of raw':>8}{'CPU µs/row':>12}{'peak MiB':>10}{'rows/transaction':>18}")
    for name, result in found.items():
        line = f"{name:<40}{result['rows_per_second']:>10,.0f}"
        if "of_raw" in result:
            line += f"{result['of_raw']:>8.0%}{result['cpu_us_per_row']:>12.2f}{result['peak_memory_mib']:>10.0f}"
            line += f"{result['rows_per_transaction']:>18,.0f}"
        print(line)


def machine() -> dict[str, Any]:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {"cpu": models[:1], "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit.stdout.strip()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["PIPELINE_BUILD_DIR"] = str(arguments.build.resolve())

    found = measure(arguments.messages, arguments.rounds)
    command = f"python3 tests/bench/bench.py --messages {arguments.messages} --rounds {arguments.rounds}"
    show(found)
    now = datetime.now(UTC)
    file = ROOT / "build" / "bench" / f"{now:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {"time": now.isoformat(timespec="seconds"), "command": command, "messages": arguments.messages}
    file.write_text(json.dumps({**about, "rounds": arguments.rounds, "machine": machine(), "results": found}, indent=1) + "\n")
    print(f"\n{arguments.messages:,} messages, medians of {arguments.rounds} rounds: {command}\n{file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
