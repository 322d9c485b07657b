# SPDX-License-Identifier: Apache-2.0
"""`pipeline-host replay`: process past records again while a host runs the pipeline."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Kafka, Record, Timescale, wait_until

START = 1_763_000_000_000  # time of the first record, in milliseconds since 1970
KEEP = {"retention.ms": -1}  # retention would delete the records, whose times are in the past
# The source detects new topics quickly, and the broker removes stopped hosts quickly.
QUICK = {"topic.metadata.refresh.interval.ms": 500, "session.timeout.ms": 10_000, "heartbeat.interval.ms": 300}
COUNT = 4000
PARTITIONS = 4


def record(n: int) -> Record:
    """Return record n. Every tenth device exceeds the threshold for a while; every 500th record is broken."""
    value = {"user_id": "u", "device_id": f"d{n % 40}", "time": START + n, "temperature": 90.5 if is_hot(n) else 20.5}
    text = b"{broken" if is_broken(n) else json.dumps(value).encode()
    return Record(value=text, partition=n % PARTITIONS, timestamp_ms=START + n)


def is_broken(n: int) -> bool:
    return n % 500 == 7


def is_hot(n: int) -> bool:
    return n % 10 == 0 and 1000 <= n < 2000


GOOD = sum(not is_broken(n) for n in range(COUNT))
HOT_DEVICES = len({n % 40 for n in range(COUNT) if is_hot(n)})  # each raises one alert, which resolves once


class Stage:
    """A topic with records, an empty table, and a host that is not started yet."""

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

    def host_data(self) -> object:
        """Return the data that only the host may change."""
        positions = self.query("SELECT sink, stream, next, epoch FROM pipeline_positions ORDER BY 1, 2")
        return positions, self.kafka.group_offsets(self.topic), self.alerts.read_bytes(), dead_letters(self.folder)

    def replay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run("replay", str(self.config), *arguments, cwd=self.folder)
        print(done.stdout, done.stderr)
        return done


@pytest.fixture
def stage(kafka: Kafka, timescale: Timescale, database: str, tmp_path: Path) -> Iterator[Stage]:
    """Start a host, and wait until it has stored and committed all records of the topic."""
    stage = Stage(kafka, timescale, database, tmp_path)
    with stage.host:
        wait_until(lambda: stage.stored() == GOOD, "every good record")
        wait_until(lambda: len(ndjson(stage.alerts)) == 2 * HOT_DEVICES, "the alerts")
        committed = lambda: sum(c.offset for c in kafka.group_offsets(stage.topic).values())  # noqa: E731
        wait_until(lambda: committed() == COUNT, "the commits")
        yield stage


def test_deleted_rows_are_stored_again_once_and_nothing_else_changes(stage: Stage) -> None:
    stage.query("DELETE FROM telemetry WHERE device_id IN ('d0', 'd1', 'd2', 'd3', 'd4') OR temperature > 80")
    before = stage.host_data()
    assert GOOD - stage.stored() > 500
    done = stage.replay("--from", "beginning")
    assert done.returncode == 0
    assert f"replaying {COUNT:,} records of 'in'" in done.stdout
    assert f"{stage.topic}/2  0 to 1000 (retained: 0 to 1000): 1,000 records" in done.stdout
    assert "left out: notify (unique_by: lines that are already in the file would be appended again" in done.stdout
    assert f"read: {COUNT:,} records" in done.stdout
    assert f"store: {GOOD:,} rows written" in done.stdout
    assert stage.stored() == GOOD
    assert stage.host_data() == before
    rejected = ndjson(stage.folder / "dead-letters" / "test.replay.ndjson")
    assert len(rejected) == COUNT - GOOD
    assert f"rejected: {COUNT - GOOD} records; new dead letters are in" in done.stdout
    # A second replay adds neither rows nor dead letters.
    assert stage.replay("--from", "0").returncode == 0
    assert stage.stored() == GOOD
    assert len(ndjson(stage.folder / "dead-letters" / "test.replay.ndjson")) == len(rejected)


def test_a_replay_is_limited_to_a_time_range_and_to_partitions(stage: Stage) -> None:
    stage.query("DELETE FROM telemetry")
    begin = "2025-11-13T02:13:21Z"  # START + 1 s
    done = stage.replay("--from", begin, "--to", "2025-11-13T02:13:21.500Z", "--partition", "1", "--partition", "3")
    assert done.returncode == 0
    assert "replaying 250 records" in done.stdout
    rows = stage.query("SELECT round(extract(epoch FROM time) * 1000)::bigint FROM telemetry ORDER BY 1")
    wanted = [n for n in range(1000, 1500) if n % PARTITIONS in (1, 3) and not is_broken(n)]
    assert [int(str(ms)) - START for (ms,) in rows] == wanted
    done = stage.replay("--from", "10", "--to", "20", "--stream", f"{stage.topic}/0")
    assert "replaying 10 records" in done.stdout
    assert stage.stored() == len(wanted) + 10
    # A replay ends at the position of the running host, which reads newer records itself.
    nothing = stage.replay("--from", "1h")
    assert nothing.returncode == 0
    assert "replaying 0 records" in nothing.stdout


def test_a_dry_run_shows_alerts_and_has_no_side_effect(stage: Stage) -> None:
    before, rows = stage.host_data(), stage.stored()
    files = sorted(p for p in stage.folder.rglob("*") if p != stage.host.log_file)
    rule = "transforms.alerts.rules[0].above=30"
    done = stage.replay("--from", "beginning", "--dry-run", "--set", rule)
    assert done.returncode == 0
    assert f"dry run with {COUNT:,} records" in done.stdout
    assert f"store: {GOOD:,} rows would be written" in done.stdout
    assert f"rejected: {COUNT - GOOD} records\n" in done.stdout
    assert f"{COUNT - GOOD:>10}  parsed: " in done.stdout
    assert "alerts that the rules would have raised:" in done.stdout
    assert "2025-11-13T02:13:21Z  firing    critical  hot: temperature of u/d0 is 90.5, above 30  (user_id u, device_id d0)" in done.stdout
    events = [json.loads(line) for line in stage.replay("--from", "0", "--dry-run", "--format", "ndjson").stdout.splitlines()]
    assert len(events) == 2 * HOT_DEVICES
    assert {e["id"] for e in events} == {e["id"] for e in ndjson(stage.alerts)}, "the same alerts as those that were sent"
    without_alerts = stage.replay("--from", "0", "--dry-run", "--set", "transforms.alerts.rules[0].above=99")
    assert "alerts: none" in without_alerts.stdout
    assert stage.host_data() == before
    assert stage.stored() == rows
    assert sorted(p for p in stage.folder.rglob("*") if p != stage.host.log_file) == files


def test_a_sink_that_would_store_duplicates_must_be_named(stage: Stage) -> None:
    alerts = len(ndjson(stage.alerts))
    unconfirmed = stage.replay("--from", "0", "--sink", "notify")
    assert unconfirmed.returncode == 2
    assert "notify will store these records twice" in unconfirmed.stderr
    assert len(ndjson(stage.alerts)) == alerts
    assert stage.replay("--from", "0", "--sink", "notify", "--yes").returncode == 0
    assert len(ndjson(stage.alerts)) == 2 * alerts
    refused = stage.replay("--from", "0", "--set", "sinks.store.conflict=error", "--set", "sinks.store.key=[]")
    assert refused.returncode == 2
    assert "every sink would store these records twice:" in refused.stderr
    assert "store: conflict: existing rows would be added again; to prevent this, set 'conflict: ignore'" in refused.stderr


def test_an_offset_reset_is_rejected_while_a_host_runs_and_applied_later(stage: Stage) -> None:
    refused = stage.replay("--from", "900", "--reset-offsets", "--yes")
    assert refused.returncode == 1
    assert "has members: stop the hosts first" in refused.stderr
    assert stage.host.stop() == 0
    stage.query("DELETE FROM telemetry")
    done = []

    def reset() -> bool:  # the broker keeps a static member until its session expires
        done.append(stage.replay("--from", "900", "--reset-offsets", "--yes"))
        return done[-1].returncode == 0

    wait_until(reset, "the offset reset")
    assert f"after the offset reset, the next start reads {PARTITIONS * 100} records" in done[-1].stdout
    with stage.host:
        wanted = sum(not is_broken(n) for n in range(COUNT) if n // PARTITIONS >= 900)
        wait_until(lambda: stage.stored() == wanted, "the rows after the offset reset")
        assert stage.host.stop() == 0
    assert stage.stored() == wanted


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--from", "yesterday"], 1, "--from yesterday is neither a time"),
        (["--from", "0", "--to", "soon"], 1, "--to soon is neither a time"),
        (["--from", "0", "--sink", "stoer"], 2, "--sink stoer: no such sink receives records of the source; sinks: store, notify"),
        (["--from", "0", "--partition", "7"], 1, "no partition matches --partition and --stream"),
        (["--from", "0", "--set", "sources.in.topic=elsewhere"], 1, "elsewhere"),
        (["--from", "0", "--set", "sources.in.plugin=simulator_source"], 2, "unknown option 'brokers'"),
    ],
)  # fmt: skip
def test_invalid_arguments_are_reported(stage: Stage, arguments: list[str], code: int, message: str) -> None:
    done = stage.replay(*arguments)
    assert done.returncode == code
    assert message in done.stderr


def test_a_replay_begins_at_the_first_retained_record(stage: Stage, kafka: Kafka) -> None:
    kafka.delete_records(stage.topic, {0: 600})
    done = stage.replay("--from", "100")
    assert done.returncode == 0
    assert f"{stage.topic}/0 begins at 600: earlier records are no longer retained" in done.stdout
    assert "replaying 3,100 records" in done.stdout


def in_transaction(kafka: Kafka, topic: str, numbers: range, *, commit: bool) -> None:
    """Write records to partition 0. Each transaction ends with a marker, which takes an offset."""
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.brokers, "transactional.id": f"{topic}-{numbers.start}"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for n in numbers:
        producer.produce(topic, record(n).value, partition=0, timestamp=START + n)
    producer.flush(60)
    producer.commit_transaction(60) if commit else producer.abort_transaction(60)


def test_positions_without_a_record_are_counted(stage: Stage, kafka: Kafka) -> None:
    each = COUNT // PARTITIONS
    in_transaction(kafka, stage.topic, range(COUNT, COUNT + 3), commit=True)
    in_transaction(kafka, stage.topic, range(COUNT + 3, COUNT + 5), commit=False)
    end = each + 3 + 1 + 2 + 1
    wait_until(lambda: kafka.group_offsets(stage.topic)[stage.topic, 0].offset == end, "the commit of the last marker")
    for first, records, none in ((each - 5, 8, 4), (each + 3, 0, 4)):
        done = stage.replay("--from", str(first), "--partition", "0", "--dry-run")
        assert done.returncode == 0
        assert f"dry run with {records + none} records" in done.stdout
        assert f"read: {records} records\n" in done.stdout
        assert f"{none} of {records + none} positions have no record to replay" in done.stdout
    whole = stage.replay("--from", "0", "--partition", "1", "--dry-run")
    assert f"read: {each:,} records\n" in whole.stdout
    assert "have no record" not in whole.stdout
