# SPDX-License-Identifier: Apache-2.0
"""kafka_source against Apache Kafka: kills, rebalances, retention, codecs; every record counted."""

from __future__ import annotations

import collections
import ctypes
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(os.environ["PIPELINE_SOURCE_DIR"]) / "tests"))

from services import PATIENCE, Kafka, KafkaError, Record, wait_until  # noqa: E402
from services.rdkafka import Consumer  # noqa: E402

READER = Path(os.environ["PIPELINE_BUILD_DIR"]) / "bin" / "kafka_source_reader"
FENCED = 5

_names = itertools.count(1)


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with Kafka() as service:
        yield service


class Reader:
    """A process that reads, and what it has written down."""

    def __init__(self, kafka: Kafka, directory: Path, name: str, options: Mapping[str, str]) -> None:
        self.output = directory / f"{name}.out"
        self.log = directory / f"{name}.log"
        # A group for each topic: a static member that has stopped stays in its group for a while.
        self.group = f"group-{options['topic'].strip('^')}"
        self._arguments = [READER, kafka.brokers, self.group, directory / "state", self.output]
        self._arguments += [f"{key}={value}" for key, value in options.items()]
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self._arguments, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines() if self.output.exists() else []

    def count(self) -> int:
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def log_text(self) -> str:
        return self.log.read_text()


def everything(kafka: Kafka, *topics: str) -> set[str]:
    return {
        f"{topic}/{partition} {offset}"
        for topic in topics
        for partition, end in kafka.end_offsets(topic).items()
        for offset in range(end)
    }


def values(count: int) -> list[bytes]:
    return [b'{"device_id":"d%d","temperature":%d.5}' % (i % 90, i % 40) for i in range(count)]


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"topic-{next(_names)}"
    kafka.create_topic(name, partitions=4, config={"retention.ms": -1})  # records of long ago would be gone at once
    return name


def test_a_million_records_of_every_codec(kafka: Kafka, tmp_path: Path) -> None:
    topics = [f"codec-{codec}" for codec in ("none", "gzip", "snappy", "lz4", "zstd")]
    for name in topics:
        kafka.create_topic(name, partitions=2)
        kafka.produce(name, values(200_000), config={"compression.type": name.removeprefix("codec-")})
    reader = Reader(kafka, tmp_path, "all", {"topic": "^codec-"})
    wait_until(lambda: reader.count() >= 1_000_000, "a million records", timeout=600)
    assert reader.stop() == 0
    lines = reader.lines()
    assert len(lines) == 1_000_000
    assert set(lines) == everything(kafka, *topics)
    committed = kafka.group_offsets(reader.group)
    for name in topics:
        for partition, end in kafka.end_offsets(name).items():
            assert committed[name, partition].offset == end
            assert committed[name, partition].metadata == b"pipeline-host:test:%d" % end


def test_killed_again_and_again(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(300_000))
    reader = Reader(kafka, tmp_path, "killed", {"topic": topic})
    for _ in range(5):
        seen = reader.count()
        wait_until(lambda seen=seen: reader.count() > seen, "more records")
        reader.kill()
        killed = time.monotonic()
        seen = reader.count()
        reader.start()
        wait_until(lambda seen=seen: reader.count() > seen, "the first record after the kill")
        # Static membership: nobody waits for the old session (45 s) to time out.
        assert time.monotonic() - killed < 30
        kafka.produce(topic, values(20_000))
    wait_until(lambda: set(reader.lines()) >= everything(kafka, topic), "every record")
    assert reader.stop() == 0
    assert set(reader.lines()) == everything(kafka, topic)


