"""The command line as a person meets it: texts, exit codes, pipes, signals. No servers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import PROGRAM, SOURCE, PipelineHost, ndjson, run  # noqa: E402

from services import PATIENCE, wait_until  # noqa: E402

SHIPPED = {
    "console_sink": "sink", "deduplicate": "transform", "file_sink": "sink", "file_source": "source", "http_sink": "sink",
    "http_source": "source", "json_check": "transform",
    "json_telemetry": "transform",
    "kafka_sink": "sink", "kafka_source": "source", "mqtt_sink": "sink", "mqtt_source": "source",
    "simulator_source": "source",
    "sqlite_sink": "sink", "threshold_alert": "transform", "timescale_sink": "sink",
}  # fmt: skip


def configuration(directory: Path, text: str) -> Path:
    file = directory / "p.yaml"
    file.write_text("name: p\nhttp: {listen: off}\n" + text)
    return file


SIMPLE = """sources:
  devices: {plugin: simulator_source, count: %d, rate: %d}
sinks:
  out: {plugin: file_sink, from: devices, path: out.ndjson}
dead_letters: {plugin: file_sink, path: dead.ndjson}
"""


def test_every_verb_has_help() -> None:
    top = run("--help")
    assert top.returncode == 0
    for verb in ("run", "validate", "plugins", "dead-letters", "replay", "schema", "completion"):
        assert verb in top.stdout
        help_text = run(verb, "--help")
        assert help_text.returncode == 0
        assert "Usage: pipeline-host " + verb in help_text.stdout
        assert run("help", verb).stdout == help_text.stdout
    assert "Exit codes" in top.stdout


@pytest.mark.parametrize("verb", ["list", "show", "retry"])
def test_the_verbs_of_dead_letters_have_help(verb: str) -> None:
    shown = run("dead-letters", verb, "--help")
    assert shown.returncode == 0
    assert f"Usage: pipeline-host dead-letters {verb}" in shown.stdout
    assert "Exit codes" in shown.stdout


def test_version() -> None:
    shown = run("--version")
    assert shown.returncode == 0
    assert shown.stdout.startswith("pipeline-host 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "A subcommand is required"),
        (["rum"], "error: unknown verb 'rum'; did you mean 'run'?"),
        (["run"], "config is required"),
        (["run", "p.yaml", "--log-level", "loud"], "loud"),
        (["plugins", "describe"], "name is required"),
        (["dead-letters"], "A subcommand is required"),
        (["dead-letters", "list"], "from is required"),
        (["dead-letters", "list", "nowhere.ndjson"], "can't read nowhere.ndjson: No such file or directory"),
        (["dead-letters", "list", "nowhere.yaml"], "nowhere.yaml"),
        (["dead-letters", "list", "x.ndjson", "--since", "yesterday"], "--since yesterday is no time"),
        (["dead-letters", "show", "x.ndjson", "s", "first"], "position 'first' is no number"),
        (["dead-letters", "retry"], "config is required"),
        (["replay", "p.yaml"], "--from is required"),
        (["replay", "nowhere.yaml", "--from", "7d"], "nowhere.yaml"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], said: str) -> None:
    wrong = run(*arguments)
    assert wrong.returncode == 2
    assert said in wrong.stderr
    assert wrong.stdout == ""


def test_all_plugins_are_there() -> None:
    listed = run("plugins")
    assert listed.returncode == 0
    assert listed.stderr == ""
    assert {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()} == SHIPPED


@pytest.mark.parametrize("name", [*SHIPPED, "configuration", "metrics"])
def test_describe(name: str) -> None:
    text = run("plugins", "describe", name)
    assert text.returncode == 0
    assert len(text.stdout.splitlines()) > 5
    assert run("plugins", "describe", name, "--format", "markdown").returncode == 0


def test_describe_guesses() -> None:
    wrong = run("plugins", "describe", "timescal_sink")
    assert wrong.returncode == 2
    assert "did you mean 'timescale_sink'?" in wrong.stderr


def test_every_example_is_valid(tmp_path: Path) -> None:
    """A plugin's example.yaml is a whole configuration that `validate` accepts."""
    examples = sorted((SOURCE / "plugins").glob("*/example.yaml"))
    assert len(examples) == len(SHIPPED)
    for example in examples:
        checked = run("validate", str(example), cwd=tmp_path)
        assert checked.returncode == 0, f"{example}:\n{checked.stderr}"


