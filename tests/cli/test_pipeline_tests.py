# SPDX-License-Identifier: Apache-2.0
"""`pipeline-host test`: cases, differences, coverage, time, mistakes in cases; and the recipes of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import PROGRAM, SOURCE, run  # noqa: E402

RECIPES = sorted(
    file for file in (SOURCE / "docs/recipes").glob("*.yaml") if not file.name.endswith(".test.yaml")
)

PIPELINE = """name: oven
sources:
  devices: {plugin: mqtt_source, url: "mqtt://127.0.0.1:1", topics: ["devices/+"]}
transforms:
  parsed: {plugin: json_telemetry, from: devices, ids: [device_id], metrics: [temperature]}
  by: {plugin: route, from: parsed, routes: {hot: temperature > 30}}
  alerts:
    plugin: threshold_alert
    from: parsed
    group_by: [device_id]
    rules:
      - {name: overheating, metric: temperature, above: 80}
      - {name: silent, missing_for: 10m}
sinks:
  store: {plugin: timescale_sink, from: parsed, url: "postgresql://127.0.0.1:1/none", table: t}
  hot: {plugin: kafka_sink, from: by.hot, brokers: "127.0.0.1:1", topic: hot}
  notify: {plugin: mqtt_sink, from: alerts, url: "mqtt://127.0.0.1:1", topic: "alerts/{device_id}"}
"""


def reading(device: str, celsius: float, at: str = "12:00:00", **more: object) -> str:
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return f'{{value: {{device_id: {device}, ts: "2026-03-01T{at}Z", temperature: {celsius}}}{extra}}}'


def case(name: str, inputs: list[str], expect: str) -> str:
    lines = "".join(f"      - {item}\n" for item in inputs)
    return f"  - name: {name}\n    input:\n{lines}    expect:\n{expect}"


def write(directory: Path, cases: str, pipeline: str = PIPELINE) -> Path:
    file = directory / "oven.yaml"
    file.write_text(pipeline)
    (directory / "oven.test.yaml").write_text("now: 2026-03-01T12:00:00Z\ncases:\n" + cases)
    return file


def run_cases(directory: Path, cases: str, *options: str, pipeline: str = PIPELINE) -> subprocess.CompletedProcess[str]:
    file = write(directory, cases, pipeline)
    return run("test", file.name, *options, cwd=directory)


# ------------------------------------------------------------------------------------------------------- passing cases ---


def test_rows_alerts_and_outputs_are_compared_without_servers(tmp_path: Path) -> None:
    done = run_cases(
        tmp_path,
        case(
            "everything",
            [reading("a", 91.5), reading("b", 20)],
            """      sinks:
        store: [{device_id: a, temperature: 91.5, time: 2026-03-01T12:00:00Z}, {device_id: b, temperature: 20}]
        hot: {rows: [temperature > 90.0], count: 1}
        notify: [{rule: overheating, state: firing, where: value == 91.5}]
      outputs:
        parsed: {contains: [{device_id: b}], every: temperature > 0.0}
        by.otherwise: [{device_id: b}]
      alerts: [{device_id: a}]
