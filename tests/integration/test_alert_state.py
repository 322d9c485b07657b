# SPDX-License-Identifier: Apache-2.0
"""Alert state follows the configuration: open alerts continue under their ids, or are resolved once, with a reason.

Each test runs twice: with a reload by SIGHUP, and with a restart. Both must have the same result.
"""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Timescale, free_port, wait_until

Alert = dict[str, Any]
HOT = {"name": "hot", "metric": "temperature", "above": 80}
COLD = {"name": "cold", "metric": "temperature", "below": -100}
SILENT = {"name": "silent", "missing_for": "2s"}
REMOVED = "rule removed from the configuration"


class Alerting:
    """A host with http_source, threshold_alert and file_sink, whose configuration changes while alerts are open."""

    def __init__(self, directory: Path, how: str) -> None:
        self.directory, self.how, self.port, self.source = directory, how, free_port(), "posted"
        self.batch: dict[str, object] = {"delay": "5ms"}  # of the alerts' sink
        self.host = PipelineHost(directory / "pipeline.yaml", directory)
        self._time = time.time() - 60
        self._stored = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.__exit__(kind, error, trace)

    def write(self, rules: Iterable[dict[str, object]], node: str = "alerts", **more: object) -> None:
        alerts = {"plugin": "threshold_alert", "from": "parsed", "rules": list(rules), **more}
        configuration(
            self.directory,
            sources={self.source: {"plugin": "http_source", "listen": f"127.0.0.1:{self.port}", "path": "/t"}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": self.source, "metrics": ["temperature", "humidity"]},
                        node: alerts},
            sinks={"rows": {"plugin": "file_sink", "from": "parsed", "path": "rows.ndjson", "batch": {"delay": "5ms"}},
                   "out": {"plugin": "file_sink", "from": [node, f"{node}.recorded"], "path": "alerts.ndjson",
                           "batch": self.batch}},
        )  # fmt: skip

    def start(self, rules: Iterable[dict[str, object]], node: str = "alerts", **more: object) -> None:
        self.write(rules, node, **more)
        self.host.start()
        self.host.wait_ready()

    def change(self, rules: Iterable[dict[str, object]], node: str = "alerts", **more: object) -> None:
        """Continue with other rules."""
        self.write(rules, node, **more)
        if self.how == "restart":
            self.restart()
            return
        reloads = self.host.log().count("configuration reloaded")
        self.host.signal(signal.SIGHUP)
        wait_until(lambda: self.host.log().count("configuration reloaded") > reloads, "the reload")
        self.host.wait_ready()

    def restart(self) -> None:
        assert self.host.stop() == 0
        self.host.start()
        self.host.wait_ready()

    def send(self, device: str, temperature: float, **more: object) -> None:
        """Post a reading, and wait until it is stored. Each is a second later than the one before."""
        self._time += 1
        row = {"user_id": "u", "device_id": device, "time": self._time, "temperature": temperature, **more}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/t", json.dumps(row), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        self._stored += 1
        wait_until(lambda: len(ndjson(self.directory / "rows.ndjson")) >= self._stored, "the reading")

    def alerts(self) -> list[Alert]:
        return ndjson(self.directory / "alerts.ndjson")

    def wait_for(self, count: int) -> list[Alert]:
        wait_until(lambda: len(self.alerts()) >= count, f"{count} alerts")
        return self.alerts()

    def settled(self, count: int, *, silent_again: bool = False) -> list[Alert]:
        """Return the alerts once several timers have run. silent_again: a device may become silent in the meantime."""
        self.wait_for(count)
        time.sleep(0.4)
        more = self.alerts()[count:]
        assert all(silent_again and (a["state"], a["rule"]) == ("firing", "silent") for a in more), self.alerts()
        return self.alerts()[:count]

    def wait_open(self, count: int, *rules: str) -> None:
        """Wait until each rule has this number of open alerts. State is restored after the host is ready."""
        def found() -> dict[str, float]:
            return {rule: self.host.metric("pipeline_alerts_open", rule=rule) for rule in rules}

        wait_until(lambda: set(found().values()) == {count}, f"{count} open alerts of {', '.join(rules)}")


@pytest.fixture(params=["reload", "restart"])
def alerting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Alerting]:
    with Alerting(tmp_path, request.param) as made:
        yield made
        assert made.host.stop() == 0
        assert dead_letters(tmp_path) == []
    assert_each_ended_once(made.alerts())


