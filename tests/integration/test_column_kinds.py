# SPDX-License-Identifier: Apache-2.0
"""Kinds of columns, from the source to the table: `create` derives its types from them, and `validate` compares them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, run

from services import Kafka, Mosquitto, Record, Timescale, wait_until

START = 1_763_000_000_000
PARSED = {
    "plugin": "json_telemetry", "from": "in", "metrics": ["temperature", "battery"],
    "columns": [
        {"name": "status", "type": "text"}, {"name": "count", "type": "int"}, {"name": "on", "type": "bool"},
        {"name": "meta", "type": "json"}, {"name": "seen", "type": "time"},
    ],
}  # fmt: skip
# What `create` makes of PARSED.
TYPES = {
    "time": "timestamp with time zone", "user_id": "text", "device_id": "text", "temperature": "double precision",
    "battery": "double precision", "status": "text", "count": "bigint", "on": "boolean", "meta": "jsonb",
    "seen": "timestamp with time zone", "extra": "jsonb",
}  # fmt: skip
LETTER_TYPES = {
    "time": "timestamp with time zone", "pipeline": "text", "node": "text", "reason": "text", "stream": "text",
    "position": "bigint", "topic": "text", "key": "bytea", "value": "bytea", "headers": "jsonb",
    "record_time": "timestamp with time zone", "record": "jsonb",
}  # fmt: skip


def reading(n: int, **more: object) -> str:
    return json.dumps({
        "user_id": "u", "device_id": f"d{n}", "time": START + n, "temperature": n / 4, "battery": 90, "status": "fine",
        "count": 9_007_199_254_740_993, "on": True, "meta": {"a": [n]}, "seen": START, "more": n, **more,
    })  # fmt: skip


class Database:
    def __init__(self, timescale: Timescale, name: str) -> None:
        self.url = timescale.url(name)
        self.query = lambda sql: timescale.query(sql, database=name)

    def types(self, table: str) -> dict[str, str]:
        return dict(self.query(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ))  # type: ignore[arg-type]  # fmt: skip

    def has(self, table: str) -> bool:
        return bool(self.query(f"SELECT 1 FROM pg_tables WHERE tablename = '{table}'"))

    def sink(self, table: str, **options: object) -> dict[str, Any]:
        return {"plugin": "timescale_sink", "url": self.url, "table": table, **options}


@pytest.fixture
def db(timescale: Timescale, database: str) -> Database:
    return Database(timescale, database)


def file_pipeline(directory: Path, lines: list[str], sink: dict[str, Any], **parts: object) -> Path:
    config = configuration(directory, **{
        "sources": {"in": {"plugin": "file_source", "path": "in.ndjson"}},
        "transforms": {"parsed": PARSED},
        "sinks": {"store": {"from": "parsed", **sink}},
        "dead_letters": {"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"},
        **parts,
    })  # fmt: skip
    (directory / "in.ndjson").write_text("".join(line + "\n" for line in lines))
    return config


def check(config: Path, *, connect: bool = True) -> tuple[int, str]:
    """Return the exit code and the output of `validate`."""
    done = run("validate", str(config), *(["--connect"] if connect else []), cwd=config.parent)
    return done.returncode, done.stdout + done.stderr


def finish(config: Path) -> str:
    """Run the pipeline to its end, and return its log."""
    with PipelineHost(config, config.parent) as host:
        assert host.wait() == 0, host.log()
        return host.log()


def test_create_derives_the_types_from_what_the_transform_declares(db: Database, tmp_path: Path) -> None:
    config = file_pipeline(tmp_path, [reading(n) for n in range(100)], db.sink("telemetry", create={}))
    code, output = check(config)
    assert code == 0, output
    assert not db.has("telemetry"), "validate changes nothing"
    finish(config)
    assert db.types("telemetry") == TYPES
    assert dead_letters(tmp_path) == []
    rows = db.query("SELECT count(*), sum(temperature), min(count), max(count), bool_and(\"on\"), min(status),"
                    " sum((meta->'a'->>0)::int), sum((extra->>'more')::int) FROM telemetry")  # fmt: skip
    assert rows == [(100, 99 * 100 / 8, 9_007_199_254_740_993, 9_007_199_254_740_993, True, "fine", 4950, 4950)]
    assert check(config)[0] == 0, "the table fits the pipeline that created it"


def test_validate_reports_each_column_whose_values_are_never_accepted(db: Database, tmp_path: Path) -> None:
    db.query(
        "CREATE TABLE telemetry (time bigint, user_id text, device_id text, temperature boolean, battery integer,"
        ' status double precision, count bytea, "on" integer, meta uuid, seen date, extra jsonb)'
    )
    config = file_pipeline(tmp_path, [], db.sink("telemetry"))
    code, output = check(config)
    assert code == 1
    wrong = {
        "time": ("bigint", "time"), "temperature": ("boolean", "float"), "status": ("double precision", "text"),
        "count": ("bytea", "int"), "on": ("integer", "bool"), "meta": ("uuid", "json"),
    }  # fmt: skip
    for column, (sql, kind) in wrong.items():
        assert f"column '{column}' ({sql}) accepts the kind" in output, output
        assert f"the field '{column}' has the kind {kind}, so every row with a value in it is rejected" in output
    assert "change the type of the column to timestamptz" in output
    assert output.count("is rejected; change the type of the column") == len(wrong) + 1
    assert "column 'battery' (integer) stores whole numbers only" in output, "a warning, because 90 fits"
    assert "all server checks passed" not in output

    db.query("DROP TABLE telemetry")
    db.query(
        "CREATE TABLE telemetry (time timestamptz, user_id text, device_id varchar(20), temperature real, battery"
        ' numeric, status text, count bigint, "on" boolean, meta json, seen date, extra text)'
    )
    code, output = check(config)
    assert (code, "all server checks passed" in output) == (0, True), output
    assert "rejected" not in output, "no false errors or warnings"


def test_times_in_a_bigint_column_become_dead_letters(db: Database, tmp_path: Path) -> None:
    db.query("CREATE TABLE telemetry (time bigint NOT NULL, device_id text, temperature double precision)")
    sink = db.sink("telemetry", unmapped="ignore", delivery="exactly_once")
    config = file_pipeline(tmp_path, [reading(n) for n in range(50)], sink)
    code, output = check(config)
    assert code == 1
    assert "pipeline.yaml:1:" in output
    assert "column 'time' (bigint) accepts the kinds int and float, but the field 'time' has the kind time" in output
    assert '"level":"error"' in next(line for line in finish(config).splitlines() if "column 'time' (bigint)" in line)
    assert db.query("SELECT count(*) FROM telemetry") == [(0,)]
    letters = dead_letters(tmp_path)
    assert len(letters) == 50
    assert all("'time' (bigint) accepts only whole numbers" in letter["reason"] for letter in letters)

    db.query("ALTER TABLE telemetry ALTER COLUMN time TYPE timestamptz USING to_timestamp(time / 1e9)")
    assert check(config)[0] == 0


def test_dead_letters_into_a_created_table(db: Database, kafka: Kafka, unique_name: str, tmp_path: Path) -> None:
    """From a transform and from a sink, with bytes that are not text, and headers with binary numbers."""
    db.query("CREATE TABLE telemetry (time timestamptz, device_id text, temperature float8 CHECK (temperature < 100))")
    kafka.create_topic(unique_name, partitions=1)
    bad = [b"not JSON", b"\x00\xff\x00", b'{"a": "\\u0000"}', b"", reading(500).encode()]
    headers = [("trace", b"abc"), ("number", b"\0\0\0\5"), ("bytes", b"\xff")]
    kafka.produce(unique_name, [Record(value, key=b"k\0", headers=headers) for value in bad] + [reading(1).encode()])
    config = configuration(
        tmp_path,
        sources={"in": {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": unique_name, "group": unique_name}},
        transforms={"parsed": PARSED},
        sinks={"store": {"from": "parsed", **db.sink("telemetry", unmapped="ignore", delivery="exactly_once")}},
        dead_letters=db.sink("dead_letters", create={}),
    )
    code, output = check(config)
    assert code == 0, output
    assert not db.has("dead_letters")
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: db.has("dead_letters") and db.query("SELECT count(*) FROM dead_letters") == [(5,)], "5 letters")
        wait_until(lambda: db.query("SELECT device_id FROM telemetry") == [("d1",)], "the good row")
        assert host.stop() == 0, host.log()
    assert db.types("dead_letters") == LETTER_TYPES
    assert db.query("SELECT hypertable_name::text FROM timescaledb_information.hypertables") == [("dead_letters",)]
    rows = db.query("SELECT position, node, encode(value, 'hex'), encode(key, 'hex'), headers->1->1->>'base64', topic,"
                    " record_time IS NOT NULL, record IS NULL, length(reason) > 10 FROM dead_letters ORDER BY position")  # fmt: skip
    assert rows == [
        (n, "store" if n == 4 else "parsed", value.hex(), b"k\0".hex(), "AAAABQ==", unique_name, True, n != 4, True)
        for n, value in enumerate(bad)
    ]
    code, output = check(config)
    assert code == 0, output
    kafka.delete_topic(unique_name)


def test_validate_compares_the_table_of_dead_letters(db: Database, tmp_path: Path) -> None:
    columns = ", ".join(f"{name} {sql}" for name, sql in LETTER_TYPES.items())
    db.query(f"CREATE TABLE letters ({columns})")
    config = file_pipeline(tmp_path, [], db.sink("telemetry", create={}), dead_letters=db.sink("letters"))
    code, output = check(config)
    assert code == 0, output
    db.query("ALTER TABLE letters ALTER COLUMN stream TYPE double precision USING NULL, ADD COLUMN must text NOT NULL")
    code, output = check(config)
    assert code == 1
    assert "column 'must' is NOT NULL and has no default, and no field is mapped to it" in output
    db.query("ALTER TABLE letters DROP COLUMN must")
    code, output = check(config)
    assert code == 1
    assert "column 'stream' (double precision) accepts the kinds int and float, but the field 'stream' has the kind text" in output


def test_alerts_into_a_created_table(db: Database, tmp_path: Path) -> None:
    rules = [{"name": "hot", "metric": "temperature", "above": 20, "labels": {"team": "a"}},
             {"name": "low", "metric": "count", "above": 5}]  # fmt: skip
    alerts = {"plugin": "threshold_alert", "from": "parsed", "group_by": ["device_id"], "rules": rules}
    config = file_pipeline(
        tmp_path, [reading(81)], {},
        transforms={"parsed": PARSED, "alerts": alerts},
        sinks={"store": {"from": "alerts", **db.sink("alerts", create={})}},
    )  # fmt: skip
    code, output = check(config)
    assert code == 0, output
    finish(config)
    assert dead_letters(tmp_path) == []
    types = db.types("alerts")
    assert {name: types[name] for name in ("value", "threshold", "labels", "since", "position", "device_id", "id")} == {
        "value": "double precision", "threshold": "double precision", "labels": "jsonb",
        "since": "timestamp with time zone", "position": "bigint", "device_id": "text", "id": "text",
    }  # fmt: skip
    rows = db.query("SELECT rule, value, threshold, labels->>'team' FROM alerts ORDER BY rule")
    assert rows == [("hot", 20.25, 20, "a"), ("low", 9_007_199_254_740_992, 5, None)]


def test_a_raw_source_into_a_created_table(
    db: Database, mosquitto: Mosquitto, unique_name: str, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path,
        sources={"in": {
            "plugin": "mqtt_source", "url": mosquitto.url(), "topic": f"{unique_name}/+", "segments": f"{unique_name}/{{device_id}}",
        }},
        sinks={"store": {"from": "in", **db.sink("raw", create={})}},
    )  # fmt: skip
    code, output = check(config)
    assert code == 0, output
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        mosquitto.publish(f"{unique_name}/d1", b"\x00\xff", qos=1)
        wait_until(lambda: db.query("SELECT count(*) FROM raw") == [(1,)], "the message")
        assert host.stop() == 0
    assert db.types("raw") == {
        "value": "bytea", "time": "timestamp with time zone", "topic": "text", "qos": "bigint", "retained": "boolean",
        "duplicate": "boolean", "id": "text", "device_id": "text",
    }  # fmt: skip
    assert db.query("SELECT encode(value, 'hex'), qos, retained, device_id FROM raw") == [("00ff", 1, False, "d1")]


def test_each_input_of_a_sink_is_compared(db: Database, tmp_path: Path) -> None:
    """A table that fits the readings, but not the alerts, which are written to it, too."""
    db.query("CREATE TABLE mixed (time timestamptz, device_id text, metric text, value text, temperature float8,"
             " position text, since bigint)")  # fmt: skip
    alerts = {"plugin": "threshold_alert", "from": "parsed", "rules": [{"name": "hot", "metric": "temperature", "above": 20}]}
    config = file_pipeline(
        tmp_path, [], {},
        transforms={"parsed": PARSED, "alerts": alerts},
        sinks={"store": {"from": ["parsed", "alerts"], **db.sink("mixed", unmapped="ignore")}},
    )  # fmt: skip
    code, output = check(config)
    assert code == 1
    assert "column 'since' (bigint) accepts the kinds int and float, but the field 'since' has the kind time" in output
    assert output.count("is rejected; change the type") == 1, output
    db.query("ALTER TABLE mixed DROP COLUMN since")
    assert check(config)[0] == 0


def test_validate_tries_out_create(db: Database, tmp_path: Path) -> None:
    types = {"status": "integer", "count": "numeric"}
    config = file_pipeline(tmp_path, [], db.sink("telemetry", create={"columns": types}))
    code, output = check(config)
    assert code == 1
    assert "column 'status' (integer) accepts the kinds int and float, but the field 'status' has the kind text" in output
    assert "column 'count'" not in output
    config = file_pipeline(tmp_path, [], db.sink("telemetry", create={"columns": {"status": "txet"}}))
    code, output = check(config)
    assert (code, 'type "txet" does not exist' in output) == (1, True), output
    db.query("CREATE ROLE reader LOGIN")
    db.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    reader = db.url.replace("://postgres", "://reader", 1)
    config = file_pipeline(tmp_path, [], {**db.sink("telemetry", create={}), "url": reader})
    code, output = check(config)
    db.query("DROP OWNED BY reader")
    db.query("DROP ROLE reader")
    assert (code, "permission denied for schema public" in output) == (1, True), output
    assert not db.has("telemetry")


def test_a_rule_that_can_never_fire_is_an_error(tmp_path: Path) -> None:
    rules = [{"name": "hot", "metric": "status", "above": 20}, {"name": "down", "metric": "status", "equals": "down"}]
    config = file_pipeline(
        tmp_path, [], {"plugin": "console_sink"},
        transforms={"parsed": PARSED, "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": rules}},
    )  # fmt: skip
    code, output = check(config, connect=False)
    assert code == 2
    assert "the column 'status' has the kind text; this option needs int or float" in output
    assert output.count("has the kind") == 1, "`equals` compares texts"


def test_validate_compares_a_strict_table_of_sqlite(tmp_path: Path) -> None:
    sink = {"plugin": "sqlite_sink", "path": "data.db", "table": "t", "columns": {"at": "time", "v": "temperature"}}
    config = file_pipeline(tmp_path, [reading(1)], sink)
    with sqlite3.connect(tmp_path / "data.db") as made:
        made.execute("CREATE TABLE t (at INTEGER, v REAL) STRICT")
    code, output = check(config)
    assert code == 1
    assert "column 'at' (INTEGER) of table 't' in data.db rejects every value of 'time', which has the kind time" in output
    assert check(file_pipeline(tmp_path, [reading(1)], {**sink, "time_as": "nanoseconds"}))[0] == 0
    finish(config)
    with sqlite3.connect(tmp_path / "data.db") as stored:
        assert stored.execute("SELECT at, v FROM t").fetchall() == [((START + 1) * 1_000_000, 0.25)]
