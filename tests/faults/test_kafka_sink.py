# SPDX-License-Identifier: Apache-2.0
"""Rows 28 and 29 of README.md: exactly once from topic to topic, and from the bridge's spool into a topic."""

from __future__ import annotations

import collections
import contextlib
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import BUILD, SOURCE, PipelineHost, configuration, dead_letters
from stage import FAULT_BUILD, ROUNDS

from services import TIMEOUT, Kafka, Mosquitto, Record, wait_until

QUICK = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300, "max.poll.interval.ms": 2000}  # quick removal of dead members
KEEP = {"retention.ms": -1}
PARTITIONS = 4
KILLS = 1 if ROUNDS == 1 else 20


class Chain:
    """A topic with numbered records, hosts that copy them to a second topic, and the committed records there."""

    def __init__(self, kafka: Kafka, name: str, directory: Path) -> None:
        self.kafka, self.directory = kafka, directory
        self.source, self.target = f"{name}_in", f"{name}_out"
        self.sent = 0
        for topic in (self.source, self.target):
            kafka.create_topic(topic, PARTITIONS, KEEP)

    def host(self, name: str = "host", *, build: Path = BUILD, environment: Any = None, **parts: Any) -> PipelineHost:
        config = configuration(self.directory / name, **{
            "delivery": "exactly_once",
            "sources": {"in": {"plugin": "kafka_source", "brokers": self.kafka.brokers, "topic": self.source,
                               "group": self.source, "instance": name, "commit_interval": "100ms", "properties": QUICK}},
            "sinks": {"out": self.sink("in")},
            **parts,
        })  # fmt: skip
        return PipelineHost(config, self.directory / name, environment=environment, build=build)

    def sink(self, reads: str, **more: object) -> dict[str, object]:
        return {"plugin": "kafka_sink", "from": reads, "brokers": self.kafka.brokers, "topic": self.target, "format": "raw",
                "key": "{key}", "transaction_timeout": "3s", "batch": {"rows": 200, "delay": "5ms"},
                "retry": {"initial": "50ms", "max": "500ms"}, **more}  # fmt: skip

    def produce(self, count: int) -> None:
        """Produce records. All records of a device are in one partition, in order."""
        numbers = range(self.sent, self.sent + count)
        self.kafka.produce(
            self.source, [Record(str(n).encode(), key=b"d%d" % (n % 40), partition=n % PARTITIONS) for n in numbers]
        )
        self.sent += count

    def arrived(self) -> list[tuple[bytes | None, int]]:
        return [(m.key, int(m.value or b"-1")) for m in self.kafka.consume(self.target)]

    def progress(self) -> int:
        return sum(self.kafka.end_offsets(self.target).values())

    def check(self) -> None:
        """Check that each number is in the target topic once, and in order for each device."""
        wait_until(lambda: len(self.arrived()) >= self.sent, "all records", TIMEOUT)
        arrived = self.arrived()
        times = collections.Counter(n for _, n in arrived)
        lost = [n for n in range(self.sent) if n not in times]
        twice = [n for n, count in times.items() if count > 1]
        print(f"{self.sent:,} sent, lost {len(lost)}, duplicated {len(twice)}")
        assert not lost, lost[:10]
        assert not twice, twice[:10]
        last: dict[bytes | None, int] = {}
        for key, n in arrived:  # partition by partition; all records of a key are in one partition
            assert last.get(key, -1) < n, f"{key!r}: {n} after {last[key]}"
            last[key] = n

    def produce_until_killed(self, host: PipelineHost) -> None:
        deadline = time.monotonic() + TIMEOUT
        while host.process.poll() is None and time.monotonic() < deadline:
            self.produce(200)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: host.process.poll() is not None, "the end of the host", 0.2)
        assert host.process.poll() == -signal.SIGKILL, f"the host did not kill itself:\n{host.log()}"


@pytest.fixture
def chain(kafka: Kafka, unique_name: str, tmp_path: Path) -> Iterator[Chain]:
    made = Chain(kafka, unique_name, tmp_path)
    yield made
    kafka.delete_topic(made.source)
    kafka.delete_topic(made.target)


def test_28_topic_to_topic_host_killed_at_random_moments(chain: Chain, rng: random.Random) -> None:
    with chain.host() as host:
        for _ in range(20 * ROUNDS):
            chain.produce(1000)
            time.sleep(rng.uniform(0, 0.5))
            host.kill()
            host.start()
        chain.check()
        assert host.stop() == 0


@pytest.mark.parametrize("point", ["claim.before", "kafka.claimed", "claim.after", "kafka.begun", "kafka.sent",
                                   "kafka.committed", "broker.before", "broker.after"])  # fmt: skip
def test_28_topic_to_topic_host_killed_at_failpoints(chain: Chain, rng: random.Random, point: str) -> None:
    for _ in range(KILLS):
        failpoint = f"{point}:{rng.randint(1, 4)}"
        with chain.host(build=FAULT_BUILD, environment={"PIPELINE_FAILPOINT": failpoint}) as host:
            chain.produce_until_killed(host)
    with chain.host() as host:
        chain.check()
        assert host.stop() == 0


