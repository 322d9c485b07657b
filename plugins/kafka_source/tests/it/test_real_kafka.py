# SPDX-License-Identifier: Apache-2.0
"""Tests of kafka_source against Apache Kafka: kills, rebalances, retention, codecs. Every record is counted."""

from __future__ import annotations

import collections
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(os.environ["PIPELINE_SOURCE_DIR"]) / "tests"))

from services import TIMEOUT, Kafka, KafkaError, Record, TcpProxy, free_port, wait_until  # noqa: E402

READER = Path(os.environ["PIPELINE_BUILD_DIR"]) / "bin" / "kafka_source_reader"
FENCED = 5

_names = itertools.count(1)


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with Kafka() as service:
        yield service


class Reader:
    """A reader process and its output file."""

    def __init__(
        self, kafka: Kafka, directory: Path, name: str, options: Mapping[str, str], brokers: str | None = None
    ) -> None:
        self.output = directory / f"{name}.out"
        self.log = directory / f"{name}.log"
        # Each topic has its own group, because a static member that has stopped stays in its group for a while.
        self.group = f"group-{options['topic'].strip('^')}"
        self._arguments = [READER, brokers or kafka.brokers, self.group, directory / "state", self.output]
        self._arguments += [f"{key}={value}" for key, value in options.items()]
        self.start()

    def start(self) -> None:
        self._blocked = False
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self._arguments, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=TIMEOUT)

    def lines(self) -> list[str]:
        return self.output.read_text().splitlines() if self.output.exists() else []

    def count(self) -> int:
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def log_text(self) -> str:
        return self.log.read_text()

    def block(self, on: bool = True) -> None:
        """Take no records, as a host whose sink is full, or take them again."""
        assert on != self._blocked
        self._blocked = on
        self.process.send_signal(signal.SIGUSR1)

    def live(self, what: str) -> list[list[str]]:
        """Return what the source has reported: the words after `what` ("end", "why", "arrival"), see reader.cpp."""
        file = Path(f"{self.output}.live")
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [line.split(" ")[1:] for line in lines if line.startswith(f"{what} ")]

    def observed(self) -> list[tuple[int, float]]:
        """Return the observed ends of a topic with one partition, each with the time that it is valid for."""
        return [(int(end), int(before) / 1e9) for _, end, before in self.live("end")]

    def why_not(self) -> str:
        """Return why records are not received; empty if they are."""
        return " ".join((self.live("why") or [["nothing was reported"]])[-1])


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
    kafka.create_topic(name, partitions=4, config={"retention.ms": -1})  # old timestamps would be deleted at once
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
    session = 180  # seconds
    reader = Reader(kafka, tmp_path, "killed", {"topic": topic, "properties.session.timeout.ms": f"{session}000"})
    wait_until(lambda: reader.count() > 0, "the first records")
    for _ in range(5):
        reader.kill()
        killed = time.monotonic()
        seen = reader.count()
        reader.start()
        kafka.produce(topic, values(20_000))  # the reader may have committed all earlier records
        wait_until(lambda seen=seen: reader.count() > seen, "the first record after the kill")
        # With static membership the reader does not wait for the old session to time out.
        assert time.monotonic() - killed < session / 2
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
    assert {line for line, n in times.items() if n > 1} == set(), "no reader was killed, so no record is read twice"


def test_records_deleted_before_they_were_read(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(1000), partition=2)
    reader = Reader(kafka, tmp_path, "late", {"topic": topic})
    wait_until(lambda: reader.count() == 1000, "a thousand records")
    assert reader.stop() == 0
    kafka.produce(topic, values(1000), partition=2)
    kafka.delete_records(topic, {2: 1600})
    reader.start()
    wait_until(lambda: reader.count() == 1400, "the remaining records")
    assert reader.stop() == 0
    assert f"LOST: records 1000 to 1599 of {topic}/2 (600 records)" in reader.log_text()
    assert reader.lines()[1000:] == [f"{topic}/2 {offset}" for offset in range(1600, 2000)]


def test_a_topic_created_again(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(1000), partition=0)
    reader = Reader(kafka, tmp_path, "before", {"topic": topic, "properties.session.timeout.ms": "6000"})
    wait_until(lambda: reader.count() == 1000, "a thousand records")
    assert reader.stop() == 0
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=4)
    kafka.produce(topic, values(10), partition=0)
    # Kafka deletes the committed offsets with the topic; an operator's tool or a sink's positions may restore them.
    wait_until(lambda: restore_offset(kafka, reader.group, topic, 1000), "the group to be empty")
    reader.start()
    wait_until(lambda: reader.count() == 1010, "the new topic's records")
    assert reader.stop() == 0
    assert re.search(f"position 1000 of {topic}/0 lies beyond the partition's end", reader.log_text())
    assert kafka.group_offsets(reader.group)[topic, 0].offset == 10


def restore_offset(kafka: Kafka, group: str, topic: str, offset: int) -> bool:
    """Return True once the broker accepts the offset, which is after the last member's session has ended."""
    try:
        kafka.commit(group, {(topic, 0): offset})
    except KafkaError:
        return False
    return True


