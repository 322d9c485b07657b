"""filter, route, map and unpivot in real pipelines: rows, dead letters, and what `validate` says. No server is needed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import PipelineHost, configuration, ndjson, run  # noqa: E402

from services import wait_until  # noqa: E402

READINGS: list[dict[str, Any]] = [
    {"device_id": "th-1", "user_id": "u", "timestamp": 1764000000, "temperature": 20, "humidity": 40, "ok": True},
    {"device_id": "th-2", "user_id": "u", "timestamp": 1764000001, "temperature": 35.5, "ok": True},
    {"device_id": "th-3", "user_id": "u", "timestamp": 1764000002, "temperature": -3, "humidity": 90, "ok": False},
    {"device_id": "th-4", "user_id": "u", "timestamp": 1764000003, "humidity": 50},
]

HEAD = """name: p
http: {listen: off}
sources:
  lines: {plugin: file_source, path: in.ndjson, follow: false}
dead_letters: {plugin: file_sink, path: dead.ndjson}
transforms:
  parsed:
    plugin: json_telemetry
    from: lines
    metrics: [temperature, humidity]
    columns: [{name: ok, type: bool}, {name: samples, type: json}]
"""


def pipeline(directory: Path, transforms: str, sinks: str, rows: list[dict[str, Any]] | None = None) -> Path:
    lines = [json.dumps(row) + "\n" for row in (READINGS if rows is None else rows)]
    (directory / "in.ndjson").write_text("".join(lines))
    file = directory / "p.yaml"
    file.write_text(HEAD + transforms + "sinks:\n" + sinks)
    return file


def read(directory: Path, name: str) -> list[dict[str, Any]]:
    file = directory / f"{name}.ndjson"
    return ndjson(file) if file.exists() else []


def devices(directory: Path, name: str) -> list[str]:
    return [row["device_id"] for row in read(directory, name)]


def run_to_end(file: Path) -> None:
    done = run("run", file.name, cwd=file.parent)
    assert done.returncode == 0, done.stderr


def test_filter_splits_rows_between_its_ports(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  warm: {plugin: filter, from: parsed, where: temperature > 10}\n",
        "  warm_rows: {plugin: file_sink, from: warm, path: warm.ndjson}\n"
        "  others: {plugin: file_sink, from: warm.rest, path: others.ndjson}\n",
    )
    run_to_end(file)
    assert devices(tmp_path, "warm") == ["th-1", "th-2"]
    assert devices(tmp_path, "others") == ["th-3", "th-4"]  # th-4 has no temperature


def test_route_has_the_ports_that_its_options_name(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  by: {plugin: route, from: parsed, routes: {hot: temperature > 30, cold: temperature < 5}}\n",
        "  hot: {plugin: file_sink, from: by.hot, path: hot.ndjson}\n"
        "  cold_or_other: {plugin: file_sink, from: [by.cold, by.otherwise], path: other.ndjson}\n",
    )
    checked = run("validate", file.name, cwd=tmp_path)
    assert (checked.returncode, "note:" in checked.stderr) == (0, False), checked.stderr
    run_to_end(file)
    assert devices(tmp_path, "hot") == ["th-2"]
    assert sorted(devices(tmp_path, "other")) == ["th-1", "th-3", "th-4"]


def test_a_port_that_does_not_exist_is_an_error_and_an_unread_one_a_note(tmp_path: Path) -> None:
    route = "  by: {plugin: route, from: parsed, routes: {hot: temperature > 30, cold: temperature < 5}}\n"
    wrong = run("validate", pipeline(tmp_path, route, "  s: {plugin: file_sink, from: by.hott, path: s}\n").name, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "note:" not in wrong.stderr  # the reader of `hot` is misspelt
    assert "p.yaml:14:32: error: 'by' (route) has no output 'hott'; did you mean 'hot'?" in wrong.stderr
    none = run("validate", pipeline(tmp_path, route, "  s: {plugin: file_sink, from: by, path: s}\n").name, cwd=tmp_path)
    assert none.returncode == 2
    assert "outputs are: hot, cold, otherwise" in none.stderr
    unread = run("validate", pipeline(tmp_path, route, "  s: {plugin: file_sink, from: by.hot, path: s}\n").name, cwd=tmp_path)
    assert unread.returncode == 0
    assert "note: nothing reads from 'by.cold', so its rows are discarded" in unread.stderr
    assert "note: nothing reads from 'by.otherwise'" in unread.stderr


def test_a_transform_that_nobody_reads_is_a_warning(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  warm: {plugin: filter, from: parsed, where: temperature > 10}\n",
        "  all: {plugin: file_sink, from: parsed, path: all.ndjson}\n",
    )
    checked = run("validate", file.name, cwd=tmp_path)
    assert checked.returncode == 0
    assert "warning: nothing reads from the transform 'warm', so its rows are discarded" in checked.stderr
    run_to_end(file)
    assert len(read(tmp_path, "all")) == 4


def test_map_computes_renames_and_drops_columns(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  mapped:\n    plugin: map\n    from: parsed\n"
        "    set:\n      fahrenheit: temperature * 9 / 5 + 32\n      label: device_id.upperAscii() + '!'\n"
        "    rename: {temperature: celsius}\n    keep: [device_id, celsius, fahrenheit, label]\n    errors: null\n",
        "  out: {plugin: file_sink, from: mapped, path: out.ndjson}\n",
    )
    run_to_end(file)
    rows = read(tmp_path, "out")
    assert [(row.get("celsius"), row.get("fahrenheit")) for row in rows] == [(20, 68), (35.5, 95.9), (-3, 26.6), (None, None)]
    assert rows[0]["label"] == "TH-1!"
    assert list(rows[0]) == ["device_id", "celsius", "fahrenheit", "label"]


def test_map_rejects_records_whose_expressions_fail(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  mapped: {plugin: map, from: parsed, errors: reject, set: {double: temperature * 2}}\n",
        "  out: {plugin: file_sink, from: mapped, path: out.ndjson}\n",
    )
    run_to_end(file)
    assert devices(tmp_path, "out") == ["th-1", "th-2", "th-3"]
    (letter,) = read(tmp_path, "dead")
    assert letter["reason"].startswith("'set.double': no such overload: null * int")
    assert json.loads(letter["value"])["device_id"] == "th-4"


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("{plugin: map, from: parsed, set: {x: temprature + 1}}",
         "p.yaml:12:43: error: unknown column 'temprature'; did you mean 'temperature'?"),
        ("{plugin: filter, from: parsed, where: 'ok && device_id > 3'}", "p.yaml:12:51: error: no such overload: string > int"),
        ("{plugin: filter, from: parsed, where: temperature}", "a condition must be a bool"),
        ("{plugin: map, from: parsed, drop: [humidty]}", "there is no column 'humidty' here; did you mean 'humidity'?"),
        ("{plugin: map, from: parsed, rename: {nope: x}}", "p.yaml:12:43: error: there is no column 'nope' here"),
        ("{plugin: unpivot, from: parsed, columns: [temp]}", "the input has no column 'temp'; did you mean 'temperature'?"),
        ("{plugin: route, from: parsed, routes: {a b: ok}}", "'a b' is not a valid route name"),
    ],
)  # fmt: skip
def test_mistakes_are_found_by_validate(tmp_path: Path, transform: str, message: str) -> None:
    file = pipeline(tmp_path, f"  x: {transform}\n", "  out: {plugin: file_sink, from: parsed, path: out.ndjson}\n")
    checked = run("validate", file.name, cwd=tmp_path)
    assert checked.returncode == 2
    assert message in checked.stderr


def test_a_variable_that_is_not_set_in_a_condition_is_one_error(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  x: {plugin: filter, from: parsed, where: '${NO_SUCH_VARIABLE} > 3'}\n"
        "  y: {plugin: filter, from: parsed, where: temprature > 3}\n",
        "  out: {plugin: file_sink, from: x, path: out.ndjson}\n  other: {plugin: file_sink, from: y, path: y.ndjson}\n",
    )
    checked = run("validate", file.name, cwd=tmp_path)
    assert checked.returncode == 2
    assert "the variable NO_SUCH_VARIABLE is not set" in checked.stderr
    assert "unexpected the end" not in checked.stderr


def test_computed_columns_are_known_to_the_nodes_below(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  mapped: {plugin: map, from: parsed, set: {label: device_id + '!'}}\n"
        "  next: {plugin: filter, from: mapped, where: label > 3}\n",
        "  out: {plugin: file_sink, from: next, path: out.ndjson}\n",
    )
    checked = run("validate", file.name, cwd=tmp_path)
    assert checked.returncode == 2
    assert "no such overload: string > int" in checked.stderr


def test_unpivot_makes_a_row_for_each_metric(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  narrow: {plugin: unpivot, from: parsed, columns: [temperature, humidity], keep: [device_id]}\n",
        "  out: {plugin: file_sink, from: narrow, path: out.ndjson}\n",
    )
    run_to_end(file)
    assert [(row["device_id"], row["metric"], row["value"]) for row in read(tmp_path, "out")] == [
        ("th-1", "temperature", 20), ("th-1", "humidity", 40), ("th-2", "temperature", 35.5),
        ("th-3", "temperature", -3), ("th-3", "humidity", 90), ("th-4", "humidity", 50),
    ]  # fmt: skip


def test_a_list_is_exploded(tmp_path: Path) -> None:
    record = {"device_id": "d", "user_id": "u", "timestamp": 1764000000, "samples": [{"v": 1}, {"v": 2.5}, {"v": "x"}]}
    file = pipeline(
        tmp_path,
        "  each: {plugin: unpivot, from: parsed, explode: samples, index: place, keep: [device_id]}\n"
        "  value: {plugin: map, from: each, set: {v: double(samples.v)}, drop: [samples], errors: reject}\n",
        "  out: {plugin: file_sink, from: value, path: out.ndjson}\n",
        [record],
    )
    run_to_end(file)
    assert [(row["place"], row["v"]) for row in read(tmp_path, "out")] == [(0, 1), (1, 2.5)]
    (letter,) = read(tmp_path, "dead")
    assert letter["reason"].startswith("'set.v': ")


def test_an_alert_rule_with_a_condition_and_one_with_a_computed_threshold(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        "  limits: {plugin: map, from: parsed, set: {limit_high: \"device_id == 'th-1' ? 10.0 : 100.0\"}}\n"
        "  alerts:\n    plugin: threshold_alert\n    from: limits\n    rules:\n"
        "      - {name: damp, when: humidity > 80 && temperature < 0}\n"
        "      - {name: high, metric: temperature, above: limit_high}\n",
        "  out: {plugin: file_sink, from: alerts, path: out.ndjson}\n",
    )
    run_to_end(file)
    assert [(row["rule"], row["device_id"], row.get("threshold")) for row in read(tmp_path, "out")] == [
        ("high", "th-1", 10), ("damp", "th-3", None),
    ]  # fmt: skip


def test_a_reload_changes_the_ports_of_a_running_route(tmp_path: Path) -> None:
    """Index 0 of the ports becomes another route; a reload with a port that does not exist keeps the old configuration."""
    names = ("hot", "low", "other")

    def write(routes: dict[str, str], sinks: dict[str, str]) -> Path:
        return configuration(
            tmp_path,
            sources={"in": {"plugin": "file_source", "path": "in.ndjson", "follow": True}},
            transforms={
                "parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["n"]},
                "by": {"plugin": "route", "from": "parsed", "routes": routes},
            },
            sinks={
                name: {"plugin": "file_sink", "from": f"by.{port}", "path": f"{name}.ndjson", "batch": {"delay": "10ms"}}
                for name, port in sinks.items()
            },
            dead_letters={"plugin": "file_sink", "path": "dead.ndjson"},
        )

    def append(first: int) -> None:
        with (tmp_path / "in.ndjson").open("a") as file:
            for n in range(first, first + 100):
                record = {"device_id": "d", "user_id": "u", "timestamp": 1764000000 + n, "n": n % 100}
                file.write(json.dumps(record) + "\n")

    def counts() -> tuple[int, ...]:
        return tuple(len(read(tmp_path, name)) for name in names)

    append(0)
    config = write({"hot": "n > 50"}, {"hot": "hot", "other": "otherwise"})
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: counts() == (49, 0, 51), "the first rows")
        write({"low": "n < 10", "hot": "n > 50"}, {"hot": "hot", "low": "low", "other": "otherwise"})
        host.signal(signal.SIGHUP)
        wait_until(lambda: host.metric("pipeline_config_reloads_total", result="ok") == 1, "the reload")
        append(100)
        wait_until(lambda: counts() == (98, 10, 92), "the rows after the reload")
        write({"low": "n < 10", "hot": "n > 50"}, {"hot": "hot", "low": "lower", "other": "otherwise"})
        host.signal(signal.SIGHUP)
        wait_until(lambda: host.metric("pipeline_config_reloads_total", result="failed") == 1, "the refused reload")
        append(200)
        wait_until(lambda: counts() == (147, 20, 133), "the rows after the refused reload")
        assert "'by' (route) has no output 'lower'; outputs are: low, hot, otherwise" in host.log()
        assert host.stop() == 0
    assert counts() == (147, 20, 133)