def test_members_come_and_go_under_load(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    options = {"topic": topic, "instance": "dynamic"}
    first = Reader(kafka, tmp_path, "first", options)
    wait_until(lambda: kafka.produce(topic, values(20_000)) and first.count(), "records at the first")
    second = Reader(kafka, tmp_path, "second", options)
    wait_until(lambda: kafka.produce(topic, values(20_000)) and second.count(), "records at the second")
    third = Reader(kafka, tmp_path, "third", options)
    wait_until(lambda: kafka.produce(topic, values(20_000)) and third.count(), "records at the third")
    assert second.stop() == 0
    kafka.produce(topic, values(20_000))
    assert first.stop() == 0
    kafka.produce(topic, values(20_000))
    readers = (first, second, third)
    whole = everything(kafka, topic)
    wait_until(lambda: sum(r.count() for r in readers) >= len(whole), "every record")
    assert third.stop() == 0
    times = collections.Counter(line for reader in readers for line in reader.lines())
    assert set(times) == whole
    assert {line for line, n in times.items() if n > 1} == set(), "nobody died: nothing is read twice"


def test_records_deleted_before_they_were_read(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(1000), partition=2)
    reader = Reader(kafka, tmp_path, "late", {"topic": topic})
    wait_until(lambda: reader.count() == 1000, "a thousand records")
    assert reader.stop() == 0
    kafka.produce(topic, values(1000), partition=2)
    kafka.delete_records(topic, {2: 1600})
    reader.start()
    wait_until(lambda: reader.count() == 1400, "what is left")
    assert reader.stop() == 0
    assert f"LOST: records 1000 to 1599 of {topic}/2, 600 of them" in reader.log_text()
    assert reader.lines()[1000:] == [f"{topic}/2 {offset}" for offset in range(1600, 2000)]


def test_a_topic_created_anew(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(1000), partition=0)
    reader = Reader(kafka, tmp_path, "before", {"topic": topic, "properties.session.timeout.ms": "6000"})
    wait_until(lambda: reader.count() == 1000, "a thousand records")
    assert reader.stop() == 0
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=4)
    kafka.produce(topic, values(10), partition=0)
    # Kafka forgets a deleted topic's committed offsets; an operator's tool, or a sink's positions, may bring them back.
    wait_until(lambda: restore_offset(kafka, reader.group, topic, 1000), "the group to be empty")
    reader.start()
    wait_until(lambda: reader.count() == 1010, "the new topic's records")
    assert reader.stop() == 0
    assert re.search(f"position 1000 of {topic}/0 lies beyond the partition's end", reader.log_text())
    assert kafka.group_offsets(reader.group)[topic, 0].offset == 10


def restore_offset(kafka: Kafka, group: str, topic: str, offset: int) -> bool:
    """True once the broker takes it: not before the last member's session is over."""
    with Consumer(kafka.brokers, group, {}) as consumer, consumer._partitions({(topic, 0): offset}) as partitions:
        commit = consumer._lib.rd_kafka_commit
        commit.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        return commit(consumer.handle, partitions, 0) == 0


def test_two_with_one_name(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(100))
    options = {"topic": topic, "instance": "pod-1"}
    first = Reader(kafka, tmp_path, "one", options)
    wait_until(lambda: first.count() == 100, "a hundred records")
    second = Reader(kafka, tmp_path, "other", options)
    assert first.process.wait(timeout=PATIENCE) == FENCED
    assert f"another live process has joined the group '{first.group}' as instance 'pod-1." in first.log_text()
    kafka.produce(topic, values(50))
    wait_until(lambda: second.count() >= 50, "the other to go on")
    assert second.stop() == 0
    assert set(first.lines()) | set(second.lines()) == everything(kafka, topic)


def test_an_operators_reset_after_a_stop(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(100), partition=0)
    reader = Reader(kafka, tmp_path, "reset", {"topic": topic, "properties.session.timeout.ms": "6000"})
    wait_until(lambda: reader.count() == 100, "a hundred records")
    assert reader.stop() == 0
    # A static member stays in the group until its session is over; till then the tool refuses.
    wait_until(lambda: "assigned" not in reset(kafka, reader.group, topic), "the broker to allow the reset")
    reader.start()
    wait_until(lambda: reader.count() == 110, "the last ten records again")
    assert reader.stop() == 0
    assert reader.lines()[100:] == [f"{topic}/0 {offset}" for offset in range(90, 100)]


def reset(kafka: Kafka, group: str, topic: str) -> str:
    try:
        kafka.reset_offsets(group, f"{topic}:0", "--shift-by", "-10")
    except KafkaError as error:
        return f"assigned: {error}"
    return "done"


def test_from_a_time_on(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    hour = 3_600_000
    noon = 1_793_534_400_000  # 2026-11-01T12:00:00Z
    records = [Record(b"x", partition=1, timestamp_ms=noon + i * hour // 2) for i in range(10)]
    kafka.produce(topic, records)
    reader = Reader(kafka, tmp_path, "time", {"topic": topic, "start": "2026-11-01T14:00:00Z"})
    wait_until(lambda: reader.count() == 6, "the records since two o'clock")
    assert reader.stop() == 0
    assert reader.lines() == [f"{topic}/1 {offset}" for offset in range(4, 10)]


def test_the_broker_is_killed(tmp_path: Path) -> None:
    with Kafka() as own:
        own.create_topic("t", partitions=4)
        own.produce("t", values(50_000))
        reader = Reader(own, tmp_path, "survivor", {"topic": "t"})
        wait_until(lambda: reader.count() >= 50_000, "the records before")
        own.kill()
        own.start()
        own.produce("t", values(50_000))
        wait_until(lambda: set(reader.lines()) >= everything(own, "t"), "the records after")
        assert reader.stop() == 0
        assert len(reader.lines()) == len(set(reader.lines())), "the reader lived on: nothing is read twice"