""",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass  everything" in done.stdout
    assert "1 case: 1 passed, 0 failed" in done.stdout
    assert not (tmp_path / "state").exists()  # a test leaves nothing behind
    assert not (tmp_path / "dead-letters").exists()


def test_time_advances_only_as_the_case_says(tmp_path: Path) -> None:
    silent = "      alerts: [{rule: silent, device_id: a, state: firing, time: 2026-03-01T12:10:00Z}]\n"
    begin = time.monotonic()
    done = run_cases(
        tmp_path,
        case("not yet", [reading("a", 20), "advance: 9m"], "      alerts: []\n")
        + case("silent", [reading("a", 20), "advance: 11m"], silent)
        + case("a week", [reading("a", 20), "advance: 7d"], silent)
        + case(
            "it sends again",
            [reading("a", 20), "advance: 11m", reading("a", 20, "12:11:00")],
            "      alerts: [{state: firing}, {state: resolved}]\n",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert time.monotonic() - begin < 300, "a case does not wait for the time that it simulates"


def test_the_clock_of_a_case_decides_what_is_too_old(tmp_path: Path) -> None:
    done = run_cases(
        tmp_path,
        case(
            "from the past",
            [reading("a", 20, time="2040-01-01T00:00:00Z")],
            "      sinks: {store: []}\n      dead_letters: [{node: parsed, time: 2040-01-01T00:00:00Z}]\n",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lines_of_a_file_and_whole_files_are_records(tmp_path: Path) -> None:
    lines = '{"device_id":"a","ts":1772366400,"temperature":1}\n\n{"device_id":"b","ts":1772366400,"temperature":2}\r\n'
    (tmp_path / "in.ndjson").write_text(lines)
    (tmp_path / "one.json").write_text('{"device_id": "c",\n "ts": 1772366400,\n "temperature": 3}\n')
    done = run_cases(
        tmp_path,
        case(
            "files",
            ["{file: in.ndjson, topic: devices/x}", "{file: one.json, split: none}"],
            "      sinks: {store: [{device_id: a}, {device_id: b}, {device_id: c, temperature: 3}]}\n",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_columns_of_the_topic_are_computed_unless_they_are_given(tmp_path: Path) -> None:
    pipeline = PIPELINE.replace('topics: ["devices/+"]', 'topics: ["site/#"], segments: "site/{site}/up"').replace(
        "metrics: [temperature]}", "metrics: [temperature], keep: [site]}"
    )
    done = run_cases(
        tmp_path,
        case(
            "sites",
            [
                reading("a", 1, topic="site/berlin/up"),
                reading("b", 1, topic="site/berlin/up", site="paris"),
                reading("c", 1, topic="other"),
            ],
            """      sinks:
        store: [{device_id: a, site: berlin}, {device_id: b, site: paris}, {device_id: c, site: null}]
""",
        ),
        pipeline=pipeline,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_null_for_a_name_that_no_row_has_is_a_failure(tmp_path: Path) -> None:
    done = run_cases(
        tmp_path,
        case("misspelt", [reading("a", 20)], "      sinks: {store: [{device_id: a, temprature: null}]}\n")
        + case("right", [reading("a", "null")], "      sinks: {store: [{device_id: a, temperature: null}]}\n"),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no row has the column 'temprature', which is expected to be null; did you mean 'temperature'?" in done.stdout
    assert "1 passed, 1 failed" in done.stdout


def test_an_expression_that_yaml_reads_as_a_tag_is_an_error(tmp_path: Path) -> None:
    cases = case("tag", [reading("a", 20)], "      sinks:\n        store: [{where: !ok && temperature > 3}]\n")
    done = run_cases(tmp_path, cases)
    assert done.returncode == 2
    assert "oven.test.yaml:8:25: error: a value can't begin with '!': YAML reads '!ok' as a tag" in done.stderr
    done = run_cases(
        tmp_path,
        case("condition", [reading("a", 20)], "      alerts: []\n"),
        pipeline=PIPELINE.replace("hot: temperature > 30", "hot: !ok && temperature > 30"),
    )
    assert done.returncode == 2
    assert "oven.yaml:6:51: error: a value can't begin with '!'" in done.stderr


def test_topic_key_and_headers_reach_the_transforms(tmp_path: Path) -> None:
    pipeline = """name: k
sources: {in: {plugin: kafka_source, brokers: "127.0.0.1:1", topic: t, group: g}}
transforms:
  parsed:
    plugin: json_telemetry
    from: in
    ids: [site, device_id]
    ids_from: {key: "{site}:{device_id}"}
    time: {missing: message_time}
    metrics: [temperature]
    keep: [topic, headers]
sinks: {store: {plugin: file_sink, from: parsed, path: out.ndjson}}
"""
    cases = case(
        "columns",
        ['{topic: t, key: "b:th-1", headers: {trace: x1}, value: {temperature: 1.5}, time: 2026-03-01T12:30:00Z}'],
        """      sinks:
        store:
          - {site: b, device_id: th-1, time: 2026-03-01T12:30:00Z, topic: t, headers: {trace: x1}, temperature: 1.5}
""",
    )
    done = run_cases(tmp_path, cases, pipeline=pipeline)
    assert done.returncode == 0, done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------------- failing cases ---


def test_a_difference_shows_place_expectation_and_row(tmp_path: Path) -> None:
    done = run_cases(
        tmp_path,
        case(
            "wrong",
            [reading("a", 21.5), reading("b", 20)],
            """      sinks:
        store:
          - {device_id: a, temperature: 22, colour: red}
          - {device_id: b}
