# SPDX-License-Identifier: Apache-2.0
"""kafka_source and kafka_sink in complete hosts on Apache Kafka: reading, writing, and restarts."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, ndjson, run

from services import Kafka, KafkaError, Record, wait_until

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
KEEP = {"retention.ms": -1}  # otherwise retention would delete the old test records within a second
# The broker removes a stopped static member soon, but does not remove a running one on a busy machine.
SHORT = {"session.timeout.ms": 8000, "heartbeat.interval.ms": 300}
LASTING = {"session.timeout.ms": 15_000, "heartbeat.interval.ms": 300}  # for tests in which no member may be removed
SESSION = {"session.timeout.ms": 180_000}
QUICK = {"topic.metadata.refresh.interval.ms": 500, "statistics.interval.ms": 200}


def values(first: int, count: int) -> list[bytes]:
    return [b'{"n":%d,"device_id":"d%d","temperature":%d.5}' % (n, n % 90, n % 40) for n in range(first, first + count)]


class Copy:
    """A host that copies topics to a file, one line per record."""

    def __init__(self, kafka: Kafka, directory: Path, topic: str, state: str = "state", **source: object) -> None:
        options = {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": topic, "group": topic, "properties": QUICK}
        sink = {"plugin": "file_sink", "from": "in", "path": "out.ndjson", "fsync": "never"}
        config = configuration(directory, sources={"in": {**options, **source}}, sinks={"out": sink}, state_dir=state)
        self.output = directory / "out.ndjson"
        self.host = PipelineHost(config, directory)

    def count(self) -> int:
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def rows(self) -> list[dict[str, Any]]:
        return ndjson(self.output)

    def positions(self) -> list[tuple[str, int, int]]:
        return [(row["topic"], row["partition"], row["offset"]) for row in self.rows()]


def everything(kafka: Kafka, *topics: str) -> set[tuple[str, int, int]]:
    ends = {topic: kafka.end_offsets(topic) for topic in topics}
    return {(topic, p, offset) for topic in topics for p, end in ends[topic].items() for offset in range(end)}


@pytest.fixture
def topic(kafka: Kafka, unique_name: str) -> str:
    kafka.create_topic(unique_name, partitions=4, config=KEEP)
    return unique_name


# The source


def test_nothing_is_lost_when_the_host_is_killed_repeatedly(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    copy = Copy(kafka, tmp_path, topic, properties={**QUICK, **SESSION})
    with copy.host:
        for _ in range(5):
            seen = copy.count()
            kafka.produce(topic, values(0, 50_000))
            wait_until(lambda seen=seen: copy.count() > seen, "progress")
            copy.host.kill()
            seen = copy.count()
            kafka.produce(topic, values(0, 1000))
            started = time.monotonic()
            copy.host.start()
            wait_until(lambda seen=seen: copy.count() > seen, "the first record after the kill")
            # A static member rejoins immediately; a dynamic one would wait until the old session has expired.
            assert time.monotonic() - started < SESSION["session.timeout.ms"] / 1000 / 2
        wait_until(lambda: set(copy.positions()) == everything(kafka, topic), "every record at least once")
        assert copy.host.stop() == 0


@pytest.mark.parametrize("state", ["{tmp}/state", "state"], ids=["one state directory", "a state directory each"])
def test_hosts_of_one_group_share_the_partitions(kafka: Kafka, topic: str, tmp_path: Path, state: str) -> None:
    first, second = (
        Copy(kafka, tmp_path / name, topic, state.format(tmp=tmp_path), properties={**QUICK, **LASTING})
        for name in ("first", "second")
    )
    produced = 0

    def more() -> bool:
        nonlocal produced
        produced += kafka.produce(topic, values(produced, 2000))
        return True

    def owned(copy: Copy) -> float:
        return copy.host.metric("pipeline_kafka_assigned_partitions")

    with first.host, second.host:
        wait_until(lambda: more() and (owned(first), owned(second)) == (2, 2), "two partitions each")
        before = first.count(), second.count()
        wait_until(lambda: more() and first.count() > before[0] and second.count() > before[1], "records at both hosts")
        assert second.host.stop() == 0
        wait_until(lambda: more() and owned(first) == 4, "the first host to take over")
        wait_until(lambda: first.count() + second.count() == produced, "every record")
        assert first.host.stop() == 0
    times = collections.Counter(first.positions() + second.positions())
    assert set(times) == everything(kafka, topic)
    assert set(times.values()) == {1}, "without a kill, no record is read twice"


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_is_read_and_written(kafka: Kafka, unique_name: str, tmp_path: Path, codec: str) -> None:
    source, target = f"{unique_name}.in", f"{unique_name}.out"
    for name in (source, target):
        kafka.create_topic(name)
    kafka.produce(source, values(0, 5000), config={"compression.type": codec})
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": source, "group": source}},
        sinks={"out": {"plugin": "kafka_sink", "from": "in", "brokers": kafka.brokers, "topic": target,
                       "format": "raw", "compression": codec}},
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        assert [message.value for message in kafka.consume(target, at_least=5000)] == values(0, 5000)
        assert host.stop() == 0
    assert stored_codecs(kafka, source) == stored_codecs(kafka, target) == {CODECS.index(codec)}


def stored_codecs(kafka: Kafka, topic: str) -> set[int]:
    """Return the codecs in a partition's log, from the low bits of the attributes of each record batch."""
    log = (kafka.directory / "data" / f"{topic}-0" / f"{0:020}.log").read_bytes()
    codecs, at = set(), 0
    while at < len(log):
        codecs.add(log[at + 22] & 7)
        at += 12 + int.from_bytes(log[at + 8 : at + 12])
    return codecs