@pytest.mark.parametrize("config", sorted((SOURCE / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_is_valid(config: Path, tmp_path: Path) -> None:
    checked = run("validate", str(config), cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_all_errors_at_once_with_place_and_fix(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE.replace("path: out.ndjson", "paht: out.ndjson") % (1, 0) + "lanse: 2\n")
    wrong = run("validate", "p.yaml", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "p.yaml:6:3: error: file_sink needs 'path'; write for example 'path: dead-letters/{pipeline}.ndjson'\n"
        "    6 |   out: {plugin: file_sink, from: devices, paht: out.ndjson}\n"
        "      |   ^~~\n"
        "p.yaml:6:43: error: unknown option 'paht' for file_sink; did you mean 'path'?\n"
        "    6 |   out: {plugin: file_sink, from: devices, paht: out.ndjson}\n"
        "      |                                           ^~~~\n"
        "p.yaml:8:1: error: unknown option 'lanse' for a pipeline; did you mean 'lanes'?\n"
        "    8 | lanse: 2\n"
        "      | ^~~~~\n"
        "3 errors\n"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    wrong = run("run", "nowhere.yaml", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "nowhere.yaml" in wrong.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file holds no pipeline: it is empty or all comments"),
        (b"\n# nothing\n", "the file holds no pipeline: it is empty or all comments"),
        (b"\0" * 100, "the file isn't text: it holds NUL bytes"),
        ("name: p".encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b"name: \xff\n", "UTF-8"),
        (b"name: p\n\tsources: {}\n", "tab"),
        (b"[" * 1_000_000, "nested too deeply: more than 64 levels"),
        (b"- " * 500_000, "nested too deeply: more than 64 levels"),
        (b"name: " + b"x" * 5_000_000, "the file is larger than 4 MiB"),
        (b"a: &a0 [x]\n" + b"".join(b"b%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)),
         "too many values"),
        (b'{"user_id": "u1", "temperature": 20}\n', "unknown option 'user_id'"),
    ],
    ids=["empty", "comments", "NUL", "UTF-16", "not UTF-8", "tabs", "brackets", "dashes", "large", "bomb", "telemetry"],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    got = run("validate", "p.yaml", cwd=tmp_path)
    assert got.returncode == 2
    assert said in got.stderr
    assert got.stderr.startswith("p.yaml:")
    assert len(got.stderr) < 5000


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    got = run("validate", ".", cwd=tmp_path)
    assert got.returncode == 2
    assert "is a directory; name a file in it" in got.stderr


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    configuration(
        tmp_path,
        SIMPLE % (1, 0) + "transforms:\n  x: {plugin: json_telemetry, from: devices, colums: '${file:secret}'}\n",
    )
    wrong = run("validate", "p.yaml", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "hunter2" not in wrong.stderr + wrong.stdout


def test_a_pipeline_that_ends_is_0(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE % (5000, 0))
    done = run("run", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 5000
    assert done.stdout == ""


def test_set_overrides(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE % (5000, 0))
    assert run("run", "p.yaml", "--set", "sources.devices.count=7", cwd=tmp_path).returncode == 0
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 7


def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    config = configuration(tmp_path, SIMPLE % (0, 5000))
    host = PipelineHost(config, tmp_path)
    with host:
        wait_until(lambda: (tmp_path / "out.ndjson").exists() and (tmp_path / "out.ndjson").stat().st_size > 100_000, "records")
        assert host.stop() == 0
    lines = (tmp_path / "out.ndjson").read_text().splitlines()
    assert all(json.loads(line)["value"] for line in lines)


def test_logs_in_json(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE % (10, 0))
    done = run("run", "p.yaml", "--log-format", "json", cwd=tmp_path)
    assert done.returncode == 0
    assert {json.loads(line)["level"] for line in done.stderr.splitlines()} <= {"info", "warn"}


def test_no_color_codes_when_it_is_no_terminal(tmp_path: Path) -> None:
    configuration(tmp_path, "sources: {}\n")
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    wrong = subprocess.run([PROGRAM, "validate", "p.yaml"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert b"\x1b" not in wrong.stderr
    assert wrong.returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = run("completion", shell)
    assert script.returncode == 0
    assert "pipeline-host" in script.stdout
    if shell == "bash":
        asked = script.stdout + "\nCOMP_WORDS=(pipeline-host va) COMP_CWORD=1; _pipeline_host; echo ${COMPREPLY[*]}"
        assert subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout == "validate\n"


def test_the_schema_is_json() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "sources" in schema["properties"]


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    config = configuration(tmp_path, SIMPLE % (0, 100))
    with PipelineHost(config, tmp_path) as first:
        first.wait_for_log("metrics and health")
        port = first.log().split("http://127.0.0.1:")[1].split("/")[0]
        second = run("run", "p.yaml", "--set", f"http.listen=127.0.0.1:{port}", "--set", "sinks.out.path=b.ndjson",
                     "--set", "dead_letters.path=c.ndjson", cwd=tmp_path)  # fmt: skip
        assert second.returncode == 1
        assert port in second.stderr
        first.signal(signal.SIGINT)
        assert first.wait() == 0


# Dead letters

LETTERS = """sources:
  lines: {plugin: file_source, path: in.ndjson}
transforms:
  parsed: {plugin: json_telemetry, from: lines}
sinks:
  out: {plugin: file_sink, from: parsed, path: out.ndjson}
dead_letters: {plugin: file_sink, path: "dead/{pipeline}.ndjson", unique_by: [stream, position, node]}
"""


def reading(device: int, temperature: object) -> str:
    return json.dumps({"user_id": "u", "device_id": f"d{device}", "timestamp": "2026-11-24T18:00:00Z", "temperature": temperature})


def letters_of(directory: Path) -> list[dict[str, Any]]:
    return ndjson(directory / "dead" / "p.ndjson")


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """A run with 10 records, of which 4 were rejected: 3 with a text as their temperature, and bytes that are no text."""
    lines = [reading(n, "hot" if n in (2, 5, 7) else 20 + n).encode() for n in range(9)]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([*lines, b"\xff\x00\x01"]) + b"\n")
    configuration(tmp_path, LETTERS)
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert len(ndjson(tmp_path / "out.ndjson")) == 6
    assert len(letters_of(tmp_path)) == 4
    return tmp_path


def test_letters_are_counted_by_node_and_reason(rejected: Path) -> None:
    for place in ("p.yaml", "dead/p.ndjson"):
        table = run("dead-letters", "list", place, cwd=rejected)
        assert table.returncode == 0, table.stderr
        head, first, second = table.stdout.splitlines()
        assert head.split() == ["COUNT", "FIRST", "LAST", "NODE", "REASON"]
        assert first.split()[0::3][:2] == ["3", "parsed"]
        assert "'temperature' is the text \"hot\"" in first
        assert second.split()[0] == "1"
    groups = run("dead-letters", "list", "p.yaml", "--format", "ndjson", cwd=rejected).stdout.splitlines()
    assert [json.loads(group)["count"] for group in groups] == [3, 1]
    each = run("dead-letters", "list", "p.yaml", "--each", "--reason", "'temperature'", cwd=rejected).stdout.splitlines()
    assert len(each) == 3
    assert all("  parsed  in.ndjson  " in line for line in each)
    raw = run("dead-letters", "list", "p.yaml", "--each", "--format", "ndjson", cwd=rejected)
    assert raw.stdout == (rejected / "dead/p.ndjson").read_text()


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--node", "parsed"], 4),
        (["--node", "out"], 0),
        (["--stream", "in.ndjson"], 4),
        (["--stream", "other"], 0),
        (["--reason", "hot"], 3),
        (["--since", "2026-01-01"], 4),
        (["--since", "2026-01-01T00:00:00.5+02:00"], 4),
        (["--since", "2100-01-01T00:00:00Z"], 0),
    ],
)
def test_letters_are_chosen(rejected: Path, filters: list[str], count: int) -> None:
    listed = run("dead-letters", "list", "p.yaml", "--each", *filters, cwd=rejected)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == count
    assert ("no dead letters" in listed.stderr) == (count == 0)


def test_no_letters_yet(tmp_path: Path) -> None:
    configuration(tmp_path, LETTERS)
    listed = run("dead-letters", "list", "p.yaml", cwd=tmp_path)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "no dead letters\n")
    assert not (tmp_path / "dead").exists()


def test_rotated_letters_and_the_default_place(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE.replace("dead_letters: {plugin: file_sink, path: dead.ndjson}\n", "") % (1, 0))
    folder = tmp_path / "dead-letters"
    folder.mkdir()
    letter = '{"time":"2026-11-24T18:00:0%dZ","pipeline":"%s","node":"n","reason":"r","stream":"s","position":%d}\n'
    (folder / "p.20261124T180000.000000Z.ndjson").write_text(letter % (1, "p", 1) + letter % (2, "other", 2))
    (folder / "p.20261125T180000.000000Z.ndjson").write_text(letter % (3, "p", 3) + "no letter\n")
    (folder / "p.retried.ndjson").write_text(letter % (4, "p", 4))
    (folder / "p.ndjson").write_text(letter % (5, "p", 5) + '{"torn')
    listed = run("dead-letters", "list", "p.yaml", "--each", cwd=tmp_path)
    assert [line.split()[3] for line in listed.stdout.splitlines()] == ["1", "3", "5"]
    assert "p.20261125T180000.000000Z.ndjson: 1 line is no dead letter" in listed.stderr


def test_a_letter_is_shown_with_its_original(rejected: Path) -> None:
    hot, *_, binary = letters_of(rejected)
    shown = run("dead-letters", "show", "p.yaml", "in.ndjson", str(hot["position"]), cwd=rejected)
    assert shown.returncode == 0, shown.stderr
    assert reading(2, "hot") in shown.stdout.splitlines()
    assert f"reason    {hot['reason']}" in shown.stdout
    assert f"stream    in.ndjson\nposition  {hot['position']}\n" in shown.stdout
    shown = run("dead-letters", "show", "dead/p.ndjson", "in.ndjson", str(binary["position"]), cwd=rejected)
    assert "value     3 bytes, not UTF-8 text\n  00000000  ff 00 01 " in shown.stdout
    missing = run("dead-letters", "show", "p.yaml", "in.ndjson", "1", cwd=rejected)
    assert missing.returncode == 1
    assert "no dead letter for position 1 of in.ndjson" in missing.stderr


def test_a_letter_can_not_write_to_the_terminal(tmp_path: Path) -> None:
    evil = {"time": "2026\x1b[2J" + "x" * 40, "node": "n", "reason": "\x1b[2Jgone\x9b", "stream": "s", "position": 1,
            "value": "a\x1b]0;b\nc"}  # fmt: skip
    (tmp_path / "l.ndjson").write_text(json.dumps(evil) + "\n")
    for arguments in (["list", "l.ndjson"], ["list", "l.ndjson", "--each"], ["show", "l.ndjson", "s", "1"]):
        shown = run("dead-letters", *arguments, cwd=tmp_path)
        assert shown.returncode == 0
        assert "\\x1b[2Jgone" in shown.stdout
        assert "\x1b" not in shown.stdout
        assert "\x9b" not in shown.stdout
    assert "a\\x1b]0;b\nc" in shown.stdout


def test_a_letter_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    numbers = '[1e400,9007199254740993,18446744073709551617,1E-400,-0,' + "9" * 400 + "]"
    deep = "[" * 100_000 + "]" * 100_000
    start = '{"node":"n","reason":"r","stream":"s","position":'
    (tmp_path / "l.ndjson").write_text(
        f'{start}1,"record":{{"extra":{numbers}}}}}\n{start}2,"value":{{"x":{numbers}}}}}\n{start}3,"record":{deep}}}\n'
        f'{start}4,"time":"2026-11-24T18:00:00+-1:-1","headers":[["a","1"]]}}\n'
        + "\x00" * 100 + f'\n{start}5,"value":"torn'
    )  # fmt: skip
    for position, text in ((1, f'{{"extra":{numbers}}}'), (2, f'{{"x":{numbers}}}'), (3, deep), (4, '[["a","1"]]')):
        shown = run("dead-letters", "show", "l.ndjson", "s", str(position), cwd=tmp_path)
        assert shown.returncode == 0
        assert text in shown.stdout
        assert "l.ndjson: 1 line is no dead letter" in shown.stderr
    assert run("dead-letters", "show", "l.ndjson", "s", "5", cwd=tmp_path).returncode == 1


FIXED = ["--set", "transforms.parsed.invalid=extra"]


def test_retry_after_a_fix(rejected: Path) -> None:
    before = letters_of(rejected)
    dry = run("dead-letters", "retry", "p.yaml", "--dry-run", cwd=rejected)
    assert dry.returncode == 0
    assert "4 records to put through again in the place of 'lines', from 4 letters" in dry.stdout
    assert letters_of(rejected) == before

    done = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=rejected)
    assert done.returncode == 1, done.stderr  # one was rejected again
    assert "3 records went through (3 rows stored), 1 rejected again" in done.stdout
    stored = ndjson(rejected / "out.ndjson")
    assert len(stored) == 9
    assert [row["device_id"] for row in stored[-3:]] == ["d2", "d5", "d7"]
    assert ndjson(rejected / "dead/p.retried.ndjson") == before[:3]
    (again,) = letters_of(rejected)
    assert again["time"] > before[3]["time"]
    assert {**again, "time": ""} == {**before[3], "time": ""}
    assert {file.name for file in (rejected / "dead").iterdir()} == {"p.ndjson", "p.retried.ndjson"}

    nothing = run("dead-letters", "retry", "p.yaml", "--yes", "--reason", "hot", cwd=rejected)
    assert nothing.returncode == 0
    assert "0 records" in nothing.stdout


def test_retry_asks_first(rejected: Path) -> None:
    asked = run("dead-letters", "retry", "p.yaml", cwd=rejected)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(letters_of(rejected)) == 4


def test_retry_takes_letters_from_rotated_files_and_leaves_the_others(rejected: Path) -> None:
    letters = rejected / "dead/p.ndjson"
    hot, second, third, binary = letters.read_text().splitlines(keepends=True)
    (rejected / "dead/p.20261124T180000.000000Z.ndjson").write_text(hot)
    (rejected / "dead/p.20261125T180000.000000Z.ndjson").write_text(second + binary)
    other = json.dumps({**json.loads(third), "pipeline": "other"}) + "\n"
    letters.write_text(third + other)
    letters.chmod(0o604)
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--reason", "'temperature'", *FIXED, cwd=rejected)
    assert done.returncode == 0, done.stderr
    assert "3 records went through" in done.stdout
    assert letters.read_text() == other
    assert letters.stat().st_mode & 0o777 == 0o604
    assert not (rejected / "dead/p.20261124T180000.000000Z.ndjson").exists()
    assert (rejected / "dead/p.20261125T180000.000000Z.ndjson").read_text() == binary
    assert (rejected / "dead/p.retried.ndjson").read_text() == hot + second + third


def test_retry_keeps_place_key_topic_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    letter = {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "node": "parsed", "reason": "r", "topic": "iot",
              "headers": [["a", "b"]], "key": {"base64": "/w=="}}  # fmt: skip
    letters = [
        {**letter, "stream": "iot/3", "position": 12, "value": {"base64": "/wAK"}},
        {**letter, "stream": "iot/3", "position": 7, "value": "two\nlines"},
        {**letter, "stream": "iot/3", "position": 7, "value": "two\nlines", "reason": "another about the same record"},
        {**letter, "stream": "iot/1", "position": 9},  # a tombstone
        {"time": "", "pipeline": "p", "node": "parsed", "reason": "r", "value": "from nowhere"},
        {"time": "", "pipeline": "p", "node": "parsed", "reason": "r", "record": {"a": 1}},
        {**letter, "node": "raw", "stream": "iot/1", "position": 1, "value": "x"},
    ]
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, LETTERS + "").write_text(
        "name: p\nhttp: {listen: off}\n" + LETTERS.replace("sinks:", "sinks:\n  raw: {plugin: file_sink, from: lines, path: raw.ndjson}")
    )
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert "4 records to put through again in the place of 'lines', from 5 letters" in done.stdout
    assert "left out: 1 letter of 'raw'" in done.stdout
    assert "left out: 1 letter without the original record" in done.stdout
    common = {"topic": "iot", "key": {"base64": "/w=="}, "headers": [["a", "b"]]}
    assert ndjson(tmp_path / "raw.ndjson") == [
        {"value": "from nowhere", "offset": 4},
        {**common, "partition": 1, "offset": 9},
        {**common, "value": "two\nlines", "partition": 3, "offset": 7},
        {**common, "value": {"base64": "/wAK"}, "partition": 3, "offset": 12},
    ]
    assert done.returncode == 1  # telemetry it isn't: all are rejected again, each with one letter
    again = letters_of(tmp_path)
    assert again[:2] == letters[5:]
    assert [(one["stream"], one["position"]) for one in again[2:]] == [
        ("dead-letters", 4), ("iot/1", 9), ("iot/3", 7), ("iot/3", 12)
    ]  # fmt: skip
    assert again[5]["value"] == {"base64": "/wAK"}
    assert not (tmp_path / "dead/p.retried.ndjson").exists()


def test_letters_of_a_sink_only_when_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text(reading(1, 20) + "\n" + reading(2, 99) + "\n")
    config = LETTERS.replace("plugin: file_sink, from: parsed, path: out.ndjson",
                             "plugin: sqlite_sink, from: parsed, path: out.db, table: t, columns: {device_id: device_id, temperature: temperature}")  # fmt: skip
    configuration(tmp_path, config)

    def database(command: str) -> list[Any]:
        with sqlite3.connect(tmp_path / "out.db") as connection:
            return connection.execute(command).fetchall()

    database("CREATE TABLE t (device_id text, temperature real CHECK (temperature < 50))")
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    (letter,) = letters_of(tmp_path)
    assert letter["node"] == "out"
    database("DROP TABLE t")
    database("CREATE TABLE t (device_id text, temperature real)")
    left = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert left.returncode == 0
    assert "left out: 1 letter of 'out', which is no transform of this pipeline; --node out picks them" in left.stdout
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--node", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert database("SELECT * FROM t") == [("d2", 99.0)]
    assert letters_of(tmp_path) == []
    assert ndjson(tmp_path / "dead/p.retried.ndjson") == [letter]


def test_several_sources_must_be_chosen_from(tmp_path: Path) -> None:
    two = LETTERS.replace("transforms:", "  more: {plugin: file_source, path: more.ndjson}\ntransforms:\n  other: {plugin: json_telemetry, from: more}")
    configuration(tmp_path, two.replace("from: parsed", "from: [parsed, other]"))
    (tmp_path / "in.ndjson").write_text(reading(1, "hot") + "\n")
    (tmp_path / "more.ndjson").write_text(reading(2, "hot") + "\n")
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert len(letters_of(tmp_path)) == 2
    wrong = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "'p' has several sources, and a letter doesn't say which it came from (--stream chooses its letters); choose one with --source" in wrong.stderr
    assert "lines, more" in wrong.stderr
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--source", "more", "--set", "transforms.other.invalid=extra", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["device_id"] for row in ndjson(tmp_path / "out.ndjson")] == ["d2"]
    (left,) = letters_of(tmp_path)
    assert left["stream"] == "in.ndjson"


def test_several_pipelines_must_be_chosen_from(rejected: Path) -> None:
    with (rejected / "p.yaml").open("a") as config:
        config.write("---\nname: q\nhttp: {listen: off}\n" + LETTERS.replace("out.ndjson", "q.ndjson"))
    wrong = run("dead-letters", "retry", "p.yaml", "--yes", cwd=rejected)
    assert wrong.returncode == 2
    assert "choose one with --pipeline: p, q" in wrong.stderr
    assert run("dead-letters", "retry", "p.yaml", "--dry-run", "--pipeline", "p", cwd=rejected).returncode == 0


def test_only_letters_of_a_file_sink(tmp_path: Path) -> None:
    configuration(tmp_path, LETTERS.split("dead_letters:")[0] + "dead_letters: {plugin: console_sink}\n")
    for arguments in (["list", "p.yaml"], ["show", "p.yaml", "s", "1"], ["retry", "p.yaml", "--yes"]):
        wrong = run("dead-letters", *arguments, cwd=tmp_path)
        assert wrong.returncode == 2
        assert "the dead letters of 'p' go to console_sink" in wrong.stderr


def test_a_retry_that_fails_leaves_the_letters(rejected: Path) -> None:
    before = (rejected / "dead/p.ndjson").read_text()
    (rejected / "out.ndjson").unlink()
    (rejected / "out.ndjson").mkdir()
    failed = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=rejected)
    assert failed.returncode == 1
    assert "all letters stay where they are" in failed.stderr
    assert (rejected / "dead/p.ndjson").read_text() == before
    assert {file.name for file in (rejected / "dead").iterdir()} == {"p.ndjson"}


def test_a_retry_that_is_stopped_moves_what_was_through(rejected: Path) -> None:
    hot = letters_of(rejected)[0]
    many = 20_000
    with (rejected / "dead/p.ndjson").open("w") as file:
        for position in range(many):
            file.write(json.dumps({**hot, "position": position}) + "\n")
    again = rejected / "again.ndjson"
    process = subprocess.Popen(
        [PROGRAM, "dead-letters", "retry", "p.yaml", "--yes", *FIXED, "--set", f"sinks.out.path={again}"],
        cwd=rejected, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: process.poll() is not None or (again.exists() and again.stat().st_size > 0), "rows")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    retried = ndjson(rejected / "dead/p.retried.ndjson")
    left = letters_of(rejected)
    assert len(ndjson(again)) == len(retried) > 0
    assert {one["position"] for one in retried + left} == set(range(many))
    assert len(retried) + len(left) == many
    assert ("were not tried" in said) == bool(left)


def test_a_retry_that_can_not_write_is_stopped_with_3(rejected: Path) -> None:
    before = letters_of(rejected)
    with (rejected / "out.ndjson").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [PROGRAM, "dead-letters", "retry", "p.yaml", "--yes", *FIXED, "--set", "shutdown_timeout=1s"],
            cwd=rejected, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr
        assert "is locked by another program" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert "all letters stay where they are" in said
    assert letters_of(rejected) == before


def test_retry_while_a_host_writes_letters(tmp_path: Path) -> None:
    """None is lost or doubled: each broken record is either stored by a retry, or has one letter."""
    config = """sources:
  devices: {plugin: simulator_source, rate: 4000, faults: {broken: 30}}
transforms:
  parsed: {plugin: json_telemetry, from: devices}
sinks:
  out: {plugin: file_sink, from: parsed, path: out.ndjson, fsync: never}
dead_letters: {plugin: file_sink, path: dead/p.ndjson, fsync: never, rotate: {max_size: 100KiB}, unique_by: [stream, position, node]}
"""
    with PipelineHost(configuration(tmp_path, config), tmp_path) as host:
        for more in range(1, 5):
            wait_until(lambda n=more: host.metric("pipeline_rejected_total", node="parsed") > 300 * n, "letters")
            done = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, "--set", "sinks.out.path=retried.ndjson", cwd=tmp_path)
            assert done.returncode in (0, 1), done.stderr
        rejections = int(host.metric("pipeline_rejected_total", node="parsed"))
        assert host.stop() == 0
    files = [file for file in (tmp_path / "dead").iterdir() if file.name != "p.retried.ndjson"]
    left = [(one["stream"], one["position"]) for file in files for one in ndjson(file)]
    retried = [(one["stream"], one["position"]) for one in ndjson(tmp_path / "dead/p.retried.ndjson")]
    assert len(set(left + retried)) == len(left) + len(retried)
    assert len(left) + len(retried) >= rejections
    assert len(ndjson(tmp_path / "retried.ndjson")) == len(retried) > 0