""",
        ),
    )
    assert done.returncode == 1
    assert "FAIL  wrong  oven.test.yaml:3:11" in done.stdout
    assert "sink 'store': row 1 differs  at oven.test.yaml:10:13" in done.stdout
    assert "    - temperature: 22\n    + temperature: 21.5\n" in done.stdout
    assert '    - colour: "red"\n    + colour: null (there is no such column)\n' in done.stdout
    assert 'row: {"time": "2026-03-01T12:00:00Z", "device_id": "a"' in done.stdout
    assert "row 2" not in done.stdout


def test_a_missing_row_does_not_make_the_others_differ(tmp_path: Path) -> None:
    rows = "[{device_id: a}, {device_id: x, temperature: 7}, {device_id: b}]"
    done = run_cases(
        tmp_path,
        case("missing", [reading("a", 1), reading("b", 2), reading("c", 3)], f"      sinks: {{store: {rows}}}\n"),
    )
    assert done.returncode == 1
    assert 'missing row 2' in done.stdout
    assert '- {"device_id": "x", "temperature": 7}' in done.stdout
    assert "unexpected row 3" in done.stdout
    assert len(re.findall(r"sink 'store':", done.stdout)) == 2


def test_an_unexpected_dead_letter_is_a_failure(tmp_path: Path) -> None:
    broken = "{value: '{broken'}"
    done = run_cases(tmp_path, case("rejected", [broken], "      sinks: {store: []}\n"))
    assert done.returncode == 1
    assert "dead letters: unexpected row 1" in done.stdout
    assert '"node": "parsed"' in done.stdout
    expected = "      dead_letters: [{node: parsed, value: '{broken'}]\n"
    assert run_cases(tmp_path, case("rejected", [broken], expected)).returncode == 0


def test_a_condition_that_fails_explains_why(tmp_path: Path) -> None:
    expect = "      sinks: {store: [{where: temperature > 30.0}, humidity > 1]}\n"
    done = run_cases(tmp_path, case("conditions", [reading("a", 21), reading("b", 22)], expect))
    assert done.returncode == 1
    assert "- where: temperature > 30.0\n    + where: it does not hold" in done.stdout
    assert "unknown column 'humidity'" in done.stdout


def test_any_order_contains_count_columns_and_every(tmp_path: Path) -> None:
    inputs = [reading("a", 1), reading("b", 2)]
    right = """      sinks: {store: {rows: [{device_id: b}, {device_id: a}], order: any}}
      outputs: {parsed: {columns: [extra, time, device_id, temperature], count: 2}}
"""
    done = run_cases(tmp_path, case("right", inputs, right))
    assert done.returncode == 0, done.stdout
    wrong = """      sinks: {store: {contains: [{device_id: c}], count: 3, columns: [time], every: temperature > 1.0}}
"""
    done = run_cases(tmp_path, case("wrong", inputs, wrong))
    assert done.returncode == 1
    assert '- {"device_id": "c"}' in done.stdout
    assert "2 rows instead of 3" in done.stdout
    assert "row 1 has other columns" in done.stdout
    assert "row 1 does not meet `every`" in done.stdout
    assert "row 2 does not meet" not in done.stdout


# ------------------------------------------------------------------------------------------ coverage, JUnit, selection ---


def test_coverage_lists_what_no_case_reached(tmp_path: Path) -> None:
    cold = case("cold", [reading("a", 1)], "      alerts: []\n")
    done = run_cases(tmp_path, cold)
    assert done.returncode == 0, done.stdout
    missing = re.findall(r"not reached: (.*)", done.stdout)
    assert missing == [
        "output by.hot", "output alerts.out", "rule alerts/overheating", "rule alerts/silent", "sink hot", "sink notify",
    ]  # fmt: skip
    assert run_cases(tmp_path, cold, "--require-coverage").returncode == 1
    hot = case("hot", [reading("a", 91), "advance: 11m"], "      alerts: [{rule: overheating}, {rule: silent}]\n")
    done = run_cases(tmp_path, cold + hot, "--require-coverage")
    assert done.returncode == 0, done.stdout
    assert "oven: 13 of 13 nodes, outputs and rules reached" in done.stdout


def test_junit_has_each_case_and_the_differences(tmp_path: Path) -> None:
    cases = case("good & <fast>", [reading("a", 1)], "      sinks: {store: [{device_id: a}]}\n")
    cases += case("bad", [reading("a", 1)], "      sinks: {store: []}\n")
    assert run_cases(tmp_path, cases, "--junit", "out.xml").returncode == 1
    suite = ET.parse(tmp_path / "out.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, bad = suite.findall("testcase")
    assert (good.get("name"), good.find("failure")) == ("good & <fast>", None)
    failure = bad.find("failure")
    assert failure is not None
    assert "unexpected row 1" in failure.get("message", "")
    assert '+ {"time"' in (failure.text or "")


def test_a_case_cannot_send_commands_to_the_terminal(tmp_path: Path) -> None:
    evil = "A\\e[31mB\\u009b31mC\\u202eD\\x7f"  # escapes of YAML
    done = run_cases(
        tmp_path,
        f"""  - name: "n{evil}"
    input:
      - {reading(f'"{evil}"', 20)}
    expect:
      sinks:
        store: [{{device_id: "x{evil}"}}]
