# SPDX-License-Identifier: Apache-2.0
"""configs/iot.yaml on real Kafka, TimescaleDB behind PgBouncer, and Mosquitto."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from conftest import Servers
from pipeline_host import SOURCE, PipelineHost, dead_letters, run

from services import Record, wait_until

IOT = SOURCE / "configs" / "iot.yaml"
START = 1_763_000_000  # the devices' clock, in seconds


def reading(n: int, **more: object) -> dict[str, object]:
    device = n % 90
    return {
        "user_id": f"user-{device // 3}",
        "device_id": f"device-{device}",
        "timestamp": (START + n // 90) * 1000 + n % 90,
        "temperature": 20 + (n % 400) / 16,
        "humidity": 40 + (n % 32) / 8,
        **more,
    }


def message(n: int, **more: object) -> Record:
    value = reading(n, **more)
    key = f"users/{value['user_id']}/devices/{value['device_id']}"
    return Record(json.dumps(value).encode(), key.encode())


def host(servers: Servers, directory: Path, *sets: str) -> PipelineHost:
    return PipelineHost(IOT, directory, environment=servers.environment, sets=[*servers.sets, *sets])


def test_every_good_message_is_stored_unchanged_and_every_broken_one_is_a_dead_letter(
    servers: Servers, tmp_path: Path
) -> None:
    good = 50_000
    broken = [
        b"not json", b"", b"   ", b'{"user_id":"u"', b"[1,2", b'"text"', b"\xff\xfe{}", b"{} {}",
        b'{"user_id":"u","device_id":"d","timestamp":"yesterday","temperature":1}',
        b'{"user_id":"u","timestamp":1763000000,"temperature":1}',
        b'{"user_id":"u","device_id":"d\\u0000","timestamp":1763000000,"temperature":1}',
        b'{"user_id":"u","device_id":"d","timestamp":1763000000,"temperature":"hot"}',
    ]  # fmt: skip
    servers.kafka.produce(servers.topic, [message(n) for n in range(good)])
    servers.kafka.produce(servers.topic, broken)
    with host(servers, tmp_path) as pipeline:
        wait_until(lambda: servers.stored() == good, "all good messages in the table")
        wait_until(lambda: len(dead_letters(tmp_path, "iot")) == len(broken), "all dead letters")
        assert pipeline.stop() == 0
    assert servers.stored() == good

    rows = servers.query(
        "SELECT user_id, device_id, extract(epoch FROM time)::text, temperature, humidity"
        " FROM raw_telemetry ORDER BY time LIMIT 1000"
    )
    for n, (user, device, time, temperature, humidity) in enumerate(rows):
        sent = reading(n)
        assert (user, device) == (sent["user_id"], sent["device_id"])
        assert round(float(str(time)) * 1000) == sent["timestamp"]
        assert (temperature, humidity) == (sent["temperature"], sent["humidity"])

    letters = dead_letters(tmp_path, "iot")
    assert all(letter["reason"] and letter["node"] == "parsed" for letter in letters)
    assert all(str(letter["stream"]).startswith(servers.topic + "/") for letter in letters)
    originals = {letter.get("value") for letter in letters if isinstance(letter.get("value"), str)}
    assert {"not json", "[1,2", '"text"', "{} {}"} <= originals


def test_alerts_fire_and_resolve_on_the_topic_of_their_device(servers: Servers, tmp_path: Path) -> None:
    device = "users/user-1/devices/device-5/alerts"
    with (
        servers.mosquitto.subscribe("users/+/devices/+/alerts") as alerts,
        host(servers, tmp_path) as pipeline,
    ):
        for n, temperature in enumerate([20, 90, 95, 70, 20]):
            servers.kafka.produce(
                servers.topic, [message(90 * n + 5, temperature=temperature)], partition=0
            )
        wait_until(lambda: len(alerts.messages) >= 2, "an alert that fires and resolves")
        assert pipeline.stop() == 0
        got = [(m.topic, json.loads(m.payload)) for m in alerts.messages]
    assert [topic for topic, _ in got] == [device, device]
    fired, resolved = (alert for _, alert in got)
    assert (fired["state"], resolved["state"]) == ("firing", "resolved")
    assert (fired["rule"], fired["severity"], fired["value"]) == ("overheating", "critical", 90)
    assert fired["id"] == resolved["id"]
    assert (fired["user_id"], fired["device_id"]) == ("user-1", "device-5")


def test_a_restart_continues_at_the_committed_position(servers: Servers, tmp_path: Path) -> None:
    servers.kafka.produce(servers.topic, [message(n) for n in range(10_000)])
    with host(servers, tmp_path) as pipeline:
        wait_until(lambda: servers.stored() > 2_000, "some of the records")
        assert pipeline.stop() == 0
    servers.kafka.produce(servers.topic, [message(n) for n in range(10_000, 15_000)])
    with host(servers, tmp_path) as pipeline:
        wait_until(lambda: servers.stored() >= 15_000, "the rest")
        assert pipeline.stop() == 0
    assert servers.query("SELECT count(*), count(DISTINCT (device_id, time)) FROM raw_telemetry") == [
        (15_000, 15_000)
    ]
    committed = servers.kafka.group_offsets(servers.group)
    ends = servers.kafka.end_offsets(servers.topic)
    assert {p: committed[servers.topic, p].offset for p in ends if ends[p]} == {
        p: end for p, end in ends.items() if end
    }


def test_nothing_is_lost_or_duplicated_when_the_host_is_killed(servers: Servers, tmp_path: Path) -> None:
    total = 40_000
    servers.kafka.produce(servers.topic, [message(n) for n in range(total)])
    for _ in range(4):
        before = servers.stored()
        with host(servers, tmp_path) as pipeline:
            wait_until(lambda b=before: servers.stored() > b or servers.stored() >= total, "progress")
            pipeline.kill()
    with host(servers, tmp_path) as pipeline:
        count = "SELECT count(*), count(DISTINCT (device_id, time)) FROM raw_telemetry"
        wait_until(lambda: servers.query(count)[0][1] == total, "every message")
        assert pipeline.stop() == 0
        assert servers.query(count) == [(total, total)]


def test_the_host_waits_for_servers_that_are_down(servers: Servers, tmp_path: Path) -> None:
    servers.kafka.produce(servers.topic, [message(n) for n in range(1000)])
    servers.pgbouncer.terminate()
    try:
        with host(servers, tmp_path) as pipeline:
            pipeline.wait_for_log("attempt 2 in")
            status, body = pipeline.get("/health/ready")
            assert status == 503
            assert "store" in body
            assert pipeline.get("/health/live")[0] == 200
            servers.pgbouncer.start()
            wait_until(lambda: servers.stored() == 1000, "all records when the database runs again")
            pipeline.wait_ready()
            assert pipeline.stop() == 0
    finally:
        servers.pgbouncer.start()


def test_metrics_report_records_lag_and_rejects(servers: Servers, tmp_path: Path) -> None:
    servers.kafka.produce(servers.topic, [message(n) for n in range(5000)])
    servers.kafka.produce(servers.topic, [b"broken"])
    with host(servers, tmp_path) as pipeline:
        wait_until(lambda: servers.stored() == 5000, "all records")
        wait_until(lambda: pipeline.metric("pipeline_rejected_total", node="parsed") == 1, "the reject")
        assert pipeline.metric("pipeline_records_out_total", node="telemetry") == 5001
        # The rows are visible before the host has read the response to its COMMIT.
        wait_until(lambda: pipeline.metric("pipeline_records_out_total", node="store") == 5000, "the stored rows")
        wait_until(lambda: pipeline.metric("pipeline_lag_records", node="telemetry") == 0, "no lag")
        assert pipeline.metric("pipeline_write_seconds_count", node="store") > 0
        assert pipeline.stop() == 0


def test_a_reload_under_load_neither_loses_nor_duplicates_records(servers: Servers, tmp_path: Path) -> None:
    config = tmp_path / "iot.yaml"
    config.write_text(IOT.read_text())
    total = 60_000
    servers.kafka.produce(servers.topic, [message(n) for n in range(total // 2)])
    pipeline = PipelineHost(config, tmp_path, environment=servers.environment, sets=servers.sets)
    with pipeline:
        wait_until(lambda: servers.stored() > 1000, "a start")
        config.write_text(IOT.read_text().replace("above: 80", "abov: 80"))
        pipeline.signal(signal.SIGHUP)
        pipeline.wait_for_log("configuration not reloaded")
        assert "unknown option 'abov'" in pipeline.log()
        config.write_text(IOT.read_text().replace("rows: 1000", "rows: 500").replace("above: 80", "above: 90"))
        servers.kafka.produce(servers.topic, [message(n) for n in range(total // 2, total)])
        pipeline.signal(signal.SIGHUP)
        pipeline.wait_for_log("configuration reloaded")
        wait_until(lambda: servers.stored() >= total, "all records")
        assert pipeline.stop() == 0
    assert servers.query("SELECT count(*), count(DISTINCT (device_id, time)) FROM raw_telemetry") == [(total, total)]


def test_a_second_signal_stops_the_host_immediately(servers: Servers, tmp_path: Path) -> None:
    servers.kafka.produce(servers.topic, [message(n) for n in range(1000)])
    servers.pgbouncer.pause()
    try:
        with host(servers, tmp_path) as pipeline:
            pipeline.wait_for_log("metrics and health")
            pipeline.signal(signal.SIGTERM)
            pipeline.wait_for_log("a second signal stops at once")
            pipeline.signal(signal.SIGTERM)
            assert pipeline.wait() == 130
    finally:
        servers.pgbouncer.resume()


@pytest.mark.parametrize("sink", ["sqlite_sink, path: other.db, table: raw_telemetry", "file_sink, path: out.ndjson"])
def test_the_sink_can_be_replaced(servers: Servers, tmp_path: Path, sink: str) -> None:
    text = IOT.read_text()
    begin, end = text.index("  store:"), text.index("  notify:")
    config = tmp_path / "iot.yaml"
    config.write_text(text[:begin] + f"  store: {{plugin: {sink}, from: parsed}}\n\n" + text[end:])
    servers.kafka.produce(servers.topic, [message(n) for n in range(1000)])
    with PipelineHost(config, tmp_path, environment=servers.environment, sets=servers.sets) as pipeline:
        wait_until(lambda: pipeline.metric("pipeline_records_out_total", node="store") == 1000, "all records")
        assert pipeline.stop() == 0


def test_validate_connect_reports_a_table_that_does_not_match(servers: Servers, tmp_path: Path) -> None:
    sets = [f"--set={item}" for item in servers.sets]
    fine = run("validate", str(IOT), "--connect", *sets, cwd=tmp_path, environment=servers.environment)
    assert (fine.returncode, fine.stderr) == (0, "")
    missing = [f"--set=sources.telemetry.topic={servers.topic}x", sets[1]]
    wrong = run("validate", str(IOT), "--connect", *missing, cwd=tmp_path, environment=servers.environment)
    assert wrong.returncode == 1
    assert servers.topic in wrong.stderr
    servers.timescale.execute("CREATE TABLE raw_telemetry (time timestamptz, device text)", database=servers.database)
    wrong = run("validate", str(IOT), "--connect", *sets, cwd=tmp_path, environment=servers.environment)
    assert wrong.returncode == 1
    assert "user_id" in wrong.stderr
