# SPDX-License-Identifier: Apache-2.0
"""`pipeline-host replay`: a part of the past once more, beside the host that runs the pipeline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Kafka, Record, Timescale, wait_until

START = 1_763_000_000_000  # of the records, milliseconds
KEEP = {"retention.ms": -1}  # they are of last year
QUICK = {"topic.metadata.refresh.interval.ms": 500, "session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
COUNT = 4000
PARTITIONS = 4


def record(n: int) -> Record:
    """Each tenth device is too hot for a while; each 500th record is broken."""
    value = {"user_id": "u", "device_id": f"d{n % 40}", "time": START + n, "temperature": 90.5 if is_hot(n) else 20.5}
    text = b"{broken" if is_broken(n) else json.dumps(value).encode()
    return Record(value=text, partition=n % PARTITIONS, timestamp_ms=START + n)


def is_broken(n: int) -> bool:
    return n % 500 == 7


def is_hot(n: int) -> bool:
    return n % 10 == 0 and 1000 <= n < 2000


GOOD = sum(not is_broken(n) for n in range(COUNT))
HOT_DEVICES = len({n % 40 for n in range(COUNT) if is_hot(n)})  # each fires once, and resolves once


class Stage:
    def __init__(self, kafka: Kafka, timescale: Timescale, database: str, folder: Path) -> None:
        self.kafka, self.topic, self.folder = kafka, database, folder
        self.query = lambda sql: timescale.query(sql, database=database)
        self.alerts = folder / "alerts.ndjson"
        self.query("CREATE TABLE telemetry (time timestamptz, device_id text, temperature float8, PRIMARY KEY (device_id, time))")
        kafka.create_topic(self.topic, partitions=PARTITIONS, config=KEEP)
        kafka.produce(self.topic, [record(n) for n in range(COUNT)])
        columns = {"time": "time", "device_id": "device_id", "temperature": "temperature"}
        self.config = configuration(
            folder,
            sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": self.topic, "group": self.topic,
                            "properties": QUICK}},
            transforms={
                "parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["temperature"], "extra": "off"},
                "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": [
                    {"name": "hot", "metric": "temperature", "above": 80, "severity": "critical"}]},
            },
            sinks={
                "store": {"plugin": "timescale_sink", "from": "parsed", "url": timescale.url(database),
                          "table": "telemetry", "columns": columns, "delivery": "exactly_once",
                          "conflict": "ignore", "key": ["device_id", "time"]},
                "notify": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"},
            },
        )  # fmt: skip
        self.host = PipelineHost(self.config, folder)

    def stored(self) -> int:
        return int(str(self.query("SELECT count(*) FROM telemetry")[0][0]))

    def traces(self) -> object:
        """What nobody but the host may change."""
        positions = self.query("SELECT sink, stream, next, epoch FROM pipeline_positions ORDER BY 1, 2")
        return positions, self.kafka.group_offsets(self.topic), self.alerts.read_bytes(), dead_letters(self.folder)

    def replay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run("replay", str(self.config), *arguments, cwd=self.folder)
        print(done.stdout, done.stderr)
        return done


@pytest.fixture
def stage(kafka: Kafka, timescale: Timescale, database: str, tmp_path: Path) -> Iterator[Stage]:
    """All is stored, and the host runs on."""
    stage = Stage(kafka, timescale, database, tmp_path)
    with stage.host:
        wait_until(lambda: stage.stored() == GOOD, "every good record stored")
        wait_until(lambda: len(ndjson(stage.alerts)) == 2 * HOT_DEVICES, "alerts")
        committed = lambda: sum(c.offset for c in kafka.group_offsets(stage.topic).values())  # noqa: E731
        wait_until(lambda: committed() == COUNT, "commits")
        yield stage


def test_what_was_deleted_comes_back_once_and_nothing_else_changes(stage: Stage) -> None:
    stage.query("DELETE FROM telemetry WHERE device_id IN ('d0', 'd1', 'd2', 'd3', 'd4') OR temperature > 80")
    before, gone = stage.traces(), GOOD - stage.stored()
    assert gone > 500
    done = stage.replay("--from", "beginning")
    assert done.returncode == 0
    assert f"once more {COUNT:,} records of 'in'" in done.stdout
    assert f"{stage.topic}/2  0 to 1000 (of 0 to 1000): 1,000" in done.stdout
    assert "left out: notify (unique_by: lines that are there already would be appended once more" in done.stdout
    assert f"read: {COUNT:,} records" in done.stdout
    assert f"store: {GOOD:,} rows written" in done.stdout
    assert stage.stored() == GOOD
    assert stage.traces() == before
    letters = ndjson(stage.folder / "dead-letters" / "test.replay.ndjson")
    assert len(letters) == COUNT - GOOD
    assert f"rejected: {COUNT - GOOD} records; letters (those that weren't there yet) are in" in done.stdout
    # Once more: nothing is added, neither rows nor letters.
    assert stage.replay("--from", "0").returncode == 0
    assert stage.stored() == GOOD
    assert len(ndjson(stage.folder / "dead-letters" / "test.replay.ndjson")) == len(letters)


def test_a_window_of_time_and_of_partitions(stage: Stage) -> None:
    stage.query("DELETE FROM telemetry")
    begin = "2025-11-13T02:13:21Z"  # START + 1 s
    done = stage.replay("--from", begin, "--to", "2025-11-13T02:13:21.500Z", "--partition", "1", "--partition", "3")
    assert done.returncode == 0
    assert "once more 250 records" in done.stdout
    rows = stage.query("SELECT round(extract(epoch FROM time) * 1000)::bigint FROM telemetry ORDER BY 1")
    wanted = [n for n in range(1000, 1500) if n % PARTITIONS in (1, 3) and not is_broken(n)]
    assert [int(str(ms)) - START for (ms,) in rows] == wanted
    done = stage.replay("--from", "10", "--to", "20", "--stream", f"{stage.topic}/0")
    assert "once more 10 records" in done.stdout
    assert stage.stored() == len(wanted) + 10
    # A host that runs reads what comes; a replay ends where it stands.
    nothing = stage.replay("--from", "1h")
    assert nothing.returncode == 0
    assert "once more 0 records" in nothing.stdout


def test_a_dry_run_shows_alerts_and_has_no_side_effect(stage: Stage) -> None:
    before, rows = stage.traces(), stage.stored()
    files = sorted(p for p in stage.folder.rglob("*") if p != stage.host.log_file)
    rule = "transforms.alerts.rules[0].above=30"
    done = stage.replay("--from", "beginning", "--dry-run", "--set", rule)
    assert done.returncode == 0
    assert f"a dry run through {COUNT:,} records" in done.stdout
    assert f"store: {GOOD:,} rows would be written" in done.stdout
    assert f"rejected: {COUNT - GOOD} records\n" in done.stdout
    assert f"{COUNT - GOOD:>10}  parsed: " in done.stdout
    assert "alerts that the rules would have raised:" in done.stdout
    assert "2025-11-13T02:13:21Z  firing    critical  hot: temperature is 90.5, above 30  (user_id u, device_id d0)" in done.stdout
    events = [json.loads(line) for line in stage.replay("--from", "0", "--dry-run", "--format", "ndjson").stdout.splitlines()]
    assert len(events) == 2 * HOT_DEVICES
    assert {e["id"] for e in events} == {e["id"] for e in ndjson(stage.alerts)}, "the same alerts as those that were sent"
    colder = stage.replay("--from", "0", "--dry-run", "--set", "transforms.alerts.rules[0].above=99")
    assert "alerts: none" in colder.stdout
    assert stage.traces() == before
    assert stage.stored() == rows
    assert sorted(p for p in stage.folder.rglob("*") if p != stage.host.log_file) == files


def test_a_sink_that_would_have_them_twice_is_asked_for_by_name(stage: Stage) -> None:
    alerts = len(ndjson(stage.alerts))
    asked = stage.replay("--from", "0", "--sink", "notify")
    assert asked.returncode == 2
    assert "notify will have them twice" in asked.stderr
    assert len(ndjson(stage.alerts)) == alerts
    assert stage.replay("--from", "0", "--sink", "notify", "--yes").returncode == 0
    assert len(ndjson(stage.alerts)) == 2 * alerts
    refused = stage.replay("--from", "0", "--set", "sinks.store.conflict=error", "--set", "sinks.store.key=[]")
    assert refused.returncode == 2
    assert "every sink would have these records twice:" in refused.stderr
    assert "store: conflict: rows that are there already would be added once more; with 'conflict: ignore'" in refused.stderr


def test_an_order_to_the_group_is_refused_while_a_host_runs_and_obeyed_after(stage: Stage) -> None:
    refused = stage.replay("--from", "900", "--order", "--yes")
    assert refused.returncode == 1
    assert "has members: stop the hosts first" in refused.stderr
    assert stage.host.stop() == 0
    stage.query("DELETE FROM telemetry")
    done = []

    def ordered() -> bool:  # the broker keeps a static member's place until its session is over
        done.append(stage.replay("--from", "900", "--order", "--yes"))
        return done[-1].returncode == 0

    wait_until(ordered, "the order", 60)
    assert f"from there on the next start reads {PARTITIONS * 100} records" in done[-1].stdout
    with stage.host:
        wanted = sum(not is_broken(n) for n in range(COUNT) if n // PARTITIONS >= 900)
        wait_until(lambda: stage.stored() == wanted, "rows from the order on")
        assert stage.host.stop() == 0
    assert stage.stored() == wanted


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--from", "yesterday"], 1, "--from yesterday is neither a time"),
        (["--from", "0", "--to", "soon"], 1, "--to soon is neither a time"),
        (["--from", "0", "--sink", "stoer"], 2, "--sink stoer: the source reaches no such sink; it reaches: store, notify"),
        (["--from", "0", "--partition", "7"], 1, "there is no such partition"),
        (["--from", "0", "--set", "sources.in.topic=elsewhere"], 1, "elsewhere"),
        (["--from", "0", "--set", "sources.in.plugin=simulator_source"], 2, "can"),
    ],
)  # fmt: skip
def test_what_can_not_be(stage: Stage, arguments: list[str], code: int, message: str) -> None:
    done = stage.replay(*arguments)
    assert done.returncode == code
    assert message in done.stderr


def test_deleted_and_transactional_records_do_not_hold_it_up(stage: Stage, kafka: Kafka) -> None:
    kafka.delete_records(stage.topic, {0: 600})
    done = stage.replay("--from", "100")
    assert done.returncode == 0
    assert f"{stage.topic}/0 begins at 600: what was before is not kept any more" in done.stdout
    assert "once more 3,100 records" in done.stdout