def assert_each_ended_once(alerts: list[Alert]) -> None:
    """Check that each alert fires once, and is resolved at most once and not before."""
    for alert in {a["id"] for a in alerts}:
        states = [a["state"] for a in alerts if a["id"] == alert]
        assert states[0] == "firing" and states.count("firing") == 1, states
        assert "resolved" not in states[:-1], states


def states(alerts: list[Alert], *columns: str) -> list[tuple[str, ...]]:
    return [tuple(str(a[c]) for c in ("state", *columns)) for a in alerts]


def test_an_added_rule_changes_nothing_for_the_others(alerting: Alerting) -> None:
    alerting.start([{**HOT, "times": 3}])
    for _ in range(3):
        alerting.send("a", 85)
    for _ in range(2):
        alerting.send("b", 85)
    alerting.wait_for(1)
    alerting.change([COLD, {**HOT, "times": 3}])
    alerting.wait_open(1, "hot")
    alerting.send("a", 85)  # stays high: no second alert
    alerting.send("b", 85)  # its third reading
    alerting.send("a", 70)
    alerts = alerting.settled(3)
    assert states(alerts, "device_id") == [("firing", "a"), ("firing", "b"), ("resolved", "a")]
    assert alerts[0]["id"] == alerts[2]["id"]
    alerting.wait_open(1, "hot")


def test_a_changed_rule_continues_its_alert_and_is_evaluated_anew(alerting: Alerting) -> None:
    alerting.start([{**HOT, "clear_below": 60}])
    for device in ("stays", "ends"):
        alerting.send(device, 95 if device == "stays" else 85)
    alerting.change([{**HOT, "above": 90, "clear_below": 60, "severity": "critical", "for": "0s", "message": "{device_id}!"}])
    alerting.send("stays", 95)
    alerting.send("ends", 85)
    alerts = alerting.settled(4)
    assert states(alerts[2:], "device_id", "severity") == [("changed", "stays", "critical"), ("resolved", "ends", "critical")]
    assert [a["id"] for a in alerts[2:]] == [a["id"] for a in alerts[:2]]
    assert alerts[2]["message"] == "stays!"
    alerting.wait_open(1, "hot")
    alerting.send("stays", 50)
    assert alerting.settled(5)[4]["id"] == alerts[0]["id"]


def test_a_removed_and_a_renamed_rule_are_resolved_with_the_reason(alerting: Alerting) -> None:
    gone = {"name": "gone", "metric": "temperature", "above": 70, "severity": "critical", "labels": {"team": "x"}}
    alerting.start([HOT, gone, {**SILENT, "missing_for": "1s"}])
    alerting.send("a", 85)
    fired = alerting.wait_for(3)
    alerting.change([{**HOT, "name": "renamed"}, {**SILENT, "missing_for": "1s"}])
    ended = [a for a in alerting.settled(5) if a["state"] == "resolved"]
    assert sorted(a["rule"] for a in ended) == ["gone", "hot"]
    for end in ended:
        begin = next(a for a in fired if a["id"] == end["id"])
        assert end["message"].endswith(REMOVED)
        for column in ("rule", "severity", "device_id", "user_id", "since", "metric", "labels"):
            assert end.get(column) == begin.get(column), column
    alerting.wait_open(0, "hot", "gone")
    alerting.wait_open(1, "silent")
    alerting.restart()
    alerting.settled(5)
    alerting.send("a", 85)
    assert states(alerting.settled(7, silent_again=True)[5:], "rule") == [("firing", "renamed"), ("resolved", "silent")]


def test_a_renamed_node_continues_its_alerts(alerting: Alerting) -> None:
    """As if only its rules had changed: what no rule covers any more is resolved."""
    alerting.start([HOT, {**HOT, "name": "gone"}, {**SILENT, "missing_for": "1s"}])
    alerting.send("a", 85)
    fired = alerting.wait_for(3)
    alerting.change([HOT, {**SILENT, "missing_for": "1s"}], node="alarms")
    ended = alerting.settled(4)[3]
    assert (ended["rule"], ended["state"], ended["message"].endswith(REMOVED)) == ("gone", "resolved", True)
    alerting.wait_open(1, "hot", "silent")
    alerting.host.wait_for_log("continues with the stored state of 'alerts'")
    alerting.restart()
    alerting.wait_open(1, "hot", "silent")
    alerting.send("a", 20)
    ends = alerting.settled(6)[4:]
    assert {a["id"] for a in ends} == {a["id"] for a in fired if a["rule"] != "gone"}
    alerting.wait_open(0, "hot", "silent")


