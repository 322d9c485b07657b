# SPDX-License-Identifier: Apache-2.0
"""Computed columns and `timescale_sink create`: the table has the types of the expressions, before any record arrives."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_host import configuration, run

from services import Timescale

TYPES = """SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"""


def test_a_table_is_created_with_the_types_of_computed_columns(tmp_path: Path, timescale: Timescale, database: str) -> None:
    record = {"device_id": "d", "user_id": "u", "timestamp": 1764000000, "temperature": 20, "humidity": 50.5}
    (tmp_path / "in.ndjson").write_text(json.dumps(record) + "\n")
    keep = ["time", "device_id"]
    to = {"plugin": "timescale_sink", "url": timescale.url(database), "create": {}, "batch": {"delay": "20ms"}}
    config = configuration(
        tmp_path,
        http={"listen": "off"},
        sources={"in": {"plugin": "file_source", "path": "in.ndjson", "follow": False}},
        transforms={
            "parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["temperature", "humidity"]},
            "mapped": {
                "plugin": "map", "from": "parsed", "rename": {"temperature": "celsius"},
                "set": {"fahrenheit": "temperature * 9 / 5 + 32", "hot": "temperature > 30", "n": "int(temperature)",
                        "label": "device_id + '!'", "later": "time + duration('1h')", "pair": "[temperature, humidity]"},
                "drop": ["extra", "user_id"],
            },
            "narrow": {"plugin": "unpivot", "from": "parsed", "columns": ["temperature", "humidity"], "keep": keep},
        },
        sinks={"wide": {**to, "from": "mapped", "table": "wide"}, "long": {**to, "from": "narrow", "table": "long"}},
    )  # fmt: skip
    (tmp_path / "in.ndjson").rename(tmp_path / "later.ndjson")
    (tmp_path / "in.ndjson").write_text("")
    checked = run("validate", "--connect", str(config), cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "later.ndjson").rename(tmp_path / "in.ndjson")
    done = run("run", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert dict(timescale.query(TYPES, "wide", database=database)) == {
        "time": "timestamp with time zone", "device_id": "text", "celsius": "double precision", "humidity": "double precision",
        "fahrenheit": "double precision", "hot": "boolean", "n": "bigint", "label": "text",
        "later": "timestamp with time zone", "pair": "jsonb",
    }  # fmt: skip
    assert dict(timescale.query(TYPES, "long", database=database)) == {
        "time": "timestamp with time zone", "device_id": "text", "metric": "text", "value": "double precision",
    }  # fmt: skip
    (row,) = timescale.query("SELECT celsius, fahrenheit, hot, n, label, pair FROM wide", database=database)
    assert row[:5] == (20, 68, False, 20, "d!")
    assert json.loads(str(row[5])) == [20, 50.5]
    assert timescale.query("SELECT metric, value FROM long ORDER BY 1", database=database) == [
        ("humidity", 50.5), ("temperature", 20),
    ]  # fmt: skip