def test_28_zombies_and_rebalances(chain: Chain, rng: random.Random) -> None:
    """One of two hosts is frozen for longer than its session, resumes in the middle of a write, and is fenced."""
    with chain.host("one") as one, chain.host("two") as two:
        hosts = [one, two]
        for _ in range(4 * ROUNDS):
            seen = chain.progress()
            chain.produce(3000)
            wait_until(lambda seen=seen: chain.progress() > seen, "progress")
            frozen, awake = rng.sample(hosts, 2)
            frozen.signal(signal.SIGSTOP)
            if rng.random() < 0.3:
                awake.kill()
                awake.start()
            chain.produce(1000)
            wait_until(lambda: len(chain.arrived()) >= chain.sent, "the other host to take over", TIMEOUT)
            frozen.signal(signal.SIGCONT)
        chain.produce(1000)
        chain.check()
        assert [host.stop() for host in hosts] == [0, 0]


def test_28_the_broker_is_killed_under_load(unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    with Kafka() as kafka:
        chain = Chain(kafka, unique_name, tmp_path)
        with chain.host() as host:
            for _ in range(2 * ROUNDS):
                seen = chain.progress()
                chain.produce(5000)
                wait_until(lambda seen=seen: chain.progress() > seen, "progress")
                time.sleep(rng.uniform(0, 0.1))
                kafka.kill()
                kafka.start()
            chain.check()
            assert host.stop() == 0


RULE = {"name": "high", "metric": "n", "above": 50, "clear_below": 10, "severity": "warning"}


def test_28_each_alert_is_in_the_topic_once(chain: Chain, rng: random.Random) -> None:
    """The state of the rules is in the positions topic: no alert is duplicated or lost when the host is killed."""
    devices, steps = 8, 400 * ROUNDS

    def value(device: int, step: int) -> bytes:
        n = (step * 7 + device * 13) % 101
        return json.dumps({"user_id": "u", "device_id": f"d{device}", "time": 1_763_000_000_000 + step * 1000, "n": n}).encode()

    def expected() -> collections.Counter[tuple[str, str]]:
        raised = collections.Counter[tuple[str, str]]()
        for device in range(devices):
            high = False
            for step in range(steps):
                n = (step * 7 + device * 13) % 101
                if not high and n > 50 or high and n < 10:
                    high = not high
                    raised[f"d{device}", "firing" if high else "resolved"] += 1
        return raised

    alerts = {
        "transforms": {
            "parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["n"]},
            "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": [RULE]},
        },
        "sinks": {"out": chain.sink("alerts", format="json", key="{device_id}")},
    }
    with chain.host(**alerts) as host:
        for step in range(0, steps, 50):
            records = [Record(value(d, s), key=b"d%d" % d, partition=d % PARTITIONS)
                       for s in range(step, step + 50) for d in range(devices)]  # fmt: skip
            chain.kafka.produce(chain.source, records)
            time.sleep(rng.uniform(0, 0.5))
            host.kill()
            host.start()
        want = expected()

        def got() -> list[dict[str, Any]]:
            return [json.loads(m.value or b"{}") for m in chain.kafka.consume(chain.target)]

        wait_until(lambda: len(got()) >= want.total(), "all alerts", TIMEOUT)
        assert collections.Counter((a["device_id"], a["state"]) for a in got()) == want
        assert host.stop() == 0


def test_28_a_record_that_the_broker_rejects_is_one_dead_letter(chain: Chain) -> None:
    with chain.host(sinks={"out": chain.sink("in", properties={"message.max.bytes": 5000})}) as host:
        chain.produce(500)
        chain.kafka.produce(chain.source, [Record(b"1" * 6000, key=b"large", partition=1)])
        chain.produce(500)
        wait_until(lambda: len(dead_letters(host.directory)) == 1, "the dead letter")
        chain.check()
        assert "too large" in dead_letters(host.directory)[0]["reason"]
        host.kill()
        host.start()
        chain.produce(500)
        chain.check()
        assert host.stop() == 0
        assert len(dead_letters(host.directory)) == 1


def test_29_spool_to_topic(kafka: Kafka, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    """Each message of the bridge's spool is in the topic once, even if the bridge is killed repeatedly."""
    kafka.create_topic(unique_name, PARTITIONS, KEEP)
    with Mosquitto() as broker:
        bridge = PipelineHost(
            SOURCE / "configs/bridge.yaml", tmp_path,
            environment={"KAFKA_BROKERS": kafka.brokers, "MQTT_URL": broker.url()},
            sets=[f"sinks.topic.topic={unique_name}", f"dead_letters.topic={unique_name}", "sinks.topic.batch.rows=50",
                  "sinks.topic.transaction_timeout=3s"],
        )  # fmt: skip
        with bridge:
            bridge.wait_for_log("connected to MQTT broker")
            kafka.pause()  # all messages are in the spool and acknowledged before the first kill
            sent = 3000 * ROUNDS
            broker.publish_all([(f"users/u/devices/d{n % 20}/telemetry", b'{"n":%d}' % n) for n in range(sent)])
            wait_until(lambda: bridge.metric("pipeline_mqtt_source_messages_total") >= sent, "all messages in the spool")
            bridge.kill()
            kafka.resume()
            for _ in range(10 * ROUNDS):
                bridge.start()
                time.sleep(rng.uniform(0.1, 0.6))
                bridge.kill()
            bridge.start()
            numbers: collections.Counter[int] = collections.Counter()

            def all_there() -> bool:
                nonlocal numbers
                numbers = collections.Counter(json.loads(m.value or b"")["n"] for m in kafka.consume(unique_name))
                return len(numbers) >= sent

            wait_until(all_there, "all messages in the topic", TIMEOUT)
            assert numbers.most_common(1)[0][1] == 1, "no duplicates"
            assert bridge.stop() == 0
    kafka.delete_topic(unique_name)