def test_a_narrowed_rule_resolves_the_alerts_of_the_devices_that_it_excludes(alerting: Alerting) -> None:
    alerting.start([HOT, {**SILENT, "missing_for": "1s"}])
    for device in ("pump-1", "valve-1"):
        alerting.send(device, 85)
    alerting.wait_for(4)
    only = {"match": {"device_id": "valve-*"}}
    alerting.change([{**HOT, **only}, {**SILENT, "missing_for": "1s", **only}])
    ended = alerting.settled(6)[4:]
    assert {a["device_id"] for a in ended} == {"pump-1"}
    assert all(a["message"].endswith("the rule's match no longer includes this device") for a in ended)
    alerting.wait_open(1, "hot", "silent")


def test_changed_group_by_resolves_the_old_alerts_and_starts_anew(alerting: Alerting) -> None:
    rules = [HOT, {**SILENT, "missing_for": "1s", "repeat_interval": "1h"}]
    alerting.start(rules)
    alerting.send("a", 85)
    fired = alerting.wait_for(2)
    alerting.change(rules, group_by=["device_id"])
    alerting.host.wait_for_log("group_by changed from [user_id, device_id] to [device_id]: 2 open alerts")
    ended = alerting.settled(4)[2:]
    assert sorted(a["id"] for a in ended) == sorted(a["id"] for a in fired)
    assert {a["device_id"] for a in ended} == {"a"} and "user_id" not in ended[0]
    assert all(a["message"].endswith("group_by changed from [user_id, device_id] to [device_id]") for a in ended)
    alerting.wait_open(0, "hot", "silent")
    alerting.restart()
    alerting.send("a", 85)
    alerts = alerting.wait_for(6)
    assert sorted(states(alerts[4:], "rule")) == [("firing", "hot"), ("firing", "silent")]
    assert not {a["id"] for a in alerts[4:]} & {a["id"] for a in fired}
    alerting.change(rules)  # and back
    alerting.wait_for(8)
    alerting.wait_open(0, "hot", "silent")


def test_a_changed_missing_for_applies_at_once(alerting: Alerting) -> None:
    alerting.start([{**SILENT, "missing_for": "1s"}])
    alerting.send("a", 20)
    fired = alerting.wait_for(1)
    alerting.change([{**SILENT, "missing_for": "1h"}])
    ended = alerting.settled(2)[1]
    assert (ended["state"], ended["id"]) == ("resolved", fired[0]["id"])
    alerting.wait_open(0, "silent")
    alerting.change([{**SILENT, "missing_for": "1s"}])
    again = alerting.settled(3)[2]
    assert again["state"] == "firing" and again["id"] != fired[0]["id"]
    alerting.change([{**SILENT, "missing_for": "1h"}])
    alerting.settled(4)
    alerting.change([{**SILENT, "missing_for": "2s"}])
    alerts = alerting.settled(5)
    assert states(alerts[3:], "device_id") == [("resolved", "a"), ("firing", "a")]
    assert alerts[3]["id"] == again["id"] and alerts[4]["id"] not in (fired[0]["id"], again["id"])


def test_nothing_is_repeated_by_clean_stops_and_reloads(alerting: Alerting) -> None:
    rules = [{**HOT, "repeat_interval": "1h"}, {**SILENT, "missing_for": "1s", "repeat_interval": "1h"}]
    alerting.start(rules)
    alerting.send("a", 85)
    alerting.wait_for(2)
    for round_ in range(3):
        alerting.change([*rules, {**COLD, "name": f"cold{round_}"}])
        alerting.settled(2)
        alerting.wait_open(1, "hot", "silent")
    alerting.send("a", 20)
    assert sorted(states(alerting.settled(4, silent_again=True)[2:], "rule")) == [("resolved", "hot"), ("resolved", "silent")]