ODD = [
    Record(b"plain", b"key", partition=0, timestamp_ms=1_763_000_000_123),
    Record(b"", b"", partition=0),
    Record(None, b"gone", partition=0),
    Record(b"no key", None, partition=0),
    Record(b"\x00\xff", "schlüssel".encode(), (("a", b"1"), ("b", b"\xff"), ("a", b""), ("c", None)), partition=0),
]


def test_headers_keys_and_tombstones_become_columns(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, ODD)
    copy = Copy(kafka, tmp_path, topic)
    with copy.host:
        wait_until(lambda: copy.count() == len(ODD), "all records")
        assert copy.host.stop() == 0
    rows = copy.rows()
    assert [row["offset"] for row in rows] == list(range(len(ODD)))
    assert [row.get("value") for row in rows] == ["plain", "", None, "no key", {"base64": "AP8="}]
    assert [row.get("key") for row in rows] == ["key", "", "gone", None, "schlüssel"]
    assert rows[0]["time"] == "2025-11-13T02:13:20.123Z"
    assert rows[4]["headers"] == [["a", "1"], ["b", {"base64": "/w=="}], ["a", ""], ["c", None]]


def test_tombstones_can_be_skipped(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, ODD)
    copy = Copy(kafka, tmp_path, topic, tombstones="skip")
    with copy.host:
        wait_until(lambda: copy.count() == len(ODD) - 1, "all records except one")
        assert copy.host.metric("pipeline_kafka_tombstones_skipped_total") == 1
        assert copy.host.stop() == 0
    assert kafka.group_offsets(topic)[topic, 0].offset == len(ODD)


