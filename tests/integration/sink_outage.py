# SPDX-License-Identifier: Apache-2.0
"""A pipeline that stores records exactly once and sends alerts over MQTT, with a steady load, while its database is down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import confluent_kafka
from pipeline_host import configuration

from services import Kafka, Mosquitto, Timescale, Worker

DEVICES = 50
TABLE = "CREATE TABLE readings (seq bigserial, time timestamptz, device_id text, n double precision)"  # seq: the order of writes


def pipeline(
    folder: Path, kafka: Kafka, mosquitto: Mosquitto, topic: str, url: str, *, disk: str = "2GiB",
    group: str = "", further_sinks: Mapping[str, object] = {}, **more: object,
) -> Path:  # fmt: skip
    """Write the configuration. The group, which is also the prefix of the alerts' topics, is by default the topic."""
    group = group or topic
    store = {
        "plugin": "timescale_sink", "from": "parsed", "url": url, "table": "readings", "delivery": "exactly_once",
        "columns": {"time": "time", "device_id": "device_id", "n": "n"}, "batch": {"rows": 1000, "delay": "50ms"},
        "retry": {"initial": "100ms", "max": "1s"}, "queue": {"max_bytes": "8MiB", "disk": disk},
    }  # fmt: skip
    notify = {
        "plugin": "mqtt_sink", "from": "alerts", "url": mosquitto.url(), "topic": group + "/{device_id}", "qos": 1,
        "batch": {"rows": 100, "delay": "10ms"},
    }  # fmt: skip
    return configuration(
        folder,
        memory_limit="128MiB",
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": topic, "group": group,
                        "properties": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}}},
        transforms={
            "parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["temperature", "n"]},
            "alerts": {"plugin": "threshold_alert", "from": "parsed",
                       "rules": [{"name": "hot", "metric": "temperature", "above": 80}]},
        },
        sinks={"store": store, "notify": notify, **further_sinks},
        shutdown_timeout="2s",
        **more,
    )  # fmt: skip


class Load:
    """Sends numbered readings at a steady rate until the end of the `with` block. Some devices are hot, once each."""

    def __init__(self, kafka: Kafka, topic: str, rate: int, hot_per_second: int = 20) -> None:
        self._topic, self._rate, self._every = topic, rate, max(1, rate // hot_per_second)
        # With few requests in flight, a broker on a slow machine receives larger requests instead of a queue of small ones.
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": kafka.brokers, "linger.ms": 5, "acks": "all", "max.in.flight": 2}
        )
        self._stop = threading.Event()
        self.sent = 0
        self.hot: dict[str, float] = {}  # by device: when it was sent
        self._worker = Worker(self._run)

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop, and return the number of records that the broker has acknowledged."""
        self._stop.set()
        self._worker.finish()
        assert self._producer.flush(60) == 0
        return self.sent

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - began) * self._rate)
            while self.sent < due:
                self._send(self.sent)
                self.sent += 1
            self._producer.poll(0)

    def _send(self, n: int) -> None:
        hot = n % self._every == 0
        device = f"hot-{n}" if hot else f"device-{n % DEVICES}"
        now = time.time()
        reading = {"user_id": "u", "device_id": device, "time": int(now * 1000), "temperature": 99 if hot else 20, "n": n}
        if hot:
            self.hot[device] = now
        self._producer.produce(self._topic, json.dumps(reading).encode(), key=device)


class Alerts:
    """The alerts that left, by device: when the first one arrived, and their ids."""

    def __init__(self, mosquitto: Mosquitto, group: str) -> None:
        self._subscription = mosquitto.subscribe(f"{group}/#")
        self._subscription.wait_until_subscribed()
        self._stop = threading.Event()
        self.arrived: dict[str, float] = {}
        self.ids: dict[str, set[str]] = {}
        self.repeated = 0
        self._seen = 0
        self._worker = Worker(self._run)

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._worker.finish()
        self._subscription.close()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            now = time.time()
            messages = self._subscription.messages
            for message in messages[self._seen :]:
                device = message.topic.rpartition("/")[2]
                self.repeated += device in self.arrived
                self.arrived.setdefault(device, now)
                self.ids.setdefault(device, set()).add(json.loads(message.payload)["id"])
            self._seen = len(messages)

    def latencies(self, load: Load, begin: float, end: float) -> list[float]:
        """Return the times from a reading to its alert, of the readings sent in this time, in ascending order."""
        took = sorted(
            self.arrived.get(device, time.time()) - sent for device, sent in list(load.hot.items()) if begin <= sent < end
        )
        assert took, "no alert was due"
        return took

    def p99(self, load: Load, begin: float, end: float) -> float:
        return percentile(self.latencies(load, begin, end), 99)


def percentile(ascending: Sequence[float], percent: int) -> float:
    return ascending[min(len(ascending) - 1, len(ascending) * percent // 100)]


def stored(server: Timescale, database: str) -> int:
    return int(str(server.query("SELECT count(*) FROM readings", database=database)[0][0]))


def check_exact(server: Timescale, database: str, sent: int) -> None:
    """Verify that each record is stored once, and the records of a device in the order in which they were sent."""
    rows = server.query("SELECT device_id, n FROM readings ORDER BY seq", database=database)
    numbers = [round(float(str(n))) for _, n in rows]
    assert len(numbers) == len(set(numbers)), f"{len(numbers) - len(set(numbers))} records are stored twice"
    assert set(numbers) == set(range(sent)), f"{sent - len(set(numbers))} records are missing"
    last: dict[str, int] = {}
    for device, n in rows:
        number = round(float(str(n)))
        assert number > last.get(str(device), -1), f"{device}: {number} after {last[str(device)]}"
        last[str(device)] = number


def queue_files(folder: Path) -> Sequence[Path]:
    return sorted((folder / "state").glob("*.queue"))