def test_a_kill_repeats_at_most_what_was_in_flight(tmp_path: Path) -> None:
    rules = [HOT, {**SILENT, "missing_for": "1s"}]
    with Alerting(tmp_path, "restart") as made:
        made.start(rules)
        made.send("a", 85)
        made.wait_for(2)
        for _ in range(4):
            made.host.kill()
            made.host.start()
            made.host.wait_ready()
            made.wait_open(1, "hot", "silent")
        alerts = made.alerts()
        assert {(a["id"], a["state"]) for a in alerts} == {(a["id"], a["state"]) for a in alerts[:2]}
        assert len(alerts) <= 4  # only the first kill could come before the delivery was noted
        known = {a["id"] for a in alerts}
        made.send("a", 20)
        wait_until(lambda: {a["id"] for a in made.alerts() if a["state"] == "resolved"} >= known, "the end")
        made.wait_open(0, "hot")  # the device may be silent again
        assert made.host.stop() == 0


def test_a_kill_loses_no_alert_of_the_first_record(tmp_path: Path) -> None:
    """The alert is in the stored state, and in the sink's queue, when the host is killed."""
    with Alerting(tmp_path, "restart") as made:
        made.batch = {"delay": "1h"}
        made.start([HOT])
        made.send("a", 85)
        made.wait_open(1, "hot")
        made.host.kill()
        assert made.alerts() == []
        made.batch = {"delay": "5ms"}
        made.start([HOT])
        made.wait_for(1)
        made.send("a", 20)
        alerts = made.wait_for(2)
        assert [a["state"] for a in alerts] == ["firing", "resolved"] and len({a["id"] for a in alerts}) == 1
        assert made.host.stop() == 0


def test_a_kill_loses_no_notice_of_a_timer(tmp_path: Path) -> None:
    """The notice waits in the sink's queue when the host is killed. The device's last record is settled, and read again."""
    rules = [HOT, {**HOT, "name": "warm", "above": 70}, {**SILENT, "missing_for": "1s"}]
    position = tmp_path / "state" / "spool" / "test" / "posted" / "0" / "settled"
    with Alerting(tmp_path, "restart") as made:
        made.batch = {"rows": 2, "delay": "1h"}  # the alerts of the record are written, that of the timer is not
        made.start(rules)
        made.send("a", 85)
        made.wait_for(2)
        wait_until(lambda: position.exists() and position.read_text().startswith("1\n"), "the stored position")
        made.wait_open(1, "silent")
        made.host.kill()
        assert sorted(states(made.alerts(), "rule")) == [("firing", "hot"), ("firing", "warm")]
        made.batch = {"delay": "5ms"}
        made.start(rules)
        assert states(made.wait_for(3)[2:], "rule") == [("firing", "silent")]
        fired = {a["id"] for a in made.alerts()}
        made.send("a", 20)
        wait_until(lambda: {a["id"] for a in made.alerts() if a["state"] == "resolved"} >= fired, "the end")
        assert made.host.stop() == 0


def test_alerts_continue_when_a_renamed_source_adopts_its_spool(tmp_path: Path) -> None:
    """Adopted before its first start, the source continues the stream; later, the state cannot be moved."""
    rules = [HOT, {**SILENT, "missing_for": "1h"}]
    with Alerting(tmp_path, "restart") as made:
        made.start(rules)
        made.send("a", 85)
        alert = made.wait_for(1)[0]["id"]
        assert made.host.stop() == 0
        made.source = "renamed"
        made.write(rules)
        adopt = ("spools", "adopt", "pipeline.yaml", "--yes", "--spool")
        adopted = run(*adopt, "state/spool/test/posted/0", cwd=tmp_path)
        assert adopted.returncode == 0, adopted.stderr
        assert "of the state of transforms moved, too" in adopted.stdout
        assert "moved to state/spool/test/renamed/0" in adopted.stdout
        made.start(rules)
        made.wait_open(1, "hot")
        made.send("a", 20)
        assert [(a["id"], a["state"]) for a in made.settled(2)] == [(alert, "firing"), (alert, "resolved")]
        made.send("a", 85)
        made.wait_for(3)
        assert made.host.stop() == 0
        made.source = "later"
        made.start(rules)
        assert made.host.stop() == 0
        adopted = run(*adopt, "state/spool/test/renamed/0", cwd=tmp_path)
        assert "cannot be moved, because the source 'later' was started before" in adopted.stdout
        assert "moved to state/spool/test/later/1" in adopted.stdout