@pytest.mark.parametrize("then", ["earliest", "latest", "stop"])
def test_records_deleted_by_retention_are_reported_with_numbers(
    kafka: Kafka, topic: str, tmp_path: Path, then: str
) -> None:
    kafka.produce(topic, values(0, 1000), partition=2)
    copy = Copy(kafka, tmp_path, topic, on_out_of_range=then)
    with copy.host:
        wait_until(lambda: copy.count() == 1000, "a thousand records")
        assert copy.host.stop() == 0
    kafka.produce(topic, values(1000, 1000), partition=2)
    kafka.delete_records(topic, {2: 1600})
    lost = f"LOST: records 1000 to 1599 of {topic}/2 (600 records)"
    with copy.host:
        copy.host.wait_for_log(lost)
        if then == "stop":
            assert copy.host.wait() == 1
            return
        if then == "latest":
            assert "continuing at 2000, which skips 400 more records" in copy.host.log()
            kafka.produce(topic, values(2000, 10), partition=2)
        left = range(1600, 2000) if then == "earliest" else range(2000, 2010)
        wait_until(lambda: copy.count() == 1000 + len(left), "the remaining records")
        assert copy.host.metric("pipeline_kafka_lost_records_total", partition="2") == 600
        assert copy.host.stop() == 0
    assert [row["offset"] for row in copy.rows()][1000:] == list(left)


def test_a_pattern_matches_topics_created_later(kafka: Kafka, unique_name: str, tmp_path: Path) -> None:
    names = [f"{unique_name}.{kind}" for kind in ("a", "b", "later")]
    kafka.create_topic(f"not_{unique_name}.a")
    kafka.produce(f"not_{unique_name}.a", values(0, 10))
    for name in names[:2]:
        kafka.create_topic(name, partitions=2)
        kafka.produce(name, values(0, 100))
    copy = Copy(kafka, tmp_path, f"^{unique_name}[.].*", group=unique_name)
    with copy.host:
        wait_until(lambda: copy.count() == 200, "both topics")
        kafka.create_topic(names[2], partitions=2)
        kafka.produce(names[2], values(0, 100))
        wait_until(lambda: copy.count() == 300, "all records of the later topic")
        assert copy.host.stop() == 0
    assert sorted(copy.positions()) == sorted(everything(kafka, *names))


def test_the_standard_tool_sees_the_group_and_its_lag(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(0, 10_000))
    ends = kafka.end_offsets(topic)
    copy = Copy(kafka, tmp_path, topic)
    with copy.host:
        wait_until(lambda: committed(kafka, topic) == ends, "all offsets committed, while it runs")
        table = [line.split() for line in kafka.group_tool("--describe", "--group", topic).splitlines() if topic in line]
        # GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
        assert {int(row[2]): int(row[3]) for row in table} == ends
        assert {row[5] for row in table} == {"0"}
        assert {row[8] for row in table} == {"pipeline-host-test.in"}
        assert copy.host.stop() == 0
    assert {c.metadata.rpartition(b":")[0] for c in kafka.group_offsets(topic).values()} == {b"pipeline-host:test"}


