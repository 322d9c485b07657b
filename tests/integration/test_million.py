# SPDX-License-Identifier: Apache-2.0
"""A million records through configs/iot.yaml, one in a hundred broken. Each is accounted for, and all values are exact."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import Servers
from pipeline_host import SOURCE, PipelineHost, dead_letters

from services import wait_until

TOTAL = 1_000_000
DEVICES, PARTITIONS = 90, 4
START = 1_763_000_000_000  # the devices' clock; 200 ms between records lead to several chunks
MEMORY = 512  # upper bound on the host's memory in MiB: the default memory_limit

# The values of a record are functions of its number, defined here and again in SQL, so that the database can compare them:
# doubles with all digits; some devices are too hot in every thousandth reading.


def temperature(n: int) -> float:
    hot = n // DEVICES % 1000 == 500 and n % 9 == 0
    return n * 2654435761 % 4294967296 / 4294967296 * 60 + (100 if hot else 0)


def humidity(n: int) -> float:
    return n * 40503 % 65536 / 655.36


def good(n: int) -> bytes:
    device = n % DEVICES
    return b'{"user_id":"user-%d","device_id":"device-%d","timestamp":%d,"temperature":%s,"humidity":%s}' % (
        device // 3, device, START + 200 * n, repr(temperature(n)).encode(), repr(humidity(n)).encode()
    )  # fmt: skip


EXPECTED = f"""
    SELECT to_timestamp({START // 1000}) + n * interval '200 ms' AS time,
           'user-' || n % {DEVICES} / 3 AS user_id, 'device-' || n % {DEVICES} AS device_id,
           n * 2654435761 % 4294967296 / 4294967296::float8 * 60
             + CASE WHEN n / {DEVICES} % 1000 = 500 AND n % 9 = 0 THEN 100 ELSE 0 END AS temperature,
           n * 40503 % 65536 / 655.36::float8 AS humidity
      FROM generate_series(0::bigint, {TOTAL - 1}) n WHERE n % 100 <> 7"""


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def replace(message: bytes) -> bytes:
        assert old in message
        return message.replace(old, new, 1)

    return replace


def metric(value: bytes) -> Callable[[bytes], bytes]:
    """Return a function that replaces the temperature."""
    return lambda message: message.split(b'"temperature":')[0] + b'"temperature":' + value + b',"humidity":40}'


def time(value: bytes) -> Callable[[bytes], bytes]:
    return lambda message: message.split(b'"timestamp":')[0] + b'"timestamp":' + value + b',"temperature":20}'


# Kinds of broken messages: name, function that makes one of a good message, and text that the reason must contain.
BROKEN: list[tuple[str, Callable[[bytes], bytes | None], str]] = [
    ("tombstone", lambda m: None, "no payload"),
    ("empty", lambda m: b"", "payload is empty"),
    ("spaces", lambda m: b"   ", "white space"),
    ("text", lambda m: b"not json", "not JSON"),
    ("truncated", lambda m: m[: len(m) // 2], "ends too early"),
    ("last byte gone", lambda m: m[:-1], "ends too early"),
    ("two documents", lambda m: m + m, "the end of the document"),
    ("trailing comma", replaced(b"}", b",}"), "an extra comma"),
    ("comment", replaced(b"{", b"{/* hi */"), "no comments"),
    ("single quotes", lambda m: m.replace(b'"', b"'"), "double quotes"),
    ("UTF-16", lambda m: m.decode().encode("utf-16"), "UTF-16"),
    ("invalid UTF-8", replaced(b"user-", b"user-\xff"), "not valid UTF-8"),
    ("lone surrogate", replaced(b"user-", b"user-\\ud800"), "surrogate"),
    ("NUL", replaced(b"user-", b"user-\\u0000"), "PostgreSQL cannot store"),
    ("raw control character", replaced(b"user-", b"user-\n"), "control character"),
    ("deep", lambda m: b"[" * 10_000 + m + b"]" * 10_000, "max_depth"),
    ("key twice", replaced(b'"humidity"', b'"temperature"'), "twice"),
    ("scalar", lambda m: b"42", "the number 42"),
    ("array of scalars", lambda m: b"[1,2]", "not an object"),
    ("no user", replaced(b'"user_id"', b'"usr"'), "'user_id' is missing"),
    ("no device", replaced(b'"device_id"', b'"dev"'), "'device_id' is missing"),
    ("null device", replaced(b'"device_id":', b'"device_id":null,"d":'), "'device_id' is missing"),
    ("endless id", replaced(b"user-", b"user-" + b"x" * 65536), "max_id"),
    ("no time", replaced(b'"timestamp"', b'"tmstmp"'), "'time' is missing"),
    ("time in words", time(b'"yesterday"'), "yesterday"),
    ("time of year 1", time(b'"0001-01-01T00:00:00Z"'), "1677 to 2262"),
    ("time of year 9999", time(b'"9999-12-31T23:59:59Z"'), "1677 to 2262"),
    ("negative time", time(b"-1"), "time_window.past"),
    ("time is an object", time(b"{}"), "an object"),
    ("1e400", metric(b"1e400"), "larger than any"),
    ("NaN", metric(b"NaN"), "NaN"),
    ("Infinity", metric(b"Infinity"), "Infinity"),
    ("leading zeros", metric(b"007"), "leading zeros"),
    ("hexadecimal", metric(b"0x1F"), "hexadecimal"),
    ("metric is text", metric(b'"21.5"'), "not a number"),
    ("metric is bool", metric(b"true"), "not a number"),
    ("metric is an object", metric(b'{"value":21.5}'), "not a number"),
]


def broken(n: int) -> bool:
    return n % 100 == 7


def fault(n: int) -> tuple[str, Callable[[bytes], bytes | None], str]:
    return BROKEN[n // 100 % len(BROKEN)]


def message(n: int) -> bytes | None:
    return fault(n)[1](good(n)) if broken(n) else good(n)


def of_partition(partition: int) -> Iterator[int]:
    """Return the records of a partition in the order of their offsets. All records of a device are in one partition."""
    return (n for n in range(TOTAL) if n % DEVICES % PARTITIONS == partition)


def alerts_of(device: int) -> list[tuple[str, float]]:
    """Return the alerts of a device by the rule of configs/iot.yaml: above 80 fires, below 75 resolves."""
    alerts: list[tuple[str, float]] = []
    for n in range(device, TOTAL, DEVICES):
        firing = bool(alerts) and alerts[-1][0] == "firing"
        if not broken(n) and (temperature(n) < 75 if firing else temperature(n) > 80):
            alerts.append(("resolved" if firing else "firing", temperature(n)))
    return alerts


def test_a_million_records_are_all_accounted_for(servers: Servers, tmp_path: Path) -> None:
    for partition in range(PARTITIONS):
        servers.kafka.produce(servers.topic, map(message, of_partition(partition)), partition=partition)
    bad = [n for n in range(TOTAL) if broken(n)]
    expected = {(f"users/user-{d // 3}/devices/device-{d}/alerts", *alert) for d in range(DEVICES) for alert in alerts_of(d)}
    host = PipelineHost(
        SOURCE / "configs" / "iot.yaml", tmp_path, environment=servers.environment, sets=servers.sets
    )
    stored = lambda: host.metric("pipeline_records_out_total", node="store")  # noqa: E731
    with servers.mosquitto.subscribe("users/+/devices/+/alerts") as subscription, host:
        wait_until(lambda: stored() >= 300_000, "300,000 records", 600)
        early = host.peak_memory()
        wait_until(lambda: stored() >= TOTAL - len(bad), "all good records", 600)
        wait_until(lambda: host.metric("pipeline_rejected_total") == len(bad), "all broken records")
        messages = subscription.wait_for(len(expected))
        peak = host.peak_memory()
        assert host.stop() == 0

    differences = servers.query(
        f"WITH expected AS ({EXPECTED}), stored AS (SELECT time, user_id, device_id, temperature, humidity FROM raw_telemetry)"
        " SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM (TABLE expected EXCEPT ALL TABLE stored) missing)"
    )
    assert differences == [(TOTAL - len(bad), 0)]
    check_sample(servers)
    check_dead_letters(servers, tmp_path, bad)

    got = [(m.topic, json.loads(m.payload)) for m in messages]
    assert {(topic, alert["state"], alert["value"]) for topic, alert in got} == expected
    assert len({(alert["id"], alert["state"]) for _, alert in got}) == len(got) == len(expected) > 200

    print(f"peak memory: {early:.0f} MiB at 300,000 records, {peak:.0f} MiB at {TOTAL:,}")
    assert peak < MEMORY
    # The number of queued records varies with the load of the machine, but 700,000 records would need more than this.
    assert peak - early < 128, "memory grows with the number of records"


def check_sample(servers: Servers) -> None:
    """Compare the stored values of a thousand random records with those parsed from the sent bytes."""
    sample = [n for n in random.Random(8).sample(range(TOTAL), 1000) if not broken(n)]
    times = ",".join(f"to_timestamp({START + 200 * n} / 1000.0)" for n in sample)
    rows = servers.query(
        "SELECT (extract(epoch FROM time) * 1000)::bigint, user_id, device_id, temperature, humidity"
        f" FROM raw_telemetry WHERE time IN ({times})"
    )
    names = ("timestamp", "user_id", "device_id", "temperature", "humidity")
    assert sorted(rows) == sorted(tuple(json.loads(good(n))[name] for name in names) for n in sample)


def check_dead_letters(servers: Servers, directory: Path, bad: list[int]) -> None:
    places = {
        n: (f"{servers.topic}/{partition}", offset)
        for partition in range(PARTITIONS)
        for offset, n in enumerate(of_partition(partition))
        if broken(n)
    }
    letters = dead_letters(directory, "iot")
    by_place = {(letter["stream"], letter["position"]): letter for letter in letters}
    assert len(letters) == len(by_place) == len(bad)
    for n in bad:
        letter, sent = by_place[places[n]], message(n)
        what, _, word = fault(n)
        assert letter["node"] == "parsed"
        assert word in letter["reason"], f"{what}: {letter['reason']}"
        original = letter.get("value")  # an object with base64 if the value is not text
        assert isinstance(original, dict) or original == (None if sent is None else sent.decode()), what
