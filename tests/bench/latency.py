#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Latency of configs/iot.yaml at fixed rates, from the record in Kafka and from the device to the row, and its CPU time.

    /usr/bin/python3 tests/bench/latency.py
    /usr/bin/python3 tests/bench/latency.py --rates 1000 --seconds 30

A latency starts when a message was due to be sent, so a stall of a server counts for all messages that had to wait for it.

Kafka → row: the time in each message is the time when it was due, in µs, so the row contains it. It ends at the time of the
commit, which the database records for each transaction (track_commit_timestamp). The database determines this time just before
it writes the commit to the disk. The producer gathers records for at most 1 ms.

Device → row: load-tester publishes to Mosquitto, and configs/bridge.yaml copies the messages to Kafka. It queries the database
every 20 ms; docs/load-tester.md describes its precision. The bridge gathers messages for 10 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
from common import JVM, ROOT, Result, Results, Settings, arguments, medians, save, table

from services import Kafka, Mosquitto, Timescale, wait_until

TOPIC, PARTITIONS = "iot-stream", 4
DELAYS = {"default delay, 100 ms": [], "delay: 5ms": ["sinks.store.batch.delay=5ms"]}
BOUNDS_MS = [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 500, 1000]  # of the histogram


def paced(rate: int, seconds: float, send: Callable[[int, float], None], idle: Callable[[], object]) -> None:
    """Call send(number, due time) for each message, when it is due. The clock is the wall clock."""
    began = time.time()
    sent = 0
    while (passed := time.time() - began) < seconds:
        due = int(passed * rate)
        for number in range(sent, due):
            send(number, began + number / rate)
        sent = due
        idle()
        time.sleep(0.001)


class FromKafka:
    """configs/iot.yaml, a producer, and the latencies that the database knows."""

    def __init__(self, kafka: Kafka, timescale: Timescale, mqtt: Mosquitto, name: str, folder: Path, sets: Sequence[str]) -> None:
        from pipeline_host import PipelineHost

        self._timescale, self._name = timescale, name
        environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": timescale.create_database(name), "MQTT_URL": mqtt.url()}
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": kafka.brokers, "linger.ms": 1, "queue.buffering.max.messages": 1_000_000}
        )
        group = f"sources.telemetry.group={name}"
        folder.mkdir()
        self.host = PipelineHost(ROOT / "configs/iot.yaml", folder, environment=environment, sets=[group, *sets])

    def _send(self, number: int, due: float) -> None:
        device = number % 90
        value = (
            f'{{"user_id":"user-{device // 3}","device_id":"device-{device}","timestamp":{int(due * 1e6)},'
            f'"temperature":{20 + number % 400 / 16:g},"humidity":{40 + number % 32 / 8:g}}}'
        )
        headers = [("message_id", f"{number:032x}"), ("mqtt_topic", f"users/user-{device // 3}/devices/device-{device}/telemetry")]
        self._producer.produce(TOPIC, value, f"device-{device}", headers=headers)

    def _stored(self) -> int:
        return int(self.host.metric("pipeline_records_out_total", node="store"))

    def run(self, rate: int, seconds: float) -> Result:
        before = self._stored()
        paced(200, 0.5, self._send, lambda: self._producer.poll(0))  # everything is connected, and warm
        self._producer.flush(60)
        wait_until(lambda: self._stored() >= before + 90, "the first rows", 60)
        time.sleep(0.5)
        before = self._stored()
        began, cpu, count = time.time(), self.host.cpu_seconds(), 0

        def send(number: int, due: float) -> None:
            nonlocal count
            count += 1
            self._send(number, due)

        paced(rate, seconds, send, lambda: self._producer.poll(0))
        took, used = time.time() - began, self.host.cpu_seconds() - cpu
        self._producer.flush(60)
        wait_until(lambda: self._stored() >= before + count, f"{count} rows", 120)
        return {**self._latencies(began, count), "cpu_percent": used / took * 100}

    def _latencies(self, since: float, count: int) -> Result:
        rows = f"""SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - time) * 1000 AS ms FROM raw_telemetry
                   WHERE time >= to_timestamp({since!r})"""
        quantiles = self._timescale.query(
            f"SELECT count(*), percentile_disc(ARRAY[0.5, 0.95, 0.99, 1]) WITHIN GROUP (ORDER BY ms)::float8[] FROM ({rows}) r",
            database=self._name,
        )[0]
        assert int(str(quantiles[0])) == count, f"{quantiles[0]} rows of {count}"
        p50, p95, p99, most = (float(ms) for ms in numbers(quantiles[1]))
        histogram = self._timescale.query(
            f"SELECT width_bucket(ms, ARRAY{BOUNDS_MS}::numeric[]), count(*) FROM ({rows}) r GROUP BY 1", database=self._name
        )
        found = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": most}
        counts = {int(str(bucket)): float(str(n)) for bucket, n in histogram}
        total = 0.0
        for i, bound in enumerate(BOUNDS_MS):
            total += counts.get(i, 0.0)
            found[f"share_below_{bound}_ms"] = total / count
        return found


