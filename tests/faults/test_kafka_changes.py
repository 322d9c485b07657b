# SPDX-License-Identifier: Apache-2.0
"""Changes of topics while they are read, and dead letters that their sink rejects: rows 33 and 37 of README.md."""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, ndjson, run
from stage import FAULT_BUILD, FIRST_TIME_MS, Stage

from services import Kafka, Record, wait_until

KEEP = {"retention.ms": -1}
QUICK = {"topic.metadata.refresh.interval.ms": 500, "statistics.interval.ms": 200}
NEW = 1_000_000  # the records of a new topic are numbered from here on


def message(n: int) -> bytes:
    return b'{"user_id":"u","device_id":"d%d","timestamp":%d,"n":%d,"temperature":20}' % (n % 7, FIRST_TIME_MS + n, n)


def produce(stage: Stage, first: int, count: int, partitions: int = 4) -> None:
    stage.kafka.produce(
        stage.name, [Record(message(n), partition=n % partitions) for n in range(first, first + count)]
    )


def stored(stage: Stage) -> collections.Counter[int]:
    return collections.Counter({int(n): int(count) for n, count in stage.sql("SELECT n, count(*) FROM stored GROUP BY 1")})


def wait_for_exactly(stage: Stage, expected: set[int]) -> None:
    wait_until(lambda: expected <= stored(stage).keys(), "all records")
    assert stored(stage) == dict.fromkeys(expected, 1)


def recreate(stage: Stage, partitions: int = 4) -> None:
    stage.kafka.delete_topic(stage.name)
    stage.kafka.create_topic(stage.name, partitions, KEEP)


# 33: topics


@pytest.mark.parametrize(
    ("count", "after"),
    [(100, "at once"), (250, "at once"), (40, "at once"), (400, "when it is noticed"), (40, "when it is noticed")],
    ids=lambda value: f"{value} new records" if isinstance(value, int) else value,
)
def test_33_a_topic_is_deleted_and_created_again(stage: Stage, after: str, count: int) -> None:
    """A hundred records are stored; the new topic has fewer, as many, or more records when the host sees them."""
    with stage.host(properties=QUICK) as host:
        produce(stage, 0, 100)
        wait_for_exactly(stage, set(range(100)))
        wait_until(lambda: sum(c.offset for c in committed(stage)) == 100, "the commit")
        stage.kafka.delete_topic(stage.name)
        if after == "when it is noticed":
            wait_until(lambda: host.metric("pipeline_kafka_assigned_partitions") == 0, "the host to notice the deletion")
        stage.kafka.create_topic(stage.name, 4, KEEP)
        produce(stage, NEW, count)
        expected = {*range(100), *range(NEW, NEW + count)}
        wait_for_exactly(stage, expected)
        produce(stage, 2 * NEW, 100)
        expected |= set(range(2 * NEW, 2 * NEW + 100))
        wait_for_exactly(stage, expected)
        reports = [m["message"] for m in host.messages() if m["level"] == "error"]
        for partition in range(4):
            assert any(text.startswith(f"{stage.name}/{partition}") or f" {stage.name}/{partition} " in text for text in reports)
        assert host.stop() == 0
        host.start()
        produce(stage, 3 * NEW, 100)
        wait_for_exactly(stage, expected | set(range(3 * NEW, 3 * NEW + 100)))
        assert host.stop() == 0


def committed(stage: Stage) -> list[Any]:
    return [c for (topic, _), c in stage.kafka.group_offsets(stage.name).items() if topic == stage.name]


def test_33_a_topic_is_created_again_under_load(stage: Stage, rng: random.Random) -> None:
    """Records of the new topic arrive before the host has noticed the deletion. Each of them is stored once."""
    with stage.host(properties=QUICK) as host:
        produced = 0
        for _ in range(5):
            produce(stage, produced, 2000)
            produced += 2000
        wait_for_exactly(stage, set(range(produced)))
        recreate(stage)
        for part in range(10):
            produce(stage, NEW + part * 1000, 1000)
        wait_for_exactly(stage, {*range(produced), *range(NEW, NEW + 10_000)})
        assert host.stop() == 0


