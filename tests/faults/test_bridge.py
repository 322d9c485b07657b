# SPDX-License-Identifier: Apache-2.0
"""Rows 12 to 14 of README.md for the bridge: MQTT to Kafka and to the database, while bridge and broker are killed."""

from __future__ import annotations

import collections
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import SOURCE, PipelineHost
from stage import FAULT_BUILD, ROUNDS

from services import Kafka, Mosquitto, Timescale, Worker, wait_until

DEVICES = 20
# By default Mosquitto keeps only 1000 messages for a disconnected client with a persistent session.
KEEPS_ALL = {"max_queued_messages": "0"}


class Devices:
    """Publishes numbered readings with QoS 1 until `stop`; `acknowledged` counts those that the broker has acknowledged."""

    def __init__(self, broker: Mosquitto, to: PipelineHost) -> None:
        self._broker, self._to = broker, to
        self._stop = threading.Event()
        self.acknowledged = 0
        self._worker = Worker(self._run)

    def __enter__(self) -> Devices:
        # The broker discards messages before the first subscription. The log line of a sink's connection is not enough.
        wait_until(lambda: self._to.metric("pipeline_mqtt_source_connected") == 1, "the subscription")
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        self._stop.set()
        self._worker.finish()
        return self.acknowledged

    def _run(self) -> None:
        while not self._stop.is_set():
            batch = [self._message(self.acknowledged + i) for i in range(50)]
            try:
                self._broker.publish_all(batch)
            except Exception:  # the broker is down: send the batch again, as devices do
                time.sleep(0.05)
                continue
            self.acknowledged += len(batch)

    @staticmethod
    def _message(n: int) -> tuple[str, bytes]:
        return (f"users/u/devices/d{n % DEVICES}/telemetry",
                json.dumps({"time": 1_763_000_000_000 + n, "temperature": n % 40, "n": n}).encode())  # fmt: skip


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto(persistence=True, settings=KEEPS_ALL) as service:
        yield service


@pytest.fixture
def topic(kafka: Kafka, unique_name: str) -> Iterator[str]:
    kafka.create_topic(unique_name, partitions=4, config={"retention.ms": -1})
    yield unique_name
    kafka.delete_topic(unique_name)


@pytest.fixture
def bridge(kafka: Kafka, broker: Mosquitto, topic: str, tmp_path: Path) -> PipelineHost:
    return make_bridge(kafka, broker, topic, tmp_path)


def make_bridge(kafka: Kafka, broker: Mosquitto, topic: str, folder: Path, *sets: str, **how: Any) -> PipelineHost:
    environment = {"KAFKA_BROKERS": kafka.brokers, "MQTT_URL": broker.url(), **how.pop("environment", {})}
    sets = (f"sinks.topic.topic={topic}", f"dead_letters.topic={topic}", *sets)
    return PipelineHost(SOURCE / "configs/bridge.yaml", folder, environment=environment, sets=sets, **how)


def arrived(kafka: Kafka, topic: str) -> tuple[dict[int, int], dict[str, int]]:
    """Return how often each number and each message id is in the topic."""
    numbers: dict[int, int] = collections.Counter()
    ids: dict[str, int] = collections.Counter()
    for message in kafka.consume(topic):
        numbers[json.loads(message.value or b"")["n"]] += 1
        ids[dict(message.headers)["message_id"].decode()] += 1
    return numbers, ids


def check(kafka: Kafka, topic: str, acknowledged: int) -> int:
    """Check that each acknowledged message is in the topic and that duplicates have the same id. Return their number."""
    numbers: dict[int, int] = {}
    ids: dict[str, int] = {}

    def all_there() -> bool:
        nonlocal numbers, ids
        numbers, ids = arrived(kafka, topic)
        return all(n in numbers for n in range(acknowledged))

    try:
        wait_until(all_there, "every acknowledged message in the topic")
    except TimeoutError:
        lost = [n for n in range(acknowledged) if n not in numbers]
        pytest.fail(f"{len(lost)} lost of {acknowledged}, from {lost[0]} to {lost[-1]}")
    twice = sum(n - 1 for n in numbers.values())
    assert twice == sum(n - 1 for n in ids.values()), "duplicates have the same id"
    assert len(ids) == len(numbers)
    print(f"{acknowledged:,} acknowledged, {len(numbers):,} in the topic, {twice:,} duplicates: lost 0")
    return twice


def kill_repeatedly(host: PipelineHost, times: int, rng: random.Random, progress: Callable[[], int]) -> None:
    for _ in range(times):
        seen = progress()
        wait_until(lambda seen=seen: progress() > seen, "progress")
        time.sleep(rng.uniform(0, 0.3))
        host.kill()
        host.start()


def test_13_the_bridge_is_killed_repeatedly(
    kafka: Kafka, broker: Mosquitto, bridge: PipelineHost, topic: str, rng: random.Random
) -> None:
    with bridge, Devices(broker, bridge) as devices:
        kill_repeatedly(bridge, 100 if ROUNDS >= 5 else 8, rng, lambda: sum(kafka.end_offsets(topic).values()))
        acknowledged = devices.stop()
        assert check(kafka, topic, acknowledged) == 0, "no device has sent a message twice"
        assert bridge.stop() == 0