CRASHES: dict[str, list[dict[str, object]]] = {
    "unchanged": [HOT],
    "renamed": [{**HOT, "name": "renamed"}],
    "threshold": [{**HOT, "above": 90}],
    "removed": [COLD],
}


def assert_ended_once(states: list[str]) -> None:
    """An alert that was published before a crash: what was in flight may be published again, and then it ends, once."""
    assert states.count("resolved") == 1 and states[-1] == "resolved", states
    assert set(states) == {"firing", "resolved"}, states


@pytest.mark.parametrize("change", CRASHES)
def test_a_rule_that_changes_at_a_crash_leaves_no_alert_open(tmp_path: Path, change: str) -> None:
    """The alert fires after the last snapshot. Its record is settled, or not, when the host is killed."""
    with Alerting(tmp_path, "restart") as made:
        for settled in (True, False):
            made.start([HOT])
            device = f"settled-{settled}"
            before = len(made.alerts())
            made.send(device, 85)
            alert = made.wait_for(before + 1)[before]["id"]
            if settled:
                wait_until(lambda: made.host.metric("pipeline_lag_records") == 0, "settlement")
            made.host.kill()
            made.start(CRASHES[change])
            made.send(device, 85)
            if change == "unchanged":
                made.wait_open(1, "hot")
                made.send(device, 20)
            wait_until(lambda: any(a["id"] == alert and a["state"] == "resolved" for a in made.alerts()), "the end")
            made.wait_open(0, "hot")
            assert_ended_once([a["state"] for a in made.alerts() if a["id"] == alert])
            if change == "renamed":
                made.wait_open(1, "renamed")
                made.send(device, 20)
                made.wait_open(0, "renamed")
            assert made.host.stop() == 0
        for other in {a["id"] for a in made.alerts()}:
            assert_ended_once([a["state"] for a in made.alerts() if a["id"] == other])


@pytest.mark.parametrize("change", CRASHES)
def test_a_rule_that_changes_at_a_crash_with_exactly_once_delivery(
    tmp_path: Path, timescale: Timescale, database: str, change: str
) -> None:
    """Alerts, their state and the positions are one transaction: each alert fires once and ends once."""
    readings = tmp_path / "in.ndjson"

    def write(rules: list[dict[str, object]]) -> PipelineHost:
        store: dict[str, object] = {"plugin": "timescale_sink", "url": timescale.url(database), "create": {}, "batch": {"delay": "5ms"}}
        configuration(
            tmp_path,
            delivery="exactly_once",
            sources={"lines": {"plugin": "file_source", "path": "in.ndjson", "follow": True}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "lines", "metrics": ["temperature"]},
                        "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": rules}},
            sinks={"out": {**store, "from": "alerts", "table": "alerts"}},
        )  # fmt: skip
        return PipelineHost(tmp_path / "pipeline.yaml", tmp_path)

    now = time.time() - 60

    def append(temperature: float) -> None:
        nonlocal now
        now += 1
        with readings.open("a") as file:
            file.write(json.dumps({"user_id": "u", "device_id": "d", "time": now, "temperature": temperature}) + "\n")

    def alerts() -> list[tuple[object, ...]]:
        """Return rule, state and id of each row, in the order of their times."""
        if not timescale.query("SELECT 1 FROM pg_tables WHERE tablename = 'alerts'", database=database):
            return []
        return timescale.query("SELECT rule, state, id::text FROM alerts ORDER BY time, state", database=database)

    append(20)
    append(85)
    with write([HOT]) as host:
        wait_until(lambda: len(alerts()) == 1, "the alert")
        host.kill()
    alert = alerts()[0][2]
    append(85)
    with write(CRASHES[change]) as host:
        if change == "unchanged":
            append(20)
        wait_until(lambda: ("hot", "resolved", alert) in alerts(), "the end")
        if change == "renamed":
            wait_until(lambda: len(alerts()) == 3, "the alert of the new rule")
            append(20)
            wait_until(lambda: len(alerts()) == 4, "its end")
        assert host.stop() == 0
    found = alerts()
    ids = {row[2] for row in found}
    assert len(ids) == (2 if change == "renamed" else 1), found
    for one in ids:
        assert sorted(str(row[1]) for row in found if row[2] == one) == ["firing", "resolved"], found