def numbers(of: Any) -> Iterable[float]:
    """Return the elements of an array of SQL, which a session may return as text."""
    return [float(item) for item in of.strip("{}").split(",")] if isinstance(of, str) else of


def from_kafka(kafka: Kafka, timescale: Timescale, mqtt: Mosquitto, folder: Path, rates: Sequence[int], seconds: float, turn: int) -> Results:
    found = {}
    for i, (delay, sets) in enumerate(DELAYS.items()):
        name = f"kafka{turn}{i}"
        path = FromKafka(kafka, timescale, mqtt, name, folder / name, sets)
        with path.host as host:
            host.wait_ready()
            for rate in rates:
                found[f"Kafka → row, {rate:,} records/s, {delay}"] = path.run(rate, seconds)
            host.stop()
    return found


def from_device(build: Path, kafka: Kafka, timescale: Timescale, folder: Path, rates: Sequence[int], seconds: float, turn: int) -> Results:
    from pipeline_host import PipelineHost

    found = {}
    for i, (delay, sets) in enumerate(DELAYS.items()):
        name = f"device{turn}{i}"
        with Mosquitto() as mqtt:  # a new broker has no session of an earlier bridge
            environment = {
                "KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": timescale.create_database(name), "MQTT_URL": mqtt.url()
            }  # fmt: skip
            topic = f"{TOPIC}-{name}"
            kafka.create_topic(topic, PARTITIONS)
            folders = {part: folder / f"{name}-{part}" for part in ("bridge", "iot")}
            for path in folders.values():
                path.mkdir()
            iot = [f"sources.telemetry.topic={topic}", f"sources.telemetry.group={name}", *sets]
            with (
                PipelineHost(ROOT / "configs/bridge.yaml", folders["bridge"], environment=environment,
                             sets=[f"sinks.topic.topic={topic}", f"name={name}"]) as bridge,
                PipelineHost(ROOT / "configs/iot.yaml", folders["iot"], environment=environment, sets=iot) as host,
            ):  # fmt: skip
                bridge.wait_ready()
                host.wait_ready()
                load(build, environment, 200, 1)  # everything is connected, and warm
                for rate in rates:
                    cpu, began = host.cpu_seconds() + bridge.cpu_seconds(), time.monotonic()
                    report = load(build, environment, rate, seconds)
                    used = host.cpu_seconds() + bridge.cpu_seconds() - cpu
                    latency = report["latency_ms"]["to_database"]
                    found[f"device → row, {rate:,} messages/s, {delay}"] = {
                        **{f"{key}_ms": latency[key] for key in ("p50", "p95", "p99", "max")},
                        **{f"share_below_{b['below']}_ms": b["count"] / latency["count"] for b in latency["histogram"]},
                        "query_interval_p50_ms": report["latency_ms"]["to_database_resolution"]["p50"],
                        "cpu_percent": used / (time.monotonic() - began) * 100,
                    }
                bridge.stop()
                host.stop()
    return found


def load(build: Path, environment: dict[str, str], rate: int, seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        [build / "bin" / "load-tester", "--rate", str(rate), "--duration", f"{seconds:g}s", "--verify", "--json", "--quiet"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"load-tester: exit code {done.returncode}: {done.stdout}{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    if not report["passed"]:
        raise RuntimeError(f"load-tester: {report['faults']}")
    return report


def measure(settings: Settings, rates: Sequence[int] = (200, 1_000, 10_000), seconds: float = 10) -> Results:
    if settings.quick:
        rates, seconds = rates[:1], 1
    runs: dict[str, list[Result]] = defaultdict(list)
    with (
        Kafka(java_options=JVM) as kafka,
        Timescale(settings={"track_commit_timestamp": "on"}) as timescale,
        Mosquitto() as mqtt,
        tempfile.TemporaryDirectory() as folder,
    ):
        kafka.create_topic(TOPIC, PARTITIONS)
        kafka.create_topic("iot-dead-letters", 1)
        for turn in range(settings.rounds):
            print(f"round {turn + 1} of {settings.rounds}", file=sys.stderr, flush=True)
            found = from_kafka(kafka, timescale, mqtt, Path(folder), rates, seconds, turn)
            found |= from_device(settings.build, kafka, timescale, Path(folder), rates, seconds, turn)
            for name, result in found.items():
                runs[name].append(result)
    return {name: medians(all_of) for name, all_of in runs.items()}


SIZE = "10 seconds at each rate"  # below the table in docs/performance.md
COLUMNS = [
    ("p50_ms", "p50 ms", ".1f"), ("p95_ms", "p95 ms", ".1f"), ("p99_ms", "p99 ms", ".1f"), ("max_ms", "max ms", ".1f"),
    ("cpu_percent", "CPU, % of a core", ".1f"), ("query_interval_p50_ms", "query interval ms", ".1f"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


def main() -> int:
    def options(parser: Any) -> None:
        parser.add_argument("--rates", type=int, nargs="+", default=[200, 1_000, 10_000])
        parser.add_argument("--seconds", type=float, default=10)

    parsed = arguments(__doc__, options)
    found = measure(parsed.settings, parsed.rates, parsed.seconds)
    show(found)
    print(f"\n{save({'latency': found}, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