@pytest.mark.parametrize("point", ["spool.before", "spool.after"])
def test_13_the_bridge_is_killed_around_the_spool(
    kafka: Kafka, broker: Mosquitto, topic: str, tmp_path: Path, point: str
) -> None:
    for nth in range(20 if ROUNDS >= 3 else 2):
        fault = make_bridge(kafka, broker, topic, tmp_path, build=FAULT_BUILD,
                            environment={"PIPELINE_FAILPOINT": f"{point}:{nth * 37 + 5}"})  # fmt: skip
        with fault, Devices(broker, fault) as devices:
            assert fault.wait() == -9
            acknowledged = devices.stop()
        with make_bridge(kafka, broker, topic, tmp_path) as bridge:
            check(kafka, topic, acknowledged)
            assert bridge.stop() == 0


def test_12_the_mqtt_broker_is_restarted_under_load(
    kafka: Kafka, broker: Mosquitto, bridge: PipelineHost, topic: str, rng: random.Random
) -> None:
    """Restart the broker in an orderly way. A killed broker may lose messages that it has acknowledged but not saved."""
    with bridge, Devices(broker, bridge) as devices:
        for _ in range(10 if ROUNDS >= 5 else 2):
            seen = sum(kafka.end_offsets(topic).values())
            wait_until(lambda seen=seen: sum(kafka.end_offsets(topic).values()) > seen, "progress")
            time.sleep(rng.uniform(0, 0.3))
            broker.restart()
        acknowledged = devices.stop()
        check(kafka, topic, acknowledged)
        assert bridge.stop() == 0


def test_12_the_bridge_is_not_ready_without_an_mqtt_broker(
    kafka: Kafka, broker: Mosquitto, bridge: PipelineHost, topic: str
) -> None:
    broker.terminate()
    with bridge:
        bridge.wait_for_log("cannot reach MQTT broker")
        assert bridge.get("/health/ready")[0] == 503
        broker.start()
        bridge.wait_ready()
        broker.publish_all([Devices._message(n) for n in range(100)])
        check(kafka, topic, 100)
        assert bridge.stop() == 0


def test_14_the_bridge_disconnects_while_its_spool_is_full(broker: Mosquitto, topic: str, tmp_path: Path) -> None:
    with Kafka() as kafka:
        kafka.create_topic(topic, partitions=4, config={"retention.ms": -1})
        bridge = make_bridge(kafka, broker, topic, tmp_path, "sources.devices.spool.max_bytes=1MiB")
        with bridge, Devices(broker, bridge) as devices:
            wait_until(lambda: sum(kafka.end_offsets(topic).values()) > 0, "progress")
            kafka.pause()
            bridge.wait_for_log("the spool is full")
            wait_until(lambda: bridge.metric("pipeline_mqtt_source_connected") == 0, "the bridge to disconnect")
            size = sum(f.stat().st_size for f in (tmp_path / "state").rglob("*.spool"))
            assert size < 3 << 20, "the spool has room for messages in flight and accepts no others"
            kafka.resume()
            acknowledged = devices.stop()
            check(kafka, topic, acknowledged)
            assert bridge.stop() == 0


def test_14_the_last_record_of_the_spool_is_torn(
    kafka: Kafka, broker: Mosquitto, bridge: PipelineHost, topic: str, tmp_path: Path
) -> None:
    with bridge, Devices(broker, bridge) as devices:
        wait_until(lambda: sum(kafka.end_offsets(topic).values()) > 0, "progress")
        bridge.kill()
        last = max((tmp_path / "state").rglob("*.spool"))
        with last.open("ab") as file:
            file.write(b"\x40\x00\x00\x00half a record")
        bridge.start()
        bridge.wait_for_log("bytes of an incomplete last record, which was not acknowledged, were truncated")
        acknowledged = devices.stop()
        check(kafka, topic, acknowledged)
        assert bridge.stop() == 0


def test_13_the_all_in_one_pipeline_stores_each_record_of_the_spool_once(
    broker: Mosquitto, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random
) -> None:
    url = timescale.create_database(unique_name)
    query = lambda sql: timescale.query(sql, database=unique_name)  # noqa: E731
    host = PipelineHost(SOURCE / "configs/all-in-one.yaml", tmp_path, environment={"DATABASE_URL": url, "MQTT_URL": broker.url()})

    def stored() -> int:
        if not query("SELECT 1 FROM pg_tables WHERE tablename = 'raw_telemetry'"):
            return 0
        return int(str(query("SELECT count(DISTINCT extra->>'n') FROM raw_telemetry")[0][0]))

    with host, Devices(broker, host) as devices:
        kill_repeatedly(host, 40 if ROUNDS >= 5 else 5, rng, stored)
        acknowledged = devices.stop()
        try:
            wait_until(lambda: stored() >= acknowledged, "every acknowledged reading in the table")
        except TimeoutError:
            numbers = {int(str(n)) for (n,) in query("SELECT DISTINCT extra->>'n' FROM raw_telemetry")}
            lost = [n for n in range(acknowledged) if n not in numbers]
            pytest.fail(f"{len(lost)} lost of {acknowledged}, from {lost[0]} to {lost[-1]}: {lost[:20]}")
        assert host.stop() == 0
    rows = int(str(query("SELECT count(*) FROM raw_telemetry")[0][0]))
    (spooled,) = query("SELECT sum(next) FROM pipeline_positions")[0]
    print(f"{rows:,} rows of {spooled} records in the spool: the others are duplicates from the broker")
    assert rows == stored() >= acknowledged, "each reading is stored once, even if the broker sent it again"
    assert rows <= int(str(spooled))
