# SPDX-License-Identifier: Apache-2.0
"""load-tester says what was lost, duplicated, altered and left out, and nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import Servers
from load_tester import LoadTester, Outcome, Pipeline, Reading, run
from pipeline_host import SOURCE, PipelineHost

from services import Authority, Mosquitto, Timescale, Tls, free_port, wait_until


class Place:
    """The servers of one test, and the tester pointed at them."""

    def __init__(self, mosquitto: Mosquitto, timescale: Timescale, database: str) -> None:
        self.mosquitto, self.timescale, self.database = mosquitto, timescale, database
        self.environment = {"MQTT_URL": mosquitto.url(), "DATABASE_URL": timescale.url(database)}

    def pipeline(self, **options: object) -> Pipeline:
        return Pipeline(self.mosquitto, self.timescale, self.database, **options)  # type: ignore[arg-type]

    def start(self, *arguments: str) -> LoadTester:
        return LoadTester("--json", "--verify", "--settle-timeout", "3s", *arguments, environment=self.environment)

    def run(self, *arguments: str) -> Outcome:
        return self.start(*arguments).wait()


@pytest.fixture
def place(mosquitto: Mosquitto, timescale: Timescale, database: str) -> Place:
    return Place(mosquitto, timescale, database)


def test_a_pipeline_without_fault_passes(place: Place) -> None:
    with place.pipeline():
        outcome = place.run("--users", "4", "--rate", "400", "--count", "1200", "--anomalies", "10")
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
        assert 0 <= latency[name]["p50"] <= latency[name]["p99"] <= latency[name]["max"] < 10_000
    assert latency["to_database"]["count"] == 1200
    assert latency["to_alert"]["count"] == alerts["seen"]
    assert 2.9 < report["seconds"] < 4


def test_what_is_lost_and_what_is_stored_twice_is_said_by_number(place: Place) -> None:
    def change(reading: Reading) -> Sequence[Reading]:
        return {100: [], 200: [], 300: [reading, reading]}.get(reading["seq"], [reading])

    with place.pipeline(change=change):
        outcome = place.run("--rate", "500", "--count", "1000")
    report = outcome.report
    assert outcome.code == 1
    assert (report["lost"], report["lost_seq"]) == (2, [100, 200])
    assert (report["duplicated"], report["duplicated_seq"]) == (1, [300])
    assert report["stored"] == 999
    assert report["faults"] == ["2 lost", "1 duplicated"]


def test_a_row_that_says_something_else_is_altered(place: Place) -> None:
    def change(reading: Reading) -> Sequence[Reading]:
        return [reading | {"temperature": 1.5}] if reading["seq"] == 7 else [reading]

    with place.pipeline(change=change):
        outcome = place.run("--rate", "500", "--count", "100")
    assert outcome.code == 1
    assert outcome.report["faults"] == ["1 stored with other contents than was sent"]


def test_what_was_published_twice_on_purpose_may_be_there_twice_and_must_be(place: Place) -> None:
    seen: set[int] = set()
    missing: list[int] = []

    def change(reading: Reading) -> Sequence[Reading]:
        again = reading["seq"] in seen
        seen.add(reading["seq"])
        if again and not missing:
            missing.append(reading["seq"])
            return []
        return [reading]

    with place.pipeline(change=change):
        outcome = place.run("--rate", "500", "--count", "1000", "--duplicates", "10")
    report = outcome.report
    assert outcome.code == 1
    assert report["messages"] == 1000
    assert 1050 < report["sent"] == report["acknowledged"] < 1150
    assert report["stored"] == report["sent"] - 1
    assert (report["lost"], report["lost_seq"], report["duplicated"]) == (1, missing, 0)


def test_a_table_that_keeps_one_row_of_each_is_told_with_an_option(place: Place) -> None:
    seen: set[int] = set()

    def change(reading: Reading) -> Sequence[Reading]:
        again = reading["seq"] in seen
        seen.add(reading["seq"])
        return [] if again else [reading]

    with place.pipeline(change=change):
        outcome = place.run("--rate", "500", "--count", "500", "--duplicates", "10", "--one-row-each")
    assert (outcome.code, outcome.report["stored"]) == (0, 500)


def test_messages_out_of_order_are_neither_lost_nor_raise_alerts(place: Place) -> None:
    order: list[int] = []

    def change(reading: Reading) -> Sequence[Reading]:
        order.append(reading["seq"])
        return [reading]

    with place.pipeline(change=change):
        outcome = place.run("--rate", "500", "--count", "1000", "--reorder", "20", "--anomalies", "5")
    assert outcome.report["faults"] == []
    assert order != sorted(order)
    assert sorted(order) == list(range(1000))


def test_alerts_that_do_not_come_are_missing(place: Place) -> None:
    with place.pipeline(alerts=0):
        outcome = place.run("--rate", "500", "--count", "1000", "--anomalies", "10")
    alerts = outcome.report["alerts"]
    assert outcome.code == 1
    assert alerts["missing"] == alerts["expected"] > 3
    assert alerts["resolved_missing"] == alerts["resolved_expected"] > 3


def test_alerts_that_come_twice_or_without_reason_are_told(place: Place) -> None:
    with place.pipeline(alerts=2):
        tester = place.start("--run", "runofmine", "--rate", "500", "--count", "1000", "--anomalies", "10")
        time.sleep(1)  # an alert of nothing, while the tester listens
        place.mosquitto.publish(
            "users/user-1/devices/runofmine-1/alerts",
            '{"id":"x","rule":"overheating","state":"firing","device_id":"runofmine-1",'
            '"since":"2020-01-01T00:00:00Z","time":"2020-01-01T00:00:00Z"}',
        )
        outcome = tester.wait()
    alerts = outcome.report["alerts"]
    assert outcome.code == 1
    assert alerts["duplicated"] == alerts["seen"] + alerts["resolved_seen"]
    assert alerts["unexpected"] == 1


def test_broken_messages_belong_into_the_dead_letters(place: Place, tmp_path: Path) -> None:
    letters = tmp_path / "letters.ndjson"
    with place.pipeline(letters=letters):
        arguments = ("--rate", "500", "--count", "1000", "--broken", "5", "--dead-letters", str(letters))
        report = place.run(*arguments).report
    assert report["faults"] == []
    assert 20 < report["broken"] == report["dead_lettered"] < 90
    assert report["stored"] == 1000 - report["broken"]


def test_broken_messages_that_are_nowhere_are_told(place: Place, tmp_path: Path) -> None:
    letters = tmp_path / "letters.ndjson"
    with place.pipeline(letters=letters, keep_letter=lambda number: number != 3):
        arguments = ("--rate", "500", "--count", "1000", "--broken", "5", "--dead-letters", str(letters))
        outcome = place.run(*arguments)
    assert outcome.code == 1
    assert outcome.report["faults"] == ["1 broken messages neither stored nor among the dead letters"]


def test_devices_go_silent_half_way(place: Place) -> None:
    with place.pipeline():
        report = place.run("--rate", "300", "--duration", "4s", "--silent", "50").report
    assert report["faults"] == []
    assert report["silent_devices"] == 45
    assert 850 < report["sent"] < 950  # of 1200


def test_a_ramp_and_bursts_keep_to_their_times(place: Place) -> None:
    with place.pipeline():
        arguments = ("--rate", "400", "--duration", "4s", "--ramp", "2s", "--burst", "100:1s")
        report = place.run(*arguments).report
    assert report["faults"] == []
    assert report["sent"] == 400 + 800 + 300  # the ramp is half of its time's worth


def test_control_c_ends_the_sending_and_counts_still(place: Place) -> None:
    with place.pipeline():
        tester = place.start("--rate", "200", "--duration", "0")
        time.sleep(2)
        tester.interrupt()
        outcome = tester.wait()
    report = outcome.report
    assert (outcome.code, report["faults"], report["interrupted"]) == (0, [], True)
    assert 100 < report["stored"] == report["sent"] < 500


def test_the_limit_is_found(place: Place) -> None:
    with place.pipeline(rate=500):
        outcome = place.run("--find-limit", "--rate", "100", "--trial", "2s", "--max-latency", "400ms", "--quiet")
    report = outcome.report
    assert outcome.code == 0
    assert 200 <= report["limit"] <= 650, [(t["rate"], t["held"], t["why_not"]) for t in report["trials"]]
    assert any(not trial["held"] for trial in report["trials"])


def test_a_broker_that_is_restarted_costs_no_message(timescale: Timescale, database: str) -> None:
    with Mosquitto() as broker:
        tester = LoadTester(
            "--json", "--rate", "300", "--duration", "6s", environment={"MQTT_URL": broker.url()}
        )
        time.sleep(2)
        broker.kill()
        time.sleep(0.5)
        broker.start()
        outcome = tester.wait()
    report = outcome.report
    assert (outcome.code, report["faults"]) == (0, [])
    assert report["sent"] == report["acknowledged"] == 1800
    assert report["broken_connections"] >= 90
    # What could not leave was late from when it was due: no latency is hidden by waiting.
    assert report["latency_ms"]["to_broker"]["max"] > 400


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_all_qualities_of_service_go_as_fast_as_they_can(place: Place, qos: str) -> None:
    outcome = run("--json", "--rate", "0", "--count", "20000", "--qos", qos, environment=place.environment)
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


def test_a_broker_that_asks_for_a_certificate_gets_one(authority: Authority) -> None:
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


def test_servers_that_cannot_be_reached_are_named(place: Place) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    broker = run("--count", "10", "--broker", f"mqtt://u:secret@{nobody}")
    assert broker.code == 3
    assert f"the broker {nobody}: Connection refused" in broker.err
    assert "--broker or MQTT_URL" in broker.err
    assert "secret" not in broker.err
    database = run("--verify", "--count", "10", "--database", f"postgresql://{nobody}/x", environment=place.environment)
    assert database.code == 3
    assert "--database or DATABASE_URL" in database.err


def test_a_table_that_is_no_telemetry_is_refused_at_the_start(place: Place) -> None:
    place.timescale.execute("CREATE TABLE raw_telemetry (time timestamptz, device_id text)", database=place.database)
    outcome = place.run("--count", "10")
    assert outcome.code == 3
    assert "has no column" in outcome.err


def test_a_table_that_never_comes_is_told(place: Place) -> None:
    outcome = place.run("--count", "10")
    assert outcome.code == 1
    assert "there is no table raw_telemetry: does the pipeline run, and write there?" in outcome.report["faults"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "fast"], "--rate"),
        (["--duration", "10x"], "is no duration; write 500ms, 10s, 5m or 2h"),
        (["--burst", "100"], "is not SIZE:EVERY"),
        (["--broker", "localhost"], "write e.g. mqtt://"),
        (["--users", "2000", "--devices-per-user", "2000"], "more than"),
        (["--rate", "5", "--rate-per-device", "5"], "excludes"),
        (["--silent", "10", "--count", "5"], "--silent needs a --duration"),
        (["--qos", "3"], "--qos"),
        (["--colour", "red"], "--colour"),
        (["--dead-letters", "kafka://broker"], "names no topic"),
    ],
)
def test_wrong_usage_is_explained(arguments: list[str], words: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert words in outcome.err


def wait_until_subscribed(servers: Servers) -> None:
    """The broker keeps nothing for a bridge that has never subscribed: the first messages would rightly count as lost."""

    def comes_through() -> bool:
        probe = json.dumps({"user_id": "u", "device_id": "probe", "time": int(time.time() * 1000), "temperature": 20.0})
        servers.mosquitto.publish("users/u/devices/probe/telemetry", probe)
        return sum(servers.kafka.end_offsets(servers.topic).values()) > 0

    wait_until(comes_through, "the bridge's subscription")


@contextlib.contextmanager
def both_halves(servers: Servers, directory: Path) -> Iterator[list[str]]:
    """configs/bridge.yaml and configs/iot.yaml, running; where their dead letters go."""
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
            *(f"--dead-letters={place}" for place in letters), environment=servers.environment,
        )  # fmt: skip
    report = outcome.report
    assert (outcome.code, report["faults"]) == (0, []), outcome.out
    assert report["stored"] == report["expected"] > 9_000
    assert report["dead_lettered"] == report["broken"] > 100
    assert report["alerts"]["seen"] == report["alerts"]["expected"] > 20
    assert report["latency_ms"]["to_database"]["count"] > 9_000
