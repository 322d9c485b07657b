# SPDX-License-Identifier: Apache-2.0
"""Unusual input on real servers: ids, sizes, keys and headers. Tests of each kind of broken payload are in
plugins/json_telemetry/tests/bad_input_test.cpp and test_million.py."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

import pytest
from conftest import Servers
from pipeline_host import SOURCE, PipelineHost, configuration, dead_letters, ndjson, run

from services import Kafka, Record, wait_until

IOT = SOURCE / "configs" / "iot.yaml"
TIME = 1_763_000_000_000

IDS = [
    "plain", " ", " a b ", "tab\there", "line\nbreak", "cr\r\n", 'say "hi"', "it's", "back\\slash", "\\.", "\\N", "\\x00",
    "😀", "größe", "e\u0301", "\u202eright to left", "\u2028", "\x01\x1b[31m\x7f", "\ufeff", "\ufffe", "x" * 1024,
    "a/b", "/", "//", "../plain", "+", "#", "a+b", "plain/alerts", "$SYS", "$share/g/plain", "%2F", "%", "a%2Fb", "%24SYS",
    "'; DROP TABLE raw_telemetry; --", "\"; DROP TABLE raw_telemetry; --", "$1", "$$", "E'\\''", "NULL", "null", "{device_id}",
    "${DATABASE_URL}", "%s%n", "a,b", "{a,b}", "COPY", "1", "-0",
]  # fmt: skip


def reading(**more: object) -> dict[str, object]:
    return {"user_id": "u", "device_id": "d", "timestamp": TIME, "temperature": 20.5, **more}


def host(servers: Servers, directory: Path, *sets: str) -> PipelineHost:
    return PipelineHost(IOT, directory, environment=servers.environment, sets=[*servers.sets, *sets])


def test_every_unusual_id_is_stored_unchanged_and_published_on_its_own_topic(servers: Servers, tmp_path: Path) -> None:
    pairs = {(a, "d") for a in IDS} | {("u", b) for b in IDS}
    hot = [json.dumps(reading(user_id=user, device_id=device, temperature=90)).encode() for user, device in pairs]
    refused = [{"device_id": "y" * 1025}, {"device_id": "y" * 65536}, {"user_id": ""}, {"user_id": "nul\0"}]
    letters = [json.dumps(reading(**bad, temperature=90)).encode() for bad in refused]
    with servers.mosquitto.subscribe("#") as alerts, host(servers, tmp_path) as pipeline:
        servers.kafka.produce(servers.topic, [*hot, *letters])
        messages = alerts.wait_for(len(pairs))
        wait_until(lambda: servers.stored() == len(pairs), "all records in the table")
        wait_until(lambda: len(dead_letters(tmp_path, "iot")) == len(letters), "the dead letters")
        assert pipeline.stop() == 0
    assert len(alerts.messages) == len(pairs)
    assert set(servers.query("SELECT user_id, device_id FROM raw_telemetry")) == pairs
    for message in messages:
        users, user, devices, device, kind = message.topic.split("/")
        alert = json.loads(message.payload)
        assert (users, devices, kind) == ("users", "devices", "alerts")
        assert (urllib.parse.unquote(user), urllib.parse.unquote(device)) == (alert["user_id"], alert["device_id"])
    assert len({message.topic for message in messages}) == len(pairs)
    reasons = sorted(letter["reason"] for letter in dead_letters(tmp_path, "iot"))
    for reason, words in zip(
        reasons, ["'device_id' has 1025 bytes", "'device_id' has 65536 bytes", "'user_id' contains \\u0000", "'user_id' is an empty"],
        strict=True,
    ):  # fmt: skip
        assert words in reason


def test_keys_and_headers_of_all_kinds_are_accepted(servers: Servers, tmp_path: Path) -> None:
    keys = [None, b"", b"key", b"\x00\xff", b"k" * 100_000]
    headers = [(), (("a", b"1"), ("a", None), ("", b"\xff")), tuple((f"h{n}", b"x" * 100) for n in range(500))]
    good = [
        Record(json.dumps(reading(n=10 * k + h)).encode(), key, header, partition=0)
        for k, key in enumerate(keys) for h, header in enumerate(headers)
    ]  # fmt: skip
    gone = [Record(None, key, header, partition=0) for key in keys for header in headers]
    with host(servers, tmp_path) as pipeline:
        servers.kafka.produce(servers.topic, [record for pair in zip(good, gone, strict=True) for record in pair])
        wait_until(lambda: servers.stored() == len(good), "all records with a value in the table")
        wait_until(lambda: len(dead_letters(tmp_path, "iot")) == len(gone), "all tombstones in the dead letters")
        assert pipeline.stop() == 0
    assert len(servers.query("SELECT DISTINCT extra FROM raw_telemetry")) == len(good)
    letters = dead_letters(tmp_path, "iot")
    assert all("no payload (a tombstone" in letter["reason"] and "value" not in letter for letter in letters)
    assert [letter.get("key", "none") for letter in letters[::3]] == ["none", "", "key", {"base64": "AP8="}, "k" * 100_000]


# The overhead of a record batch with one record: 61 bytes for the batch, and for the record its length, attributes, two
# deltas, the key's and the value's length, and the number of headers.
OVERHEAD = 61 + 4 + 1 + 1 + 1 + 1 + 4 + 1


@pytest.mark.parametrize("limit", [1_048_588, 9_000_000], ids=["the default", "9 MB"])
def test_a_message_of_max_message_bytes_is_read_and_the_broker_rejects_a_larger_one(
    kafka: Kafka, unique_name: str, tmp_path: Path, limit: int
) -> None:
    kafka.create_topic(unique_name, partitions=1, config={"max.message.bytes": limit, "retention.ms": -1})
    largest = limit - OVERHEAD

    def padded(size: int) -> bytes:
        start = json.dumps(reading(pad=""))[:-2].encode()
        return start + b"x" * (size - len(start) - 2) + b'"}'

    kafka.produce(unique_name, [padded(100), padded(1000)])
    kafka.produce(unique_name, [padded(largest)])
    with pytest.raises(Exception, match="(?i)too large"):
        kafka.produce(unique_name, [padded(largest + 8)])
    kafka.produce(unique_name, [padded(200)])
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": unique_name, "group": unique_name}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "time_window": {"past": 0}}},
        sinks={"out": {"plugin": "file_sink", "from": "parsed", "path": "out.ndjson"}},
    )  # fmt: skip
    taken = [100, 1000, 200] if limit > 1 << 20 and largest > 1 << 20 else [100, 1000, largest, 200]
    with PipelineHost(config, tmp_path) as pipeline:
        wait_until(lambda: len(ndjson(tmp_path / "out.ndjson")) == len(taken), "the records")
        wait_until(lambda: len(dead_letters(tmp_path)) == 4 - len(taken), "the dead letter")
        assert pipeline.stop() == 0
    pads = [len(row["extra"]["pad"]) for row in ndjson(tmp_path / "out.ndjson")]
    assert [pad - pads[0] + 100 for pad in pads] == taken
    for letter in dead_letters(tmp_path):
        assert letter["reason"] == f"the payload has {largest} bytes, more than max_size (1048576)"
        assert letter["value"] == padded(largest).decode()
        # With a larger limit the record is stored.
        again = run("dead-letters", "retry", config.name, "--yes", "--set", "transforms.parsed.max_size=10MiB", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert len(ndjson(tmp_path / "out.ndjson")) == 4


def test_multi_line_json_is_one_line_in_a_file(kafka: Kafka, unique_name: str, tmp_path: Path) -> None:
    kafka.create_topic(unique_name, partitions=1, config={"retention.ms": -1})
    more = {"meta": {"fw": "1.4", "list": [1, {"a": None}], "text": "a\nb"}}
    pretty = json.dumps(reading(**more), indent=2).replace("\n", "\r\n").encode()
    kafka.produce(unique_name, [pretty] * 10)
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": unique_name, "group": unique_name}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "time_window": {"past": 0}}},
        sinks={"out": {"plugin": "file_sink", "from": "parsed", "path": "out.ndjson"}},
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as pipeline:
        wait_until(lambda: pipeline.metric("pipeline_records_out_total", node="out") == 10, "the records")
        assert pipeline.stop() == 0
    assert [row["extra"] for row in ndjson(tmp_path / "out.ndjson")] == [more] * 10
