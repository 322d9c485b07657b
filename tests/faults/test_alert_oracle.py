# SPDX-License-Identifier: Apache-2.0
"""Alerts under kill -9: a host that is killed every second raises the alerts of one that is not, none missing, none extra.

All hosts read one topic at the same time. With LogAppendTime, the arrival clocks of all of them have the same readings, so
that the alerts of silence are equal, too, and equal alerts have equal ids.
"""

from __future__ import annotations

import collections
import json
import random
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline_host import PipelineHost, configuration, ndjson
from stage import ROUNDS

from services import Kafka, Record, Timescale, Worker, wait_until
from services.kafka_client import Producer

DEVICES = 50
RECORDS = min(20_000, 4_000 * ROUNDS)
SECONDS = 15 * min(ROUNDS, 4)
RULES = [
    {"name": "above", "metric": "temperature", "above": 80, "clear_below": 75, "repeat_interval": "3s"},
    {"name": "below", "metric": "temperature", "below": 20, "for": "300ms", "keep_firing_for": "200ms"},
    {"name": "outside", "metric": "humidity", "outside": [10, 90], "times": 2},
    {"name": "equals", "metric": "status", "equals": "failed", "match": {"device_id": "d?"}},
    {"name": "rate", "metric": "temperature", "rate_of_change": "second", "above": 150},
    {"name": "levels", "metric": "temperature", "flapping": {"fires": 3, "within": "5s"},
     "severities": [{"severity": "warning", "above": 60}, {"severity": "critical", "above": 85}]},
    {"name": "silent", "severities": [{"severity": "warning", "missing_for": "2s"}, {"severity": "critical", "missing_for": "4s"}]},
]  # fmt: skip
TABLE = """CREATE TABLE alerts (arrived bigserial, id text, rule text, state text, severity text, metric text, value text,
  threshold text, message text, user_id text, device_id text, labels jsonb, since timestamptz, time timestamptz, stream text,
  position bigint)"""
Event = tuple[str, ...]


class Load:
    """Produces readings of all devices; now and then a device is silent for longer than `missing_for`."""

    def __init__(self, kafka: Kafka, topic: str, rng: random.Random) -> None:
        self._producer, self._topic, self._rng = Producer(kafka.brokers, {}), topic, rng
        self._silent_until = collections.Counter[int]()
        self.end = 0.0

    def run(self) -> None:
        begin = time.time()
        per_round = RECORDS // (SECONDS * 10)
        # However slow the machine is, and whatever the seed: some devices are silent for longer than both severities need.
        self._produce([self._reading(device) for device in range(DEVICES)])
        self._silent_until.update({device: int(begin) + 8 for device in range(3)})
        while time.time() < begin + SECONDS:
            self._produce([self._reading() for _ in range(per_round)])
            time.sleep(0.1)
        self._silent_until.clear()
        self.end = time.time()
        self._produce([self._reading(device) for device in range(DEVICES)])

    def _produce(self, readings: list[Record]) -> None:
        self._producer.produce(self._topic, readings, None, 60)

    def _reading(self, device: int | None = None) -> Record:
        rng, now = self._rng, time.time()
        while device is None or self._silent_until[device] > now:
            device = rng.randrange(DEVICES)
        if rng.random() < 0.002:
            self._silent_until[device] = int(now) + 7
        row: dict[str, Any] = {"user_id": "u", "device_id": f"d{device}", "time": now, "temperature": rng.randrange(10, 100)}
        if rng.random() < 0.5:
            row |= {"humidity": rng.randrange(100), "status": rng.choice(["ok", "failed"])}
        return Record(json.dumps(row).encode(), key=f"d{device}".encode())