def test_two_readers_with_one_instance_name(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(100))
    options = {"topic": topic, "instance": "pod-1"}
    first = Reader(kafka, tmp_path, "one", options)
    wait_until(lambda: first.count() == 100, "a hundred records")
    second = Reader(kafka, tmp_path, "other", options)
    assert first.process.wait(timeout=TIMEOUT) == FENCED
    assert f"another live process has joined the group '{first.group}' as instance 'pod-1." in first.log_text()
    kafka.produce(topic, values(50))
    # The fenced reader may not have committed: then the other one reads the first hundred again, in any order.
    sent = everything(kafka, topic)
    wait_until(lambda: set(first.lines()) | set(second.lines()) == sent, "the other reader to continue")
    assert second.stop() == 0


def test_an_operators_reset_after_a_stop(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(100), partition=0)
    reader = Reader(kafka, tmp_path, "reset", {"topic": topic, "properties.session.timeout.ms": "6000"})
    wait_until(lambda: reader.count() == 100, "a hundred records")
    assert reader.stop() == 0
    # A static member stays in the group until its session ends; until then the tool refuses the reset.
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


def test_start_at_a_time(kafka: Kafka, topic: str, tmp_path: Path) -> None:
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
        assert len(reader.lines()) == len(set(reader.lines())), "no restart, so no record is read twice"


class Steady:
    """Produces a record every 50 ms to a topic with one partition, and notes when the broker has acknowledged each."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.acknowledged: list[float] = []  # by offset
        self._kafka, self._topic = kafka, topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._kafka.produce(self._topic, [b"{}"], config={"linger.ms": 0})
            self.acknowledged.append(time.time())


def check_true(reader: Reader, steady: Steady) -> list[tuple[int, float]]:
    """Check that no observed end leaves out a record that had arrived before. Return the observations."""
    observed = reader.observed()
    for end, before in observed:
        missing = [offset for offset, at in enumerate(steady.acknowledged) if at < before and offset >= end]
        assert not missing, f"{missing} arrived before {before}, but the observed end was {end}"
    return observed


def test_observed_ends_are_true(tmp_path: Path) -> None:
    port = free_port()
    with TcpProxy(port) as proxy, Kafka(proxied=(port, proxy.port)) as kafka:
        kafka.create_topic("ends")
        reader = Reader(kafka, tmp_path, "ends", {"topic": "ends"}, f"127.0.0.1:{proxy.port}")
        with Steady(kafka, "ends") as steady:
            wait_until(lambda: len(reader.observed()) > 3, "observations")

            reader.block()  # the observations continue
            seen = len(reader.observed())
            wait_until(lambda: len(reader.observed()) > seen + 3, "observations while the reader is blocked")
            assert reader.observed()[-1][0] > reader.observed()[seen][0]
            reader.block(False)

            proxy.refuse()  # a cut connection
            cut = time.time()
            wait_until(lambda: "no broker of" in reader.why_not(), "the report that no broker can be reached")
            time.sleep(3)
            assert reader.observed()[-1][1] < cut + 0.1
            proxy.refuse(False)
            again = time.time()
            wait_until(lambda: reader.observed()[-1][1] > again, "observations after the cut")
            assert reader.why_not() == ""
            check_true(reader, steady)

        kafka.pause()  # a frozen broker: its connections stay open
        frozen = time.time()
        wait_until(lambda: "has responded for" in reader.why_not(), "the report that the broker does not respond")
        kafka.resume()
        thawed = time.time()
        wait_until(lambda: reader.observed()[-1][1] > thawed, "observations after the freeze")
        # A request that was sent into the freeze is answered after it.
        assert not [before for _, before in reader.observed() if frozen + 2 < before < thawed - 2]
        check_true(reader, steady)
        assert reader.stop() == 0


def test_arrival_times(kafka: Kafka, tmp_path: Path) -> None:
    for kind, claimed in (("LogAppendTime", "0"), ("CreateTime", "1")):
        kafka.create_topic(kind, config={"message.timestamp.type": kind})
        began = time.time()
        kafka.produce(kind, [Record(b"{}", timestamp_ms=1_000_000), b"{}"])
        reader = Reader(kafka, tmp_path, kind, {"topic": kind})
        wait_until(lambda reader=reader: len(reader.live("arrival")) == 2, "the records")
        assert reader.stop() == 0
        times = [int(at) / 1e9 for _, _, at, how in reader.live("arrival") if how == claimed]
        assert times[0] == 1000 if claimed == "1" else began - 0.1 < times[0] < time.time()
        assert began - 0.1 < times[1] < time.time()


def test_ready_once_it_has_joined(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    options = {"topic": topic, "instance": "dynamic"}
    readers = [Reader(kafka, tmp_path, f"member-{i}", options) for i in range(5)]  # of four partitions
    for reader in readers:
        wait_until(lambda reader=reader: reader.why_not() == "", "a member")
        assert reader.live("why")[0] == f"joining the group '{reader.group}'".split()
    for reader in readers:
        assert reader.stop() == 0

    # A member that knows only an eager assignment strategy keeps the others out.
    eager = Reader(kafka, tmp_path, "eager", {**options, "properties.partition.assignment.strategy": "range"})
    wait_until(lambda: eager.why_not() == "", "the eager member")
    kept_out = Reader(kafka, tmp_path, "kept-out", options)
    wait_until(lambda: "'cooperative-sticky'" in kept_out.why_not(), "the reason")
    assert kept_out.why_not().startswith(f"joining the group '{eager.group}': a member of the group does not support")
    assert eager.stop() == 0
    wait_until(lambda: kept_out.why_not() == "", "a join after the eager member has left")
    assert kept_out.stop() == 0