def frozen(host: PipelineHost) -> bool:
    return Path(f"/proc/{host.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("then", ["continues", "stops"])
@pytest.mark.parametrize("partitions", [1, 4])
def test_33_a_topic_is_created_again_just_before_a_commit(stage: Stage, partitions: int, then: str) -> None:
    """The commit hides that the group's offset was deleted, and the new topic is longer than the old one was."""
    stage.kafka.delete_topic(stage.name)
    stage.kafka.create_topic(stage.name, partitions, KEEP)
    expected = {*range(100), *range(NEW, NEW + 400)}
    failpoint = {"PIPELINE_FAILPOINT": "broker.before:1:freeze"}
    with stage.host(properties=QUICK, build=FAULT_BUILD, environment=failpoint) as host:
        produce(stage, 0, 100, partitions)
        wait_until(lambda: frozen(host), "the commit")
        stage.kafka.delete_topic(stage.name)
        stage.kafka.create_topic(stage.name, partitions, KEEP)
        produce(stage, NEW, 400, partitions)
        host.signal(signal.SIGCONT)
        if then == "continues":
            wait_for_exactly(stage, expected)
        assert host.stop() == 0
    with stage.host(properties=QUICK) as host:
        produce(stage, 2 * NEW, 10, partitions)
        expected |= set(range(2 * NEW, 2 * NEW + 10))
        wait_until(lambda: expected <= stored(stage).keys(), "all records")
        assert host.stop() == 0
    # A stop before the deletion is noticed discards what is known about the new records: they are read again.
    twice = {n for n, count in stored(stage).items() if count > 1}
    assert twice == set() if then == "continues" else twice <= set(range(NEW, NEW + 400))


def test_33_two_hosts_and_a_topic_that_is_created_again(stage: Stage) -> None:
    """The partitions may be assigned to the other host after the deletion. It knows that the topic was deleted, too."""
    quick = {**QUICK, "session.timeout.ms": 8000, "heartbeat.interval.ms": 300}
    with stage.host("one", properties=quick) as one, stage.host("two", properties=quick) as two:
        owned = [lambda h=h: h.metric("pipeline_kafka_assigned_partitions") for h in (one, two)]
        wait_until(lambda: [o() for o in owned] == [2, 2], "two partitions each")
        produce(stage, 0, 100)
        wait_for_exactly(stage, set(range(100)))
        wait_until(lambda: sum(c.offset for c in committed(stage)) == 100, "the commits")
        stage.kafka.delete_topic(stage.name)
        wait_until(lambda: [o() for o in owned] == [0, 0], "both to notice the deletion")
        stage.kafka.create_topic(stage.name, 4, KEEP)
        produce(stage, NEW, 250)
        wait_for_exactly(stage, {*range(100), *range(NEW, NEW + 250)})
        assert [h.stop() for h in (one, two)] == [0, 0]


@pytest.mark.parametrize("then", ["latest", "stop"])
def test_33_what_to_do_with_a_new_topic_is_an_option(stage: Stage, then: str) -> None:
    with stage.host(source={"on_out_of_range": then}, properties=QUICK) as host:
        produce(stage, 0, 100)
        wait_for_exactly(stage, set(range(100)))
        wait_until(lambda: sum(c.offset for c in committed(stage)) == 100, "the commit")
        recreate(stage)
        produce(stage, NEW, 100)
        if then == "stop":
            assert host.wait() == 1
            assert "on_out_of_range: stop" in host.log()
            return
        host.wait_for_log("which skips 25 records (option on_out_of_range)")
        wait_until(lambda: host.log().count("which skips 25 records") == 4, "all partitions")
        produce(stage, 2 * NEW, 100)
        wait_for_exactly(stage, {*range(100), *range(2 * NEW, 2 * NEW + 100)})
        assert host.stop() == 0


def test_33_fewer_partitions_do_not_delay_the_stop(stage: Stage) -> None:
    with stage.host(properties=QUICK) as host:
        produce(stage, 0, 100)
        wait_for_exactly(stage, set(range(100)))
        recreate(stage, partitions=1)
        produce(stage, NEW, 100, partitions=1)
        wait_for_exactly(stage, {*range(100), *range(NEW, NEW + 100)})
        assert host.stop(timeout=8) == 0
        host.start()
        produce(stage, 2 * NEW, 10, partitions=1)
        wait_for_exactly(stage, {*range(100), *range(NEW, NEW + 100), *range(2 * NEW, 2 * NEW + 10)})
        recreate(stage, partitions=2)
        assert host.stop(timeout=8) == 0


def test_33_partitions_are_added(stage: Stage) -> None:
    """With `start: latest` a new partition is read from its beginning, and it is found within the default interval."""
    produce(stage, 0, 100)  # before the first start: skipped
    with stage.host(source={"start": "latest"}) as host:
        host.wait_ready()
        wait_until(lambda: len([c for c in committed(stage) if c.offset == 25]) == 4, "the start of each partition")
        produce(stage, NEW, 100)
        wait_for_exactly(stage, set(range(NEW, NEW + 100)))
        stage.kafka.add_partitions(stage.name, 8)
        produce(stage, 2 * NEW, 200, partitions=8)
        expected = {*range(NEW, NEW + 100), *range(2 * NEW, 2 * NEW + 200)}
        wait_until(lambda: expected <= stored(stage).keys(), "all records", 45)
        assert stored(stage) == dict.fromkeys(expected, 1)
        assert host.stop() == 0


def test_33_the_first_start_at_the_latest_holds_for_all_members(stage: Stage) -> None:
    """A member that joins later must not take the topic's partitions for new ones, and read all their history."""
    quick = {**QUICK, "session.timeout.ms": 8000, "heartbeat.interval.ms": 300}
    produce(stage, 0, 1000)
    with stage.host("one", source={"start": "latest"}, properties=quick) as one:
        one.wait_ready()
        with stage.host("two", source={"start": "latest"}, properties=quick) as two:
            wait_until(lambda: two.metric("pipeline_kafka_assigned_partitions") == 2, "two partitions")
            produce(stage, NEW, 100)
            wait_for_exactly(stage, set(range(NEW, NEW + 100)))
            assert [h.stop() for h in (one, two)] == [0, 0]


# 37: dead letters

LARGE_JSON = 1_020_000  # bytes: a record that the topic takes, and whose dead letter is larger than the topic takes


def large_json(n: int) -> bytes:
    return message(n)[:-1] + b',"note":"' + b"x" * (LARGE_JSON - len(message(n)) - 10) + b'"}'


def letters_in(stage: Stage, topic: str) -> dict[int, dict[str, Any]]:
    """Return the dead letters in a topic by position, as their sink has written them."""
    return {letter["position"]: letter for letter in (json.loads(m.value or b"") for m in stage.kafka.consume(topic))}


def pipeline(stage: Stage, directory: Path, **more: Any) -> Path:
    """Copy records to a file; `more` are the sections and options that differ."""
    parsed = {"plugin": "json_telemetry", "from": "in", "keep": ["offset"], **more.pop("parsed", {})}
    return configuration(directory, **{
        "sources": {"in": {"plugin": "kafka_source", "brokers": stage.kafka.brokers, "topic": stage.name, "group": stage.name}},
        "transforms": {"parsed": parsed},
        "sinks": {"out": {"plugin": "file_sink", "from": "parsed", "path": "out.ndjson"}},
        **more,
    })  # fmt: skip


def test_37_a_dead_letter_that_is_too_large_for_its_topic(stage: Stage, tmp_path: Path) -> None:
    """It is shortened, the pipeline continues, also after a restart, and the retry reads the record from the source again."""
    dead = f"{stage.name}_dead"
    stage.kafka.create_topic(dead, 1, KEEP)
    binary = random.Random(37).randbytes(800_000)
    stage.kafka.produce(stage.name, [Record(message(0)), Record(binary, key=b"k"), Record(large_json(2)), Record(b"{}"),
                                     Record(message(4))], partition=0)  # fmt: skip
    # This configuration requires a column that no record has: no record is accepted.
    wrong = pipeline(stage, tmp_path, parsed={"ids": ["site_id"]},
                     dead_letters={"plugin": "kafka_sink", "brokers": stage.kafka.brokers, "topic": dead})  # fmt: skip
    host = PipelineHost(wrong, tmp_path)
    for _ in range(2):
        with host:
            wait_until(lambda: len(letters_in(stage, dead)) == 5, "a dead letter for each record")
            wait_until(lambda: sum(c.offset for c in committed(stage)) == 5, "the commit")
            assert host.stop() == 0
    letters = letters_in(stage, dead)
    assert set(letters) == set(range(5))
    assert [n for n, letter in letters.items() if "$shortened" in letter.get("record", {})] == [1, 2]
    part = letters[1]["record"]["$shortened"]["value"]
    assert part == {"bytes": 800_000, "sha256": hashlib.sha256(binary).hexdigest()}
    assert part["sha256"] in letters[1]["reason"]
    assert letters[1]["key"] == "k"
    assert letters[2]["value"] == large_json(2)[:4096].decode()
    assert letters[2]["record"]["$shortened"]["value"]["bytes"] == LARGE_JSON

    # Retry the dead letters of the topic from a file, with a configuration that accepts the records.
    right = pipeline(stage, tmp_path / "retry", dead_letters={"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"})
    folder = tmp_path / "retry" / "dead-letters"
    folder.mkdir()
    lines = [json.dumps(letters[n]) + "\n" for n in (0, 1, 2, 4)]
    (folder / "test.ndjson").write_text("".join(lines))
    done = run("dead-letters", "retry", str(right), "--yes", cwd=tmp_path / "retry")
    rows = ndjson(tmp_path / "retry" / "out.ndjson")
    assert sorted(row["offset"] for row in rows) == [0, 2, 4], done.stdout + done.stderr
    (large,) = (row for row in rows if row["offset"] == 2)
    assert len(json.dumps(large)) > LARGE_JSON - 1000, "the whole record, not its beginning"
    (left,) = ndjson(folder / "test.ndjson")  # the binary record is complete now, and was rejected again
    assert left["position"] == 1
    assert left["value"] == {"base64": base64.b64encode(binary).decode()}

    # A record that the topic no longer has cannot be retried. Its dead letter stays.
    stage.kafka.delete_records(stage.name, {0: 3})
    (folder / "test.ndjson").write_text(lines[2])
    refused = run("dead-letters", "retry", str(right), "--yes", cwd=tmp_path / "retry")
    assert refused.returncode == 1
    assert f"{stage.name}/0@2 was shortened, and its original record cannot be read again" in refused.stderr
    assert (folder / "test.ndjson").read_text() == lines[2]
    stage.kafka.delete_topic(dead)


def test_37_a_dead_letter_that_a_table_rejects_in_any_form(stage: Stage, tmp_path: Path) -> None:
    """It is in the local file, complete, and the pipeline continues. `dead-letters` finds it there."""
    stage.sql("CREATE TABLE dead (time timestamptz, node text, reason text, stream text, position bigint, value bytea"
              " CHECK (value IS NULL OR length(value) < 5), CHECK (position <> 2))")  # fmt: skip
    config = pipeline(stage, tmp_path, dead_letters={
        "plugin": "timescale_sink", "url": stage.url(), "table": "dead", "unmapped": "ignore", "batch": {"delay": "10ms"},
        "retry": {"initial": "50ms", "max": "200ms"}})  # fmt: skip
    values = [b"bad", b"too long", b"not stored in any form", message(3)]
    stage.kafka.produce(stage.name, [Record(v) for v in values], partition=0)
    host = PipelineHost(config, tmp_path)
    with host:
        wait_until(lambda: sum(c.offset for c in committed(stage)) == 4, "the commit")
        host.wait_ready()
        assert host.stop() == 0
    rows = stage.sql("SELECT position, convert_from(value, 'UTF8') FROM dead ORDER BY position")
    assert [(int(position), value) for position, value in rows] == [(0, "bad"), (1, None)]
    reason = stage.sql("SELECT reason FROM dead WHERE position = 1")[0][0]
    assert f"value had 8 bytes (sha256 {hashlib.sha256(b'too long').hexdigest()})" in reason
    (local,) = ndjson(tmp_path / "state" / "test.dead-letters.ndjson")
    assert (local["position"], local["value"], local["node"]) == (2, "not stored in any form", "parsed")
    assert "shortened" not in local["reason"]
    listed = run("dead-letters", "list", str(config), "--each", cwd=tmp_path)
    assert f"{stage.name}/0  2  " in listed.stdout