class Watcher:
    """A host with all rules, whose alerts go to a database (exactly once) or to a file (at least once)."""

    def __init__(self, name: str, kafka: Kafka, topic: str, directory: Path, timescale: Timescale, database: str | None) -> None:
        """database: where the alerts are stored exactly once; None: they go to a file, at least once."""
        self.name, self._timescale, self._database = name, timescale, database
        self._kafka, self._topic, self._group = kafka, topic, f"{topic}-{name}"
        directory = directory / name
        store: dict[str, object] = {"plugin": "file_sink", "path": "alerts.ndjson", "batch": {"delay": "20ms"}}
        if database:
            store = {"plugin": "timescale_sink", "url": timescale.url(database), "table": f"alerts_{name}",
                     "batch": {"delay": "20ms"}, "retry": {"initial": "50ms", "max": "500ms"}}  # fmt: skip
            timescale.execute(TABLE.replace("alerts", f"alerts_{name}", 1), database=database)
        config = configuration(
            directory,
            delivery="exactly_once" if database else "at_least_once",
            sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": topic, "group": self._group,
                            "instance": name, "commit_interval": "200ms"}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["temperature", "humidity"],
                                   "columns": [{"name": "status", "type": "text"}]},
                        "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": RULES}},
            sinks={"store": {**store, "from": ["alerts", "alerts.recorded"]}},
        )  # fmt: skip
        self.host = PipelineHost(config, directory)
        self.directory = directory

    def events(self, until: float) -> collections.Counter[Event]:
        """Return the alerts up to a time. Later ones depend on when the host was stopped."""
        columns = ("id", "rule", "state", "severity", "device_id")
        if self._database:
            rows = self._timescale.query(
                f"SELECT {', '.join(columns)} FROM alerts_{self.name} WHERE extract(epoch FROM time) < %s", until,
                database=self._database,
            )  # fmt: skip
            return collections.Counter(tuple(map(str, row)) for row in rows)
        return collections.Counter(
            tuple(str(row[c]) for c in columns)
            for row in ndjson(self.directory / "alerts.ndjson")
            if datetime.fromisoformat(row["time"]).timestamp() < until
        )

    def read_all(self) -> bool:
        ends = self._kafka.end_offsets(self._topic)
        offsets = {p: o.offset for (t, p), o in self._kafka.group_offsets(self._group).items() if t == self._topic}
        return all(offsets.get(partition, 0) >= end for partition, end in ends.items() if end)


def test_28_alerts_survive_kills(kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    kafka.create_topic(unique_name, 4, {"message.timestamp.type": "LogAppendTime"})
    # Positions belong to a database and a pipeline's name, and the name is part of the ids: each host has a database.
    databases = {name: f"{unique_name}_{name}" for name in ("calm", "exact")}
    for database in databases.values():
        timescale.create_database(database)
    watchers = {
        name: Watcher(name, kafka, unique_name, tmp_path, timescale, databases.get(name))
        for name in ("calm", "exact", "repeating")
    }
    killed = [watchers["exact"], watchers["repeating"]]
    readings = Load(kafka, unique_name, rng)
    load = Worker(readings.run)
    try:
        for watcher in watchers.values():
            watcher.host.start()
        for watcher in watchers.values():
            watcher.host.wait_ready()
        load.start()
        kills = 0
        while load.running:
            time.sleep(rng.uniform(0.8, 1.2))
            for watcher in killed:
                watcher.host.kill()
                watcher.host.start()
            kills += 1
        for watcher in watchers.values():
            watcher.host.wait_ready()
            wait_until(watcher.read_all, f"all records at {watcher.name}")
            assert watcher.host.stop() == 0
    finally:
        load.finish()
        for watcher in watchers.values():
            watcher.host.__exit__(None, None, None)
    until = readings.end + 1.5  # before the next silence
    expected, exact, repeating = (watchers[name].events(until) for name in ("calm", "exact", "repeating"))
    print(f"{kills} kills; alerts: {sum(expected.values())}, exactly once {sum(exact.values())}, repeating {len(repeating)}")
    assert {e[1] for e in expected} == {str(rule["name"]) for rule in RULES}, "every rule has fired"
    assert exact - expected == collections.Counter(), "extra"
    assert expected - exact == collections.Counter(), "missing"
    assert repeating.keys() - expected.keys() == set(), "extra"
    assert expected.keys() - repeating.keys() == set(), "missing"
    for database in databases.values():
        timescale.drop_database(database)
