# SPDX-License-Identifier: Apache-2.0
"""load-tester reports lost, duplicated, altered and missing records and alerts, and no others."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import Servers
from load_tester import TELEMETRY, LoadTester, Outcome, Pipeline, Reading, run
from pipeline_host import SOURCE, PipelineHost

from services import Authority, Mosquitto, Timescale, Tls, free_port, wait_until


LOSSES = "8s"  # the settle time-out of tests that expect losses


class Target:
    """The servers of one test, and the load tester configured to use them."""

    def __init__(self, mosquitto: Mosquitto, timescale: Timescale, database: str) -> None:
        self.mosquitto, self.timescale, self.database = mosquitto, timescale, database
        self.environment = {"MQTT_URL": mosquitto.url(), "DATABASE_URL": timescale.url(database)}

    def pipeline(self, **options: object) -> Pipeline:
        return Pipeline(self.mosquitto, self.timescale, self.database, **options)  # type: ignore[arg-type]

    def start(self, *arguments: str, settle: str = "60s") -> LoadTester:
        """settle: how long to wait for messages that do not arrive. A test that expects losses waits that long."""
        return LoadTester("--json", "--verify", "--settle-timeout", settle, *arguments, environment=self.environment)

    def run(self, *arguments: str, settle: str = "60s") -> Outcome:
        return self.start(*arguments, settle=settle).wait()


@pytest.fixture
def target(mosquitto: Mosquitto, timescale: Timescale, database: str) -> Target:
    return Target(mosquitto, timescale, database)


def test_a_correct_pipeline_passes(target: Target) -> None:
    with target.pipeline():
        outcome = target.run("--users", "4", "--rate", "400", "--count", "1200", "--anomalies", "10")
    report = outcome.report
    assert (outcome.code, report["faults"]) == (0, [])
    assert report["passed"]
    assert report["devices"] == report["connections"] == 12
    assert report["sent"] == report["acknowledged"] == report["stored"] == report["expected"] == 1200
    assert (report["lost"], report["duplicated"], report["altered"]) == (0, 0, 0)
    alerts = report["alerts"]
    assert alerts["expected"] == alerts["seen"] > 3
    assert alerts["resolved_expected"] == alerts["resolved_seen"] > 3
    latency = report["latency_ms"]
    for name in ("leaving_late", "to_broker", "to_database", "to_alert"):
        assert 0 <= latency[name]["p50"] <= latency[name]["p99"] <= latency[name]["max"] < 60_000
    assert latency["to_database"]["count"] == 1200
    assert latency["to_alert"]["count"] == alerts["seen"]
    assert 2.9 < report["seconds"] < 4 + latency["leaving_late"]["max"] / 1000


def test_lost_and_duplicated_records_are_reported_by_number(target: Target) -> None:
    def change(reading: Reading) -> Sequence[Reading]:
        return {100: [], 200: [], 300: [reading, reading]}.get(reading["seq"], [reading])

    with target.pipeline(change=change):
        outcome = target.run("--rate", "500", "--count", "1000", settle=LOSSES)
    report = outcome.report
    assert outcome.code == 1
    assert (report["lost"], report["lost_seq"]) == (2, [100, 200])
    assert (report["duplicated"], report["duplicated_seq"]) == (1, [300])
    assert report["stored"] == 999
    assert report["faults"] == ["2 lost", "1 duplicated"]


def test_a_row_with_other_values_is_altered(target: Target) -> None:
    def change(reading: Reading) -> Sequence[Reading]:
        return [reading | {"temperature": 1.5}] if reading["seq"] == 7 else [reading]

    with target.pipeline(change=change):
        outcome = target.run("--rate", "500", "--count", "100")
    assert outcome.code == 1
    assert outcome.report["faults"] == ["1 stored with contents that differ from the message"]


def test_messages_published_twice_on_purpose_must_be_stored_twice(target: Target) -> None:
    seen: set[int] = set()
    missing: list[int] = []

    def change(reading: Reading) -> Sequence[Reading]:
        again = reading["seq"] in seen
        seen.add(reading["seq"])
        if again and not missing:
            missing.append(reading["seq"])
            return []
        return [reading]

    with target.pipeline(change=change):
        outcome = target.run("--rate", "500", "--count", "1000", "--duplicates", "10", settle=LOSSES)
    report = outcome.report
    assert outcome.code == 1
    assert report["messages"] == 1000
    assert 1050 < report["sent"] == report["acknowledged"] < 1150
    assert report["stored"] == report["sent"] - 1
    assert (report["lost"], report["lost_seq"], report["duplicated"]) == (1, missing, 0)


def test_an_option_allows_a_table_that_drops_duplicates(target: Target) -> None:
    seen: set[int] = set()

    def change(reading: Reading) -> Sequence[Reading]:
        again = reading["seq"] in seen
        seen.add(reading["seq"])
        return [] if again else [reading]

    with target.pipeline(change=change):
        outcome = target.run("--rate", "500", "--count", "500", "--duplicates", "10", "--one-row-each")
    assert (outcome.code, outcome.report["stored"]) == (0, 500)


def test_messages_out_of_order_are_not_lost_and_raise_no_alerts(target: Target) -> None:
    order: list[int] = []

    def change(reading: Reading) -> Sequence[Reading]:
        order.append(reading["seq"])
        return [reading]

    with target.pipeline(change=change):
        outcome = target.run("--rate", "500", "--count", "1000", "--reorder", "20", "--anomalies", "5")
    assert outcome.report["faults"] == []
    assert order != sorted(order)
    assert sorted(order) == list(range(1000))


def test_missing_alerts_are_reported(target: Target) -> None:
    with target.pipeline(alerts=0):
        outcome = target.run("--rate", "500", "--count", "1000", "--anomalies", "10", settle=LOSSES)
    alerts = outcome.report["alerts"]
    assert outcome.code == 1
    assert alerts["missing"] == alerts["expected"] > 3
    assert alerts["resolved_missing"] == alerts["resolved_expected"] > 3


def test_duplicated_and_unexpected_alerts_are_reported(target: Target) -> None:
    with target.pipeline(alerts=2), target.mosquitto.subscribe(TELEMETRY) as messages:
        tester = target.start("--run", "runofmine", "--rate", "500", "--count", "1000", "--anomalies", "10")
        messages.wait_for(1)  # publish an unexpected alert while the load tester listens
        target.mosquitto.publish(
            "users/user-1/devices/runofmine-1/alerts",
            '{"id":"x","rule":"overheating","state":"firing","device_id":"runofmine-1",'
            '"since":"2020-01-01T00:00:00Z","time":"2020-01-01T00:00:00Z"}',
        )
        outcome = tester.wait()
    alerts = outcome.report["alerts"]
    assert outcome.code == 1
    assert alerts["duplicated"] == alerts["seen"] + alerts["resolved_seen"]
    assert alerts["unexpected"] == 1


def test_broken_messages_are_expected_in_the_dead_letters(target: Target, tmp_path: Path) -> None:
    letters = tmp_path / "letters.ndjson"
    with target.pipeline(letters=letters):
        arguments = ("--rate", "500", "--count", "1000", "--broken", "5", "--dead-letters", str(letters))
        report = target.run(*arguments).report
    assert report["faults"] == []
    assert 20 < report["broken"] == report["dead_lettered"] < 90
    assert report["stored"] == 1000 - report["broken"]


def test_broken_messages_that_are_lost_are_reported(target: Target, tmp_path: Path) -> None:
    letters = tmp_path / "letters.ndjson"
    with target.pipeline(letters=letters, keep_letter=lambda number: number != 3):
        arguments = ("--rate", "500", "--count", "1000", "--broken", "5", "--dead-letters", str(letters))
        outcome = target.run(*arguments, settle=LOSSES)
    assert outcome.code == 1
    assert outcome.report["faults"] == ["1 broken messages neither stored nor among the dead letters"]


def test_devices_become_silent_half_way(target: Target) -> None:
    with target.pipeline():
        report = target.run("--rate", "300", "--duration", "4s", "--silent", "50").report
    assert report["faults"] == []
    assert report["silent_devices"] == 45
    assert 850 < report["sent"] < 950  # of 1200


def test_ramp_and_bursts_send_the_expected_number(target: Target) -> None:
    with target.pipeline():
        arguments = ("--rate", "400", "--duration", "4s", "--ramp", "2s", "--burst", "100:1s")
        report = target.run(*arguments).report
    assert report["faults"] == []
    assert report["sent"] == 400 + 800 + 300  # the ramp sends half of the full rate


def test_control_c_stops_sending_and_still_reports(target: Target) -> None:
    with target.pipeline(), target.mosquitto.subscribe(TELEMETRY) as messages:
        tester = target.start("--rate", "200", "--duration", "0")
        messages.wait_for(200)
        tester.interrupt()
        outcome = tester.wait()
    report = outcome.report
    assert (outcome.code, report["faults"], report["interrupted"]) == (0, [], True)
    assert report["stored"] == report["sent"] >= 200


def test_find_limit_finds_the_highest_rate(target: Target) -> None:
    measured = []
    for attempt in range(3):  # other work on this machine may disturb a measurement
        with target.pipeline(rate=500):
            outcome = target.run("--find-limit", "--rate", "100", "--trial", "2s", "--max-latency", "400ms", "--quiet")
        assert outcome.code == 0
        report = outcome.report
        measured.append((report["limit"], [(t["rate"], t["held"], t["why_not"]) for t in report["trials"]]))
        assert report["limit"] <= 650, measured
        assert any(not trial["held"] for trial in report["trials"])
        if report["limit"] >= 200:
            return
        target.timescale.execute("DROP TABLE raw_telemetry", database=target.database)
    raise AssertionError(f"the limit is 500/s; measured: {measured}")


def test_a_restarted_broker_loses_no_message(timescale: Timescale, database: str) -> None:
    with Mosquitto() as broker:
        with broker.subscribe(TELEMETRY) as messages:
            tester = LoadTester(
                "--json", "--rate", "300", "--duration", "6s", environment={"MQTT_URL": broker.url()}
            )
            messages.wait_for(300)
        broker.kill()
        time.sleep(0.5)
        broker.start()
        outcome = tester.wait()
    report = outcome.report
    assert (outcome.code, report["faults"]) == (0, [])
    assert report["sent"] == report["acknowledged"] == 1800
    assert report["broken_connections"] >= 90
    # Latency counts from the time at which a message was due, so that waiting does not hide latency.
    assert report["latency_ms"]["to_broker"]["max"] > 400


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_all_qualities_of_service_send_at_full_speed(target: Target, qos: str) -> None:
    outcome = run("--json", "--rate", "0", "--count", "20000", "--qos", qos, environment=target.environment)
    assert outcome.code == 0
    assert outcome.report["acknowledged"] == 20_000
    assert outcome.report["rate"] > 1000


def test_tls_and_a_password(authority: Authority) -> None:
    with Mosquitto(user="tester", password="p@ss:w/rd", tls=Tls(authority)) as broker:
        fine = run("--json", "--count", "100", "--broker", broker.url(), "--ca", str(broker.ca_file))
        assert (fine.code, fine.report["acknowledged"]) == (0, 100)
        unknown = run("--count", "100", "--broker", broker.url())
        assert unknown.code == 3
        wrong = run("--count", "100", "--broker", broker.url().replace("tester", "nobody"), "--ca", str(broker.ca_file))
        assert wrong.code == 3
        assert "not authorised" in wrong.err


def test_a_client_certificate_is_sent_to_a_broker_that_requires_one(authority: Authority) -> None:
    own = authority.client("tester")
    with Mosquitto(tls=Tls(authority, own=own)) as broker:
        words = ["--json", "--count", "100", "--broker", broker.url(), "--ca", str(authority.ca)]
        fine = run(*words, "--cert", str(own.cert), "--key", str(own.key))
        assert (fine.code, fine.report["acknowledged"]) == (0, 100)
        assert run(*words).code == 3
        half = run(*words, "--cert", str(own.cert))
        assert half.code == 2
        assert "--key" in half.err


def test_every_option_is_documented() -> None:
    page = (SOURCE / "docs" / "load-tester.md").read_text()
    options = set(re.findall(r"^  (?:-h,)?(--[a-z-]+)", run("--help").out, re.MULTILINE)) - {"--help"}
    assert len(options) > 30
    assert [option for option in sorted(options) if f"{option}" not in page] == []


def test_unreachable_servers_are_reported_by_address(target: Target) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    broker = run("--count", "10", "--broker", f"mqtt://u:secret@{nobody}")
    assert broker.code == 3
    assert f"the broker {nobody}: Connection refused" in broker.err
    assert "--broker or MQTT_URL" in broker.err
    assert "secret" not in broker.err
    database = run("--verify", "--count", "10", "--database", f"postgresql://{nobody}/x", environment=target.environment)
    assert database.code == 3
    assert "--database or DATABASE_URL" in database.err


def test_a_table_without_the_columns_is_rejected_at_the_start(target: Target) -> None:
    target.timescale.execute("CREATE TABLE raw_telemetry (time timestamptz, device_id text)", database=target.database)
    outcome = target.run("--count", "10")
    assert outcome.code == 3
    assert "has no column" in outcome.err


def test_a_missing_table_is_reported(target: Target) -> None:
    outcome = target.run("--count", "10")
    assert outcome.code == 1
    assert "table raw_telemetry does not exist; check that the pipeline runs and writes to it" in outcome.report["faults"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "fast"], "--rate"),
        (["--duration", "10x"], "is not a duration; write 500ms, 10s, 5m or 2h"),
        (["--burst", "100"], "is not SIZE:EVERY"),
        (["--broker", "localhost"], "use for example mqtt://"),
        (["--users", "2000", "--devices-per-user", "2000"], "more than"),
        (["--rate", "5", "--rate-per-device", "5"], "excludes"),
        (["--silent", "10", "--count", "5"], "--silent needs a --duration"),
        (["--qos", "3"], "--qos"),
        (["--colour", "red"], "--colour"),
        (["--dead-letters", "kafka://broker"], "has no broker or no topic"),
    ],
)
def test_invalid_arguments_are_reported(arguments: list[str], words: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert words in outcome.err


def wait_until_subscribed(servers: Servers) -> None:
    """Wait for the bridge: the broker keeps no messages for a client that has never subscribed, and they would be lost."""

    def comes_through() -> bool:
        probe = json.dumps({"user_id": "u", "device_id": "probe", "time": int(time.time() * 1000), "temperature": 20.0})
        servers.mosquitto.publish("users/u/devices/probe/telemetry", probe)
        return sum(servers.kafka.end_offsets(servers.topic).values()) > 0

    wait_until(comes_through, "the bridge's subscription")


@contextlib.contextmanager
def both_halves(servers: Servers, directory: Path) -> Iterator[list[str]]:
    """Run configs/bridge.yaml and configs/iot.yaml, and yield the file of their dead letters."""
    letters = f"{servers.topic}_letters"
    servers.kafka.create_topic(letters)
    sets = [f"sinks.topic.topic={servers.topic}", f"dead_letters.topic={letters}"]
    for half in ("bridge", "iot"):
        (directory / half).mkdir()
    configs = SOURCE / "configs"
    with (
        PipelineHost(configs / "iot.yaml", directory / "iot", environment=servers.environment, sets=servers.sets) as host,
        PipelineHost(configs / "bridge.yaml", directory / "bridge", environment=servers.environment, sets=sets) as bridge,
    ):
        host.wait_ready()
        bridge.wait_ready()
        wait_until_subscribed(servers)
        yield [str(directory / "iot" / "dead-letters" / "iot.ndjson"), f"kafka://{servers.kafka.brokers}/{letters}"]
        assert (bridge.stop(), host.stop()) == (0, 0)
    servers.kafka.delete_topic(letters)


def test_from_the_devices_to_the_database_nothing_is_lost(servers: Servers, tmp_path: Path) -> None:
    with both_halves(servers, tmp_path) as letters:
        outcome = run(
            "--json", "--verify", "--rate", "500", "--duration", "20s", "--anomalies", "3", "--duplicates", "2",
            "--reorder", "3", "--broken", "2", "--silent", "5", "--burst", "200:3s",
            *(f"--dead-letters={target}" for target in letters), environment=servers.environment,
        )  # fmt: skip
    report = outcome.report
    assert (outcome.code, report["faults"]) == (0, []), outcome.out
    assert report["stored"] == report["expected"] > 9_000
    assert report["dead_lettered"] == report["broken"] > 100
    assert report["alerts"]["seen"] == report["alerts"]["expected"] > 20
    assert report["latency_ms"]["to_database"]["count"] > 9_000