def test_a_static_member_can_change_its_topic(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    """The broker returns the old assignment to a static member that rejoins quickly, even if its subscription changed."""
    kafka.create_topic(f"{topic}.next")
    for name in (topic, f"{topic}.next"):
        kafka.produce(name, values(0, 100))
        copy = Copy(kafka, tmp_path, name, group=topic, properties=SHORT)
        with copy.host:
            wait_until(lambda name=name: sum(row["topic"] == name for row in copy.rows()) == 100, f"records of {name}")
            assert copy.host.stop() == 0


def committed(kafka: Kafka, group: str) -> dict[int, int]:
    return {partition: found.offset for (_, partition), found in kafka.group_offsets(group).items()}


def test_validate_connect_reports_an_unknown_topic(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    for plugin, section in [("kafka_source", "sources"), ("kafka_sink", "sinks")]:
        node = {"plugin": plugin, "brokers": kafka.brokers, "topic": topic[:-1] + "x"}
        parts: dict[str, Any] = {
            "sources": {"in": {"plugin": "file_source", "path": "in.ndjson"}},
            "sinks": {"out": {"plugin": "file_sink", "from": "in", "path": "out.ndjson"}},
        }
        parts[section] = {"in": node} if section == "sources" else {"out": {**node, "from": "in"}}
        done = run("validate", "--connect", str(configuration(tmp_path, **parts)), cwd=tmp_path)
        assert done.returncode == 1
        assert f"there is no topic '{node['topic']}' at {kafka.brokers}; did you mean" in done.stderr


# The sink


def readings(first: int, count: int) -> Iterable[str]:
    return (
        json.dumps({"user_id": f"u{n % 7}", "device_id": f"d{n % 90}", "time": 1_763_000_000_000 + n, "temperature": n / 8})
        for n in range(first, first + count)
    )


def feed(
    kafka: Kafka, topic: str, directory: Path, count: int, *, follow: bool = False, **sink: object
) -> PipelineHost:
    """Return a host that writes a file of readings to a topic, keyed by device."""
    config = configuration(
        directory,
        sources={"file": {"plugin": "file_source", "path": "readings.ndjson", "follow": follow}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "file"}},
        sinks={"out": {"plugin": "kafka_sink", "from": "parsed", "brokers": kafka.brokers, "topic": topic,
                       "key": "{user_id}/{device_id}", "headers": {"device": "{device_id}"}, "time": "time", **sink}},
    )  # fmt: skip
    (directory / "readings.ndjson").write_text("".join(line + "\n" for line in readings(0, count)))
    return PipelineHost(config, directory)


def java_partition(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's Java clients choose for a key: murmur2, positive, modulo."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if key[whole:]:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def test_records_go_to_the_partition_of_their_key(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    with feed(kafka, topic, tmp_path, 20_000) as host:
        assert host.wait() == 0
    messages = kafka.consume(topic)
    assert len(messages) == 20_000
    last: dict[bytes, int] = collections.defaultdict(lambda: -1)
    for message in messages:
        assert message.key is not None and message.value is not None
        row, n = json.loads(message.value), message.timestamp_ms - 1_763_000_000_000
        assert message.key == f"{row['user_id']}/{row['device_id']}".encode() == b"u%d/d%d" % (n % 7, n % 90)
        assert message.partition == java_partition(message.key, 4)
        assert message.headers == (("device", row["device_id"].encode()),)
        assert row["temperature"] == n / 8
        assert last[message.key] < n, "records of one key stay in order"
        last[message.key] = n
    assert {message.partition for message in messages} == {0, 1, 2, 3}


def test_unusual_records_pass_through_unchanged(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    kafka.create_topic(f"{topic}.copy", config=KEEP)
    kafka.produce(topic, ODD)
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": topic, "group": topic,
                        "properties": SHORT}},
        sinks={"out": {"plugin": "kafka_sink", "from": "in", "brokers": kafka.brokers, "topic": f"{topic}.copy",
                       "format": "raw", "time": "time"}},
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        copied = kafka.consume(f"{topic}.copy", at_least=len(ODD))
        assert host.stop() == 0
    assert [message.value for message in copied] == [record.value for record in ODD]
    assert copied[0].timestamp_ms == ODD[0].timestamp_ms


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_nothing_is_lost_when_the_broker_stops(tmp_path: Path, how: str) -> None:
    half = 100_000
    with Kafka() as own:
        own.create_topic("t", partitions=4, config=KEEP)
        # Use small batches and few requests in flight, so that the broker stops in the middle.
        small = {"properties": {"linger.ms": 0}, "batch": {"rows": 500, "max_bytes": "64KiB"}}
        with feed(own, "t", tmp_path, half, follow=True, **small) as host:
            wait_until(lambda: sum(own.end_offsets("t").values()) > 2000, "some of the records")
            own.terminate() if how == "restarted" else own.kill()
            with (tmp_path / "readings.ndjson").open("a") as more:
                more.writelines(line + "\n" for line in readings(half, half))
            own.start()
            wait_until(lambda: sum(own.end_offsets("t").values()) >= 2 * half, "all records")
            assert host.stop() == 0
        values = collections.Counter(message.value for message in own.consume("t"))
    numbers = {json.loads(value)["time"] for value in values if value is not None}
    assert len(numbers) == len(values) == 2 * half


# Exactly once into a topic; under faults: tests/faults/test_kafka_sink.py


def exact(kafka: Kafka, directory: Path, topic: str, positions: str, **sink: object) -> PipelineHost:
    """Copy a topic into `<topic>_out`."""
    config = configuration(
        directory,
        delivery="exactly_once",
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": topic, "group": topic,
                        "properties": SHORT}},
        sinks={"out": {"plugin": "kafka_sink", "from": "in", "brokers": kafka.brokers, "topic": f"{topic}_out", "format": "raw",
                       "key": "{key}", "positions_topic": positions, "retry": {"initial": "50ms", "max": "500ms"}, **sink}},
    )  # fmt: skip
    return PipelineHost(config, directory)