""",
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.replace("\n", "").isprintable()
    assert "FAIL  nA\\x1b[31mB\\xc2\\x9b31mC\\xe2\\x80\\xaeD\\x7f  " in done.stdout
    assert '- device_id: "xA\\u001b[31mB\\u009b31mC\\u202eD\\u007f"' in done.stdout
    assert '+ device_id: "A\\u001b[31mB\\u009b31mC\\u202eD\\u007f"' in done.stdout


def test_junit_has_no_characters_that_xml_forbids(tmp_path: Path) -> None:
    cases = case("a \uffff\ufffe b", [reading("a", 1)], "      sinks: {store: [{device_id: \"x\\ufffe\\uffff\"}]}\n")
    assert run_cases(tmp_path, cases, "--junit", "out.xml").returncode == 1
    (failed,) = ET.parse(tmp_path / "out.xml").getroot().iter("testcase")
    assert failed.find("failure") is not None


def test_junit_attributes_have_no_character_that_controls_a_terminal(tmp_path: Path) -> None:
    evil = "A\\e[31mB\\u009b31mC\\u202eD\\x7f\\u200bE\\U000E0041"  # escapes of YAML
    expect = f"      sinks: {{store: [{{device_id: \"x{evil}\"}}]}}\n"
    cases = case(f'"n{evil}"', [reading(f'"{evil}"', 20)], expect)
    assert run_cases(tmp_path, cases, "--junit", "out.xml").returncode == 1
    (failed,) = ET.parse(tmp_path / "out.xml").getroot().iter("testcase")
    failure = failed.find("failure")
    assert failure is not None
    texts = [*failed.attrib.values(), *failure.attrib.values(), (failure.text or "").replace("\n", "")]
    assert [one for one in texts if not one.isprintable()] == []
    assert failed.get("name") == "nA\\x1b[31mB\\xc2\\x9b31mC\\xe2\\x80\\xaeD\\x7f\\xe2\\x80\\x8bE\\xf3\\xa0\\x81\\x81"


def test_a_fifo_is_not_an_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run_cases(tmp_path, case("c", ["{file: pipe}"], "      sinks: {store: {count: 0}}\n"))
    assert done.returncode == 2, done.stdout
    assert "it is not a regular file" in done.stderr


def test_the_payload_of_a_dead_letter_is_compared_as_a_string(tmp_path: Path) -> None:
    expect = "      dead_letters: [{node: parsed, where: \"string(value) == 'x'\"}]\n"
    done = run_cases(tmp_path, case("c", ["{value: x}"], expect))
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_selects_cases(tmp_path: Path) -> None:
    cases = case("first", [reading("a", 1)], "      alerts: []\n") + case("second", [reading("a", 1)], "      alerts: []\n")
    done = run_cases(tmp_path, cases, "--only", "sec")
    assert done.returncode == 0
    assert "first" not in done.stdout
    assert "1 case: 1 passed" in done.stdout
    assert run_cases(tmp_path, cases, "--only", "third").returncode == 2


def test_set_changes_the_pipeline(tmp_path: Path) -> None:
    cases = case("limit", [reading("a", 60)], "      alerts: [{threshold: 50}]\n")
    assert run_cases(tmp_path, cases).returncode == 1
    assert run_cases(tmp_path, cases, "--set", "transforms.alerts.rules[0].above=50").returncode == 0


def test_all_files_of_cases_beside_the_configuration_are_run(tmp_path: Path) -> None:
    file = write(tmp_path, case("one", [reading("a", 1)], "      alerts: []\n"))
    (tmp_path / "oven.more.test.yaml").write_text(
        "now: 2026-03-01T12:00:00Z\ncases:\n" + case("two", [reading("a", 1)], "      alerts: []\n")
    )
    done = run("test", file.name, cwd=tmp_path)
    assert "2 cases: 2 passed" in done.stdout
    done = run("test", file.name, "oven.more.test.yaml", cwd=tmp_path)
    assert "1 case: 1 passed" in done.stdout


def test_variables_of_the_configuration_are_set_by_the_cases(tmp_path: Path) -> None:
    pipeline = PIPELINE.replace("postgresql://127.0.0.1:1/none", "${ANY_DATABASE}").replace(
        '["devices/+"]', '["devices/+"], user: u, password: "${file:/no/such/secret}"'
    )
    cases = case("c", [reading("a", 1)], "      alerts: []\n")
    done = run_cases(tmp_path, cases, pipeline=pipeline)
    assert done.returncode == 2
    assert "ANY_DATABASE is not set" in done.stderr
    assert "under `environment`" in done.stderr
    cases += "environment: {ANY_DATABASE: 'postgresql://db/x'}\n"
    assert run_cases(tmp_path, cases, pipeline=pipeline).returncode == 0


# ------------------------------------------------------------------------------------------------------------ mistakes ---


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (case("c", [reading("a", 1)], "      sink: {}\n"), "unknown key 'sink'; did you mean 'sinks'?"),
        (case("c", ["{vale: 1}"], "      sinks: {}\n"), "the source 'devices' has no column 'vale'; did you mean 'value'?"),
        (case("c", ["advance: soon"], "      sinks: {}\n"), "'soon' is not a duration"),
        (case("c", [reading("a", 1)], "      sinks: {stor: []}\n"), "the pipeline has no sink 'stor'; did you mean 'store'?"),
        (case("c", [reading("a", 1)], "      outputs: {by.cold: []}\n"), "the pipeline has no transform or output 'by.cold'"),
        (case("c", ["{file: none.ndjson}"], "      sinks: {}\n"), "cannot read the file none.ndjson"),
        (case("c", ["{file: .}"], "      sinks: {store: {count: 0}}\n"), "it is not a regular file"),
        (case("c", ["{file: ., split: none}"], "      sinks: {store: {count: 0}}\n"), "it is not a regular file"),
        (case("c", ["{value: 1, time: today}"], "      sinks: {}\n"), "this is not a time"),
        (case("c", ["{value: 1, source: x}"], "      sinks: {}\n"), "the pipeline has no source 'x'"),
        ("  []\n", "there are no cases"),
    ],
)
def test_a_mistake_in_a_case_has_its_place(tmp_path: Path, cases: str, message: str) -> None:
    done = run_cases(tmp_path, cases)
    assert done.returncode == 2, done.stdout
    assert re.search(r"oven\.test\.yaml:\d+:\d+: error: ", done.stderr), done.stderr
    assert message in done.stderr


def test_a_configuration_with_errors_is_not_run(tmp_path: Path) -> None:
    cases = case("c", [reading("a", 1)], "      alerts: []\n")
    done = run_cases(tmp_path, cases, pipeline=PIPELINE.replace("temperature > 30", "temperatur > 30"))
    assert done.returncode == 2
    assert "unknown column 'temperatur'" in done.stderr


def test_without_cases_the_message_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "oven.yaml").write_text(PIPELINE)
    done = run("test", "oven.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "there are no test cases: write oven.test.yaml" in done.stderr


# ----------------------------------------------------------------------------------------------------- standard input ---


def test_file_source_reads_standard_input(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(
        """name: in
http: {listen: off}
sources: {lines: {plugin: file_source, path: '-'}}
transforms: {parsed: {plugin: json_telemetry, from: lines, ids: [device_id], metrics: [temperature]}}
sinks: {out: {plugin: file_sink, from: parsed, path: out.ndjson}}
"""
    )
    line = '{"device_id":"a","ts":1772366400,"temperature":1}\n'
    for _ in range(2):  # each run reads new records
        command = [str(PROGRAM), "run", "in.yaml"]
        done = subprocess.run(command, cwd=tmp_path, input=line * 3, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.ndjson").read_text().count("\n") == 6


# ------------------------------------------------------------------------------------------------------------- recipes ---


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda file: file.stem)
def test_the_cases_of_a_recipe_pass(recipe: Path, tmp_path: Path) -> None:
    done = run("test", str(recipe), "--require-coverage", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pages_of_recipes_show_their_files() -> None:
    assert len(RECIPES) >= 10
    index = (SOURCE / "docs/recipes/README.md").read_text()
    for recipe in RECIPES:
        page = recipe.with_suffix(".md").read_text()
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        assert blocks == [recipe.read_text(), recipe.with_suffix(".test.yaml").read_text()], recipe.name
        assert f"({recipe.stem}.md)" in index