def file_pipeline(directory: Path, rules: list[dict[str, object]], **more: object) -> Path:
    return configuration(
        directory,
        sources={"lines": {"plugin": "file_source", "path": "in.ndjson", "follow": True}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "lines", "metrics": ["temperature"]},
                    "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": rules, **more}},
        sinks={"out": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson", "batch": {"delay": "5ms"}}},
    )  # fmt: skip


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_stream_without_an_arrival_clock(tmp_path: Path, how: str) -> None:
    now = time.time()

    def append(device: str, temperature: float, at: float) -> None:
        with (tmp_path / "in.ndjson").open("a") as file:
            file.write(json.dumps({"user_id": "u", "device_id": device, "time": now + at, "temperature": temperature}) + "\n")

    def alerts() -> list[Alert]:
        return ndjson(tmp_path / "alerts.ndjson")

    append("a", 85, -100)
    append("b", 20, -90)
    host = PipelineHost(file_pipeline(tmp_path, [HOT, {**SILENT, "missing_for": "60s"}]), tmp_path)
    with host:
        wait_until(lambda: len(alerts()) == 3, "hot, and two silences")
        file_pipeline(tmp_path, [{**SILENT, "missing_for": "60s"}], group_by=["device_id"])
        if how == "reload":
            host.signal(signal.SIGHUP)
        else:
            assert host.stop() == 0
            host.start()
        wait_until(lambda: len(alerts()) == 6, "the ends")
        assert {a["state"] for a in alerts()[3:]} == {"resolved"}
        assert {a["id"] for a in alerts()[3:]} == {a["id"] for a in alerts()[:3]}
        assert host.stop() == 0


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_the_window_of_deduplicate_follows_its_options(tmp_path: Path, how: str) -> None:
    port = free_port()

    def write(**options: object) -> None:
        configuration(
            tmp_path,
            sources={"posted": {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/t"}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "posted", "metrics": ["n"],
                                   "columns": [{"name": "id", "type": "text", "from": ["id"]},
                                               {"name": "other", "type": "text", "from": ["other"]}]},
                        "unique": {"plugin": "deduplicate", "from": "parsed", **options}},
            sinks={"rows": {"plugin": "file_sink", "from": ["unique", "unique.duplicates"], "path": "rows.ndjson",
                            "batch": {"delay": "5ms"}},
                   "out": {"plugin": "file_sink", "from": "unique", "path": "unique.ndjson", "batch": {"delay": "5ms"}}},
        )  # fmt: skip

    stored = 0

    def send(identity: str, at: float, other: str = "-") -> None:
        nonlocal stored
        stored += 1
        row = {"user_id": "u", "device_id": "d", "time": 1_763_000_000 + at, "n": stored, "id": identity, "other": other}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("POST", "/t", json.dumps(row), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        wait_until(lambda: len(ndjson(tmp_path / "rows.ndjson")) >= stored, "the row")

    def unique() -> list[int]:
        return [row["n"] for row in ndjson(tmp_path / "unique.ndjson")]

    def change(**options: object) -> None:
        write(**options)
        if how == "reload":
            reloads = host.log().count("configuration reloaded")
            host.signal(signal.SIGHUP)
            wait_until(lambda: host.log().count("configuration reloaded") > reloads, "the reload")
        else:
            assert host.stop() == 0
            host.start()
        host.wait_ready()

    write(by=["id"], within="10m")
    with PipelineHost(tmp_path / "pipeline.yaml", tmp_path) as host:
        host.wait_ready()
        send("a", 0)
        send("b", 300)
        change(by=["id"], within="1h")
        send("a", 310)
        send("b", 310)
        assert unique() == [1, 2]
        change(by=["id"], within="60s", max_keys=1000)
        send("a", 100)  # outside the window now, although it does not advance the stream's time
        send("b", 310)
        assert unique() == [1, 2, 5]
        change(by=["other"], within="60s")
        host.wait_for_log("`by` was changed: the window of stream")
        send("x", 311, other="a")  # the value of another column before
        send("y", 311, other="a")
        wait_until(lambda: len(unique()) == 4, "a row")
        assert unique() == [1, 2, 5, 7]
        assert host.stop() == 0