@pytest.fixture
def out(kafka: Kafka, topic: str) -> str:
    kafka.create_topic(f"{topic}_out", partitions=4, config=KEEP)
    return f"{topic}_out"


def test_positions_are_kept_in_a_compacted_topic_that_the_sink_creates(kafka: Kafka, topic: str, out: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(0, 2000))
    with exact(kafka, tmp_path, topic, f"{topic}_positions") as host:
        wait_until(lambda: len(kafka.consume(out)) == 2000, "all records")
        assert host.stop() == 0
    assert kafka.topics()[f"{topic}_positions"] == 16
    last = {m.key: m.value for m in kafka.consume(f"{topic}_positions")}
    ends = kafka.end_offsets(topic)
    for partition, end in ends.items():
        at = json.loads(last[f"position\ntest\nout\nin\n{topic}/{partition}".encode()] or b"")
        assert (at["next"], at["epoch"]) == (end, 1)
    kafka.produce(topic, values(2000, 500))
    with exact(kafka, tmp_path, topic, f"{topic}_positions") as host:
        wait_until(lambda: len(kafka.consume(out)) == 2500, "the rest")
        assert host.stop() == 0
    assert len({m.value for m in kafka.consume(out)}) == 2500


@pytest.mark.parametrize("fault", ["deleted when old", "too few partitions"])
def test_a_positions_topic_that_would_lose_positions_is_rejected(
    kafka: Kafka, topic: str, out: str, tmp_path: Path, fault: str
) -> None:
    few = fault == "too few partitions"
    kafka.create_topic(f"{topic}_positions", 4 if few else 16, {"cleanup.policy": "compact" if few else "delete"})
    kafka.produce(topic, values(0, 100))
    with exact(kafka, tmp_path, topic, f"{topic}_positions") as host:
        host.wait_for_log("it has 4 partitions" if few else "its cleanup.policy is 'delete'")
        assert host.get("/health/ready")[0] == 503
        assert not kafka.consume(out), "nothing is written before the positions topic is valid"
        kafka.delete_topic(f"{topic}_positions")  # then the sink creates a valid one
        wait_until(lambda: len(kafka.consume(out)) == 100, "all records after the repair")
        assert host.stop() == 0


def test_a_sink_in_kafka_applies_an_offset_reset(kafka: Kafka, topic: str, out: str, tmp_path: Path) -> None:
    kafka.produce(topic, values(0, 1000))
    with exact(kafka, tmp_path, topic, f"{topic}_positions") as host:
        wait_until(lambda: len(kafka.consume(out)) == 1000, "all records")
        wait_until(lambda: sum(c.offset for c in kafka.group_offsets(topic).values()) == 1000, "its offsets to be committed")
        assert host.stop() == 0

    def accepted() -> bool:
        try:
            kafka.reset_offsets(topic, topic, "--to-earliest")
        except KafkaError:
            return False
        return True

    wait_until(accepted, "the group to be empty")
    with exact(kafka, tmp_path, topic, f"{topic}_positions") as host:
        wait_until(lambda: len(kafka.consume(out)) == 2000, "all records a second time")
        assert host.stop() == 0
    assert set(collections.Counter(m.value for m in kafka.consume(out)).values()) == {2}
