"""The command line: texts, exit codes, pipes and signals. The tests need no servers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import PROGRAM, SOURCE, PipelineHost, ndjson, run  # noqa: E402

from services import TIMEOUT, wait_until  # noqa: E402

SHIPPED = {
    "console_sink": "sink", "deduplicate": "transform", "filter": "transform", "map": "transform", "route": "transform", "unpivot": "transform",
    "file_sink": "sink", "file_source": "source", "http_sink": "sink",
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
    for verb in ("run", "validate", "plugins", "dead-letters", "replay", "alerts", "spools", "schema", "completion"):
        assert verb in top.stdout
        help_text = run(verb, "--help")
        assert help_text.returncode == 0
        assert "Usage: pipeline-host " + verb in help_text.stdout
        assert run("help", verb).stdout == help_text.stdout
    assert "Exit codes" in top.stdout


@pytest.mark.parametrize(
    ("verb", "of"), [("dead-letters", "list"), ("dead-letters", "show"), ("dead-letters", "retry"), ("spools", "list"),
                     ("spools", "adopt")]
)  # fmt: skip
def test_the_verbs_of_verbs_have_help(verb: str, of: str) -> None:
    shown = run(verb, of, "--help")
    assert shown.returncode == 0
    assert f"Usage: pipeline-host {verb} {of}" in shown.stdout
    assert "Exit codes" in shown.stdout


def test_version() -> None:
    shown = run("--version")
    assert shown.returncode == 0
    assert shown.stdout.startswith("pipeline-host 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "A subcommand is required"),
        (["rum"], "error: unknown verb 'rum'; did you mean 'run'?"),
        (["run"], "config is required"),
        (["run", "p.yaml", "--log-level", "loud"], "loud"),
        (["plugins", "describe"], "name is required"),
        (["dead-letters"], "A subcommand is required"),
        (["dead-letters", "list"], "from is required"),
        (["dead-letters", "list", "nowhere.ndjson"], "cannot read nowhere.ndjson: No such file or directory"),
        (["dead-letters", "list", "nowhere.yaml"], "nowhere.yaml"),
        (["dead-letters", "list", "x.ndjson", "--since", "yesterday"], "--since yesterday is not a valid time"),
        (["dead-letters", "show", "x.ndjson", "s", "first"], "position 'first' is not a number"),
        (["dead-letters", "retry"], "config is required"),
        (["alerts"], "config is required"),
        (["replay", "p.yaml"], "--from is required"),
        (["replay", "nowhere.yaml", "--from", "7d"], "nowhere.yaml"),
        (["replay", "nowhere.yaml", "--from", "7d", "--order"], "warning: --order is deprecated; use --reset-offsets"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], message: str) -> None:
    wrong = run(*arguments)
    assert wrong.returncode == 2
    assert message in wrong.stderr
    assert wrong.stdout == ""


def test_all_plugins_are_listed() -> None:
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


def test_describe_suggests_a_name() -> None:
    wrong = run("plugins", "describe", "timescal_sink")
    assert wrong.returncode == 2
    assert "did you mean 'timescale_sink'?" in wrong.stderr


def test_every_example_is_valid(tmp_path: Path) -> None:
    """A plugin's example.yaml is a complete configuration that `validate` accepts."""
    examples = sorted((SOURCE / "plugins").glob("*/example.yaml"))
    assert len(examples) == len(SHIPPED)
    for example in examples:
        checked = run("validate", str(example), cwd=tmp_path)
        assert checked.returncode == 0, f"{example}:\n{checked.stderr}"


@pytest.mark.parametrize("config", sorted((SOURCE / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_is_valid(config: Path, tmp_path: Path) -> None:
    checked = run("validate", str(config), cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_all_errors_are_reported_with_place_and_fix(tmp_path: Path) -> None:
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
    ("content", "message"),
    [
        (b"", "the file contains no pipeline: it is empty or has only comments"),
        (b"\n# nothing\n", "the file contains no pipeline: it is empty or has only comments"),
        (b"\0" * 100, "the file is not text: it contains NUL bytes"),
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
def test_a_file_that_is_not_a_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    got = run("validate", "p.yaml", cwd=tmp_path)
    assert got.returncode == 2
    assert message in got.stderr
    assert got.stderr.startswith("p.yaml:")
    assert len(got.stderr) < 5000


def test_a_directory_is_not_a_configuration(tmp_path: Path) -> None:
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


def test_a_pipeline_that_ends_exits_with_0(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE % (5000, 0))
    done = run("run", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 5000
    assert done.stdout == ""


def test_set_overrides(tmp_path: Path) -> None:
    configuration(tmp_path, SIMPLE % (5000, 0))
    assert run("run", "p.yaml", "--set", "sources.devices.count=7", cwd=tmp_path).returncode == 0
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 7


def test_sigterm_writes_the_records_in_flight(tmp_path: Path) -> None:
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


def test_no_color_codes_without_a_terminal(tmp_path: Path) -> None:
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


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
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


def test_a_busy_default_port_does_not_end_the_host(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\n" + SIMPLE % (5, 0))
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # in use by another program, which is what the test needs
            busy.bind(("127.0.0.1", 9464))
            busy.listen()
        done = run("run", "p.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "listen on 127.0.0.1:9464: Address already in use" in done.stderr
        assert "this host runs without metrics and health" in done.stderr
        assert "--set http.listen=off" in done.stderr
        assert len(ndjson(tmp_path / "out.ndjson")) == 5
        for setting in ("http.listen=127.0.0.1:9464", "http={listen: '127.0.0.1:9464'}"):
            wrong = run("run", "p.yaml", "--set", setting, cwd=tmp_path)
            assert wrong.returncode == 1
            assert "127.0.0.1:9464" in wrong.stderr
    assert len(ndjson(tmp_path / "out.ndjson")) == 5


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
    """The folder of a run with 10 records, of which 4 were rejected: 3 with a string as temperature, and 1 that is not text."""
    lines = [reading(n, "hot" if n in (2, 5, 7) else 20 + n).encode() for n in range(9)]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([*lines, b"\xff\x00\x01"]) + b"\n")
    configuration(tmp_path, LETTERS)
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert len(ndjson(tmp_path / "out.ndjson")) == 6
    assert len(letters_of(tmp_path)) == 4
    return tmp_path


def test_dead_letters_are_counted_by_node_and_reason(rejected: Path) -> None:
    for place in ("p.yaml", "dead/p.ndjson"):
        table = run("dead-letters", "list", place, cwd=rejected)
        assert table.returncode == 0, table.stderr
        head, first, second = table.stdout.splitlines()
        assert head.split() == ["COUNT", "FIRST", "LAST", "NODE", "REASON"]
        assert first.split()[0::3][:2] == ["3", "parsed"]
        assert "'temperature' is the string \"hot\"" in first
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
def test_dead_letters_are_filtered(rejected: Path, filters: list[str], count: int) -> None:
    listed = run("dead-letters", "list", "p.yaml", "--each", *filters, cwd=rejected)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == count
    assert ("no dead letters" in listed.stderr) == (count == 0)


def test_no_dead_letters_yet(tmp_path: Path) -> None:
    configuration(tmp_path, LETTERS)
    listed = run("dead-letters", "list", "p.yaml", cwd=tmp_path)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "no dead letters\n")
    assert not (tmp_path / "dead").exists()


def test_rotated_dead_letters_and_the_default_path(tmp_path: Path) -> None:
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
    assert "p.20261125T180000.000000Z.ndjson: 1 line is not a dead letter" in listed.stderr


def test_a_dead_letter_is_shown_with_its_original(rejected: Path) -> None:
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


def test_a_dead_letter_cannot_send_control_characters_to_the_terminal(tmp_path: Path) -> None:
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


def test_a_dead_letter_is_shown_as_it_was_written(tmp_path: Path) -> None:
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
        assert "l.ndjson: 1 line is not a dead letter" in shown.stderr
    assert run("dead-letters", "show", "l.ndjson", "s", "5", cwd=tmp_path).returncode == 1


FIXED = ["--set", "transforms.parsed.invalid=extra"]


def test_retry_after_a_fix(rejected: Path) -> None:
    before = letters_of(rejected)
    dry = run("dead-letters", "retry", "p.yaml", "--dry-run", cwd=rejected)
    assert dry.returncode == 0
    assert "4 records to retry in place of 'lines', from 4 dead letters" in dry.stdout
    assert letters_of(rejected) == before

    done = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=rejected)
    assert done.returncode == 1, done.stderr  # one record was rejected again
    assert "3 records delivered (3 rows stored), 1 rejected again" in done.stdout
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


def test_retry_asks_for_confirmation(rejected: Path) -> None:
    asked = run("dead-letters", "retry", "p.yaml", cwd=rejected)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(letters_of(rejected)) == 4


def test_retry_moves_dead_letters_of_rotated_files_and_leaves_the_others(rejected: Path) -> None:
    letters = rejected / "dead/p.ndjson"
    hot, second, third, binary = letters.read_text().splitlines(keepends=True)
    (rejected / "dead/p.20261124T180000.000000Z.ndjson").write_text(hot)
    (rejected / "dead/p.20261125T180000.000000Z.ndjson").write_text(second + binary)
    other = json.dumps({**json.loads(third), "pipeline": "other"}) + "\n"
    letters.write_text(third + other)
    letters.chmod(0o604)
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--reason", "'temperature'", *FIXED, cwd=rejected)
    assert done.returncode == 0, done.stderr
    assert "3 records delivered" in done.stdout
    assert letters.read_text() == other
    assert letters.stat().st_mode & 0o777 == 0o604
    assert not (rejected / "dead/p.20261124T180000.000000Z.ndjson").exists()
    assert (rejected / "dead/p.20261125T180000.000000Z.ndjson").read_text() == binary
    assert (rejected / "dead/p.retried.ndjson").read_text() == hot + second + third


REPLACED = """sources:
  lines: {plugin: file_source, path: in.ndjson, follow: false}
transforms:
  parsed: {plugin: json_telemetry, from: lines}
sinks:
  out: {plugin: file_sink, from: parsed, path: out.ndjson}
"""


@pytest.fixture
def replaced(tmp_path: Path) -> Path:
    """The folder of three runs: the file was replaced after the first one, so another record has its position. The third
    run reads the second record again, as after a crash. The dead letters are those of the default sink."""
    configuration(tmp_path, REPLACED)
    for device in (1, 2, 2):
        (tmp_path / "in.ndjson").write_text(reading(device, "hot") + "\n")
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        done = run("run", "p.yaml", "--set", f"state_dir={tmp_path / 'state'}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_other_records_at_the_same_position_have_dead_letters_of_their_own(replaced: Path) -> None:
    letters = ndjson(replaced / "dead-letters/p.ndjson")
    assert [one["value"] for one in letters] == [reading(1, "hot"), reading(2, "hot")]
    assert {(one["stream"], one["position"]) for one in letters} == {("in.ndjson", 0)}


def test_retry_delivers_each_of_the_records_at_one_position(replaced: Path) -> None:
    file = replaced / "dead-letters/p.ndjson"
    first, second = ndjson(file)
    again = {**second, "reason": "another about the second record"}
    file.write_text("".join(json.dumps(one) + "\n" for one in (first, second, again)))
    done = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=replaced)
    assert done.returncode == 0, done.stderr
    assert sorted(row["device_id"] for row in ndjson(replaced / "out.ndjson")) == ["d1", "d2"]
    assert ndjson(file) == []
    moved = ndjson(replaced / "dead-letters/p.retried.ndjson")
    assert sorted(json.dumps(one) for one in moved) == sorted(json.dumps(one) for one in (first, second, again))


def test_of_two_records_at_one_position_the_rejected_one_keeps_its_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    letter = {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "node": "parsed", "reason": "r", "stream": "in.ndjson",
              "position": 0}  # fmt: skip
    letters = [{**letter, "value": reading(1, 20)}, {**letter, "value": "not telemetry"}, {**letter, "value": reading(2, 20)}]
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, LETTERS)
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert sorted(row["device_id"] for row in ndjson(tmp_path / "out.ndjson")) == ["d1", "d2"]
    (again,) = letters_of(tmp_path)
    assert (again["position"], again["value"]) == (0, "not telemetry")
    assert len(ndjson(tmp_path / "dead/p.retried.ndjson")) == 2


def test_equal_rows_of_two_records_at_one_position_are_both_delivered(tmp_path: Path) -> None:
    (tmp_path / "dead").mkdir()
    letter = {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "node": "out", "reason": "r", "stream": "in.ndjson", "position": 0,
              "record": {"device_id": "d1", "$kinds": {"device_id": "text"}}}  # fmt: skip
    letters = [{**letter, "value": "one"}, {**letter, "value": "two"}, {**letter, "value": "two", "reason": "again"}]
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, LETTERS)
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ndjson(tmp_path / "out.ndjson") == [{"device_id": "d1"}] * 2
    assert letters_of(tmp_path) == []
    assert len(ndjson(tmp_path / "dead/p.retried.ndjson")) == 3


def test_retry_keeps_position_key_topic_and_bytes(tmp_path: Path) -> None:
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
    assert "4 records to retry in place of 'lines', from 5 dead letters of 'parsed'" in done.stdout
    assert "1 record to retry in place of 'lines', for this sink alone, from 1 dead letter of 'raw'" in done.stdout
    assert "left out: 1 dead letter without the original record" in done.stdout
    # 'raw' had rejected one record, and has all others already.
    assert ndjson(tmp_path / "raw.ndjson") == [
        {"topic": "iot", "key": {"base64": "/w=="}, "headers": [["a", "b"]], "value": "x", "partition": 1, "offset": 1},
    ]
    assert done.returncode == 1  # none is telemetry: all are rejected again by 'parsed', each with one dead letter
    again = letters_of(tmp_path)
    assert again[0] == letters[5]
    assert [(one["stream"], one["position"]) for one in again[1:]] == [
        ("dead-letters", 0), ("iot/1", 9), ("iot/3", 7), ("iot/3", 12)
    ]  # fmt: skip
    for one, old in zip(again[1:], (letters[4], letters[3], letters[1], letters[0]), strict=True):
        assert {key: one.get(key) for key in ("topic", "key", "value", "headers")} == {
            key: old.get(key) for key in ("topic", "key", "value", "headers")
        }
    assert ndjson(tmp_path / "dead/p.retried.ndjson") == [letters[6]]


SINKS = """sources:
  lines: {plugin: file_source, path: in.ndjson}
transforms:
  parsed: {plugin: json_telemetry, from: lines}
  alerts: {plugin: threshold_alert, from: parsed, max_age: 36500d, rules: [{name: hot, metric: temperature, above: 80}]}
sinks:
  store: {plugin: sqlite_sink, from: parsed, path: out.db, table: t, columns: {device_id: device_id, temperature: temperature, at: time}}
  copy: {plugin: file_sink, from: parsed, path: copy.ndjson}
  notify: {plugin: sqlite_sink, from: alerts, path: out.db, table: alerts, columns: {id: id, rule: rule, value: value, since: since}}
dead_letters: {plugin: file_sink, path: "dead/{pipeline}.ndjson", unique_by: [stream, position, node], unique_by_optional: [record, record_time]}
"""


class Tables:
    """The tables of SINKS. `strict`: they refuse temperatures from 50, and all alerts."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "out.db"

    def query(self, command: str) -> list[Any]:
        with sqlite3.connect(self._file) as connection:
            return connection.execute(command).fetchall()

    def create(self, *, strict: bool) -> None:
        for name, columns, check in (
            ("t", "device_id text, temperature real, at text", "temperature < 50"),
            ("alerts", "id text, rule text, value real, since text", "rule <> 'hot'"),
        ):
            old = self.query(f"SELECT name FROM sqlite_master WHERE name = '{name}'")
            self.query(f"CREATE TABLE new ({columns}{f', CHECK ({check})' if strict else ''})")
            if old:
                self.query(f"INSERT INTO new SELECT * FROM {name}")
                self.query(f"DROP TABLE {name}")
            self.query(f"ALTER TABLE new RENAME TO {name}")

    def rows(self, name: str) -> list[Any]:
        return self.query(f"SELECT * FROM {name} ORDER BY 1, 2")


@pytest.fixture
def refused(tmp_path: Path) -> tuple[Path, Tables]:
    """A run in which `store` refused 3 rows, two of which come from one message, and `notify` 2 alerts of one record."""
    message = json.dumps([json.loads(reading(n, t)) for n, t in ((1, 20), (2, 60), (3, 70), (4, 40))])
    (tmp_path / "in.ndjson").write_text(f"{reading(5, 99)}\n{message}\n{reading(6, 30)}\n")
    configuration(tmp_path, SINKS.replace("rules: [", "rules: [{name: very_hot, metric: temperature, above: 90}, "))
    tables = Tables(tmp_path)
    tables.create(strict=True)
    tables.query("DROP TABLE alerts")
    tables.query("CREATE TABLE alerts (id text, rule text, value real, since text, CHECK (value < 0))")
    done = run("run", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(one["node"] for one in letters_of(tmp_path)) == ["notify"] * 2 + ["store"] * 3
    assert len({one["position"] for one in letters_of(tmp_path)}) == 2
    assert len(ndjson(tmp_path / "copy.ndjson")) == 6
    assert [row[0] for row in tables.rows("t")] == ["d1", "d4", "d6"]
    return tmp_path, tables


def test_a_refused_row_is_retried_at_its_sink_alone(refused: tuple[Path, Tables]) -> None:
    directory, tables = refused
    before = letters_of(directory)
    dry = run("dead-letters", "retry", "p.yaml", "--dry-run", cwd=directory)
    assert dry.stdout == (
        "p: 2 rows to deliver to sink 'notify', from 2 dead letters of 'notify'\n"
        "p: 3 rows to deliver to sink 'store', from 3 dead letters of 'store'\n"
    )
    again = run("dead-letters", "retry", "p.yaml", "--yes", cwd=directory)
    assert again.returncode == 1, again.stderr
    assert "notify: 0 rows delivered, 2 rejected again" in again.stdout
    assert "store: 0 rows delivered, 3 rejected again" in again.stdout
    assert not (directory / "dead/p.retried.ndjson").exists()
    by_node = lambda letters: sorted(({**one, "time": ""} for one in letters), key=lambda one: json.dumps(one))  # noqa: E731
    assert by_node(letters_of(directory)) == by_node(before)  # with a new time, and with the original record
    assert min(one["time"] for one in letters_of(directory)) > max(one["time"] for one in before)

    tables.create(strict=False)
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert "notify: 2 rows delivered, 0 rejected again" in done.stdout
    assert "store: 3 rows delivered, 0 rejected again" in done.stdout
    assert tables.rows("t") == [(f"d{n}", t, "2026-11-24T18:00:00Z") for n, t in
                                ((1, 20.0), (2, 60.0), (3, 70.0), (4, 40.0), (5, 99.0), (6, 30.0))]  # fmt: skip
    alerts = {(one["record"]["id"], one["record"]["rule"], 99.0, "2026-11-24T18:00:00Z") for one in before if one["node"] == "notify"}
    assert set(tables.rows("alerts")) == alerts
    assert {rule for _, rule, _, _ in alerts} == {"hot", "very_hot"}
    assert len(ndjson(directory / "copy.ndjson")) == 6
    assert letters_of(directory) == []
    assert len(ndjson(directory / "dead/p.retried.ndjson")) == 5


def test_equal_rows_of_one_record_are_delivered_as_often_as_they_were_refused(tmp_path: Path) -> None:
    message = json.dumps([json.loads(reading(n, t)) for n, t in ((2, 60), (3, 70), (2, 60))])
    (tmp_path / "in.ndjson").write_text(message + "\n")
    configuration(tmp_path, SINKS)
    tables = Tables(tmp_path)
    tables.create(strict=True)
    for _ in range(2):  # the second run reads the record again, as after a crash
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        done = run("run", "p.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        refused_rows = [(one["record"]["device_id"], one["record"].get("$copy")) for one in letters_of(tmp_path)]
        assert sorted(refused_rows, key=str) == [("d2", 1), ("d2", None), ("d3", None)]
    again = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    assert "store: 0 rows delivered, 3 rejected again" in again.stdout
    assert len(letters_of(tmp_path)) == 3

    tables.query("DROP TABLE t")
    tables.query("CREATE TABLE t (device_id text UNIQUE, temperature real, at text)")
    first = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert "store: 2 rows delivered, 1 rejected again" in first.stdout, first.stderr
    (left,) = letters_of(tmp_path)
    assert left["record"]["device_id"] == "d2"

    tables.create(strict=False)
    last = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    assert tables.rows("t") == [(f"d{n}", t, "2026-11-24T18:00:00Z") for n, t in ((2, 60.0), (2, 60.0), (3, 70.0))]
    assert letters_of(tmp_path) == []


@pytest.mark.parametrize("choice", [["--sink", "store"], ["--node", "store"], ["--node", "store", "--sink", "store"]])
def test_the_sink_of_a_retry_can_be_chosen(refused: tuple[Path, Tables], choice: list[str]) -> None:
    directory, tables = refused
    tables.create(strict=False)
    done = run("dead-letters", "retry", "p.yaml", "--yes", *choice, cwd=directory)
    assert done.returncode == 0, done.stderr
    assert len(tables.rows("t")) == 6
    assert tables.rows("alerts") == []
    assert {one["node"] for one in letters_of(directory)} == {"notify"}


def test_a_retry_to_a_sink_that_does_not_exist(refused: tuple[Path, Tables]) -> None:
    wrong = run("dead-letters", "retry", "p.yaml", "--yes", "--sink", "sotre", cwd=refused[0])
    assert wrong.returncode == 2
    assert "--sink sotre: 'p' has no such sink; sinks: store, copy, notify" in wrong.stderr


def test_dead_letters_of_a_renamed_sink(refused: tuple[Path, Tables]) -> None:
    directory, tables = refused
    tables.create(strict=False)
    text = (directory / "p.yaml").read_text()
    (directory / "p.yaml").write_text(text.replace("  store: {", "  stored: {"))
    left = run("dead-letters", "retry", "p.yaml", "--yes", "--stream", "in.ndjson", "--node", "nothing", cwd=directory)
    assert "0 records to retry" in left.stdout
    left = run("dead-letters", "retry", "p.yaml", "--dry-run", cwd=directory)
    assert "left out: 3 dead letters of 'store', which is not a node of this pipeline" in left.stdout
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--node", "store", "--sink", "stored", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert "stored: 3 rows delivered, 0 rejected again" in done.stdout
    assert len(tables.rows("t")) == 6


def test_dead_letters_of_an_earlier_version_have_no_row(tmp_path: Path) -> None:
    """The record goes through the pipeline to this sink alone. A record that makes no row for it is not delivered."""
    (tmp_path / "dead").mkdir()
    letter = {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "reason": "r", "topic": "in.ndjson", "stream": "in.ndjson"}
    letters = [
        {**letter, "node": "store", "position": 0, "value": reading(1, 60)},
        {**letter, "node": "notify", "position": 9, "value": reading(2, 60)},  # no alert without its earlier readings
        {**letter, "node": "notify", "position": 5, "value": reading(3, 90)},
    ]
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, SINKS)
    tables = Tables(tmp_path)
    tables.create(strict=False)
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert [row[0] for row in tables.rows("t")] == ["d1"]
    assert [row[2] for row in tables.rows("alerts")] == [90.0]
    assert not (tmp_path / "copy.ndjson").exists()
    assert "1 record made no row for a sink; the dead letters stay in place" in done.stdout
    assert letters_of(tmp_path) == [letters[1]]
    assert ndjson(tmp_path / "dead/p.retried.ndjson") == [letters[2], letters[0]]


def test_rows_that_a_transform_refused_enter_at_this_transform(tmp_path: Path) -> None:
    """The record of these rows had become several rows; the original would make the other rows again."""
    (tmp_path / "dead").mkdir()
    kinds = {"time": "time", "user_id": "text", "device_id": "text", "temperature": "real"}
    letters = [
        {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "node": "alerts", "reason": "r", "stream": "in.ndjson", "position": 0,
         "value": "[...]", "record": {"time": "2026-11-24T18:00:00Z", "user_id": "u", "device_id": device, "temperature": 90,
                                      "$kinds": kinds}}
        for device in ("d1", "d2")
    ]  # fmt: skip
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, SINKS)
    tables = Tables(tmp_path)
    tables.create(strict=False)
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("p: 1 row to retry at transform 'alerts', from 1 dead letter of 'alerts'") == 2
    assert done.stdout.count("1 row delivered (1 row stored), 0 rejected again") == 2
    assert [row[1:3] for row in tables.rows("alerts")] == [("hot", 90.0)] * 2
    assert tables.rows("t") == []
    assert not (tmp_path / "copy.ndjson").exists()
    assert ndjson(tmp_path / "dead/p.retried.ndjson") == letters


def test_a_record_that_a_transform_refused_does_not_reach_other_branches(tmp_path: Path) -> None:
    two = LETTERS.replace("sinks:", "  checked: {plugin: json_check, from: lines}\nsinks:\n"
                          "  raw: {plugin: file_sink, from: [lines, checked], path: raw.ndjson}")  # fmt: skip
    configuration(tmp_path, two)
    (tmp_path / "in.ndjson").write_text(reading(1, "hot") + "\n" + reading(2, 20) + "\n")
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert len(ndjson(tmp_path / "raw.ndjson")) == 4
    done = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["device_id"] for row in ndjson(tmp_path / "out.ndjson")] == ["d2", "d1"]
    assert len(ndjson(tmp_path / "raw.ndjson")) == 4  # it had the record already, through both its inputs


def test_rows_without_a_position_are_retried(tmp_path: Path) -> None:
    """A timer makes alerts about silence; they belong to a stream, but to no record."""
    (tmp_path / "dead").mkdir()
    kinds = {"id": "text", "rule": "text", "value": "real", "since": "time", "labels": "null"}
    row = lambda n: {"id": f"id{n}", "rule": "hot", "value": n, "since": "2026-11-24T18:00:00Z", "$kinds": kinds}  # noqa: E731
    letter = {"time": "2026-11-24T18:00:00Z", "pipeline": "p", "node": "notify", "reason": "r"}
    letters = [{**letter, "stream": "iot/1", "record": row(1)}, {**letter, "stream": "iot/1", "record": row(2)},
               {**letter, "record": row(3)}, {**letter, "stream": "iot/1", "record": row(2)}]  # fmt: skip
    (tmp_path / "dead/p.ndjson").write_text("".join(json.dumps(one) + "\n" for one in letters))
    configuration(tmp_path, SINKS)
    tables = Tables(tmp_path)
    tables.create(strict=False)
    tables.query("DROP TABLE alerts")
    tables.query("CREATE TABLE alerts (id text, rule text, value real, since text, CHECK (value <> 2))")
    done = run("dead-letters", "retry", "p.yaml", "--yes", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "p: 3 rows to deliver to sink 'notify', from 4 dead letters of 'notify'" in done.stdout
    assert "notify: 2 rows delivered, 1 rejected again" in done.stdout
    assert tables.rows("alerts") == [("id1", "hot", 1.0, "2026-11-24T18:00:00Z"), ("id3", "hot", 3.0, "2026-11-24T18:00:00Z")]
    (again,) = letters_of(tmp_path)
    assert again["record"] == row(2)
    assert again["reason"] != "r"


def test_retry_requires_a_choice_of_several_sources(tmp_path: Path) -> None:
    two = LETTERS.replace("transforms:", "  more: {plugin: file_source, path: more.ndjson}\ntransforms:\n  other: {plugin: json_telemetry, from: more}")
    configuration(tmp_path, two.replace("from: parsed", "from: [parsed, other]"))
    (tmp_path / "in.ndjson").write_text(reading(1, "hot") + "\n")
    (tmp_path / "more.ndjson").write_text(reading(2, "hot") + "\n")
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert len(letters_of(tmp_path)) == 2
    wrong = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=tmp_path)
    assert wrong.returncode == 2
    assert "'p' has several sources, and a dead letter does not name its source (select the source's dead letters with --stream); choose one with --source" in wrong.stderr
    assert "lines, more" in wrong.stderr
    done = run("dead-letters", "retry", "p.yaml", "--yes", "--source", "more", "--set", "transforms.other.invalid=extra", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["device_id"] for row in ndjson(tmp_path / "out.ndjson")] == ["d2"]
    (left,) = letters_of(tmp_path)
    assert left["stream"] == "in.ndjson"


def test_retry_requires_a_choice_of_several_pipelines(rejected: Path) -> None:
    with (rejected / "p.yaml").open("a") as config:
        config.write("---\nname: q\nhttp: {listen: off}\n" + LETTERS.replace("out.ndjson", "q.ndjson"))
    wrong = run("dead-letters", "retry", "p.yaml", "--yes", cwd=rejected)
    assert wrong.returncode == 2
    assert "choose one with --pipeline: p, q" in wrong.stderr
    assert run("dead-letters", "retry", "p.yaml", "--dry-run", "--pipeline", "p", cwd=rejected).returncode == 0


def test_only_dead_letters_of_a_file_sink_can_be_read(tmp_path: Path) -> None:
    configuration(tmp_path, LETTERS.split("dead_letters:")[0] + "dead_letters: {plugin: console_sink}\n")
    for arguments in (["list", "p.yaml"], ["show", "p.yaml", "s", "1"], ["retry", "p.yaml", "--yes"]):
        wrong = run("dead-letters", *arguments, cwd=tmp_path)
        assert wrong.returncode == 2
        assert "the dead letters of 'p' go to console_sink" in wrong.stderr


def test_a_retry_that_fails_leaves_the_dead_letters(rejected: Path) -> None:
    before = (rejected / "dead/p.ndjson").read_text()
    (rejected / "out.ndjson").unlink()
    (rejected / "out.ndjson").mkdir()
    failed = run("dead-letters", "retry", "p.yaml", "--yes", *FIXED, cwd=rejected)
    assert failed.returncode == 1
    assert "all dead letters stay in place" in failed.stderr
    assert (rejected / "dead/p.ndjson").read_text() == before
    assert {file.name for file in (rejected / "dead").iterdir()} == {"p.ndjson"}


def test_a_stopped_retry_moves_the_delivered_dead_letters(rejected: Path) -> None:
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
    message, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    retried = ndjson(rejected / "dead/p.retried.ndjson")
    left = letters_of(rejected)
    assert len(ndjson(again)) == len(retried) > 0
    assert {one["position"] for one in retried + left} == set(range(many))
    assert len(retried) + len(left) == many
    assert ("not retried" in message) == bool(left)


def test_a_stopped_retry_that_cannot_write_exits_with_3(rejected: Path) -> None:
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
        _, message = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 3
    assert "all dead letters stay in place" in message
    assert letters_of(rejected) == before


def test_retry_while_a_host_writes_dead_letters(tmp_path: Path) -> None:
    """No dead letter is lost or duplicated: each broken record is either stored by a retry or has one dead letter."""
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
            wait_until(lambda n=more: host.metric("pipeline_rejected_total", node="parsed") > 300 * n, "dead letters")
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


# run: summary, exit code for rejects, starting over


def test_a_finite_run_ends_with_a_summary(refused: tuple[Path, Tables]) -> None:
    directory, tables = refused
    for name in ("t", "alerts"):
        tables.query(f"DELETE FROM {name}")
    done = run("run", "p.yaml", "--fresh", cwd=directory)
    assert done.returncode == 0, done.stderr
    assert ("p: finished: 3 records read; 9 rows stored (store 3, copy 6, notify 0); 5 rejected (store 3, notify 2), "
            "see dead/p.ndjson; 2 alerts\n") in done.stderr  # fmt: skip


@pytest.mark.parametrize(("values", "code"), [((20, 30), 0), ((20, "hot"), 4), (("hot",), 4)])
def test_rejects_can_fail_a_run(tmp_path: Path, values: tuple[object, ...], code: int) -> None:
    configuration(tmp_path, LETTERS)
    (tmp_path / "in.ndjson").write_text("".join(reading(n, v) + "\n" for n, v in enumerate(values)))
    done = run("run", "p.yaml", "--fail-on-rejects", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    rejected = [v for v in values if v == "hot"]
    assert len(letters_of(tmp_path)) == len(rejected)
    where = "1 rejected (parsed 1), see dead/p.ndjson" if rejected else "0 rejected"
    stored = len(values) - len(rejected)
    rows = "1 row" if stored == 1 else f"{stored} rows"
    assert f"{rows} stored (out {stored}); {where}; 0 alerts" in done.stderr


def test_rows_that_a_sink_rejects_can_fail_a_run(refused: tuple[Path, Tables]) -> None:
    assert run("run", "p.yaml", "--fresh", "--fail-on-rejects", cwd=refused[0]).returncode == 4


def test_rejects_can_fail_a_run_that_is_stopped(tmp_path: Path) -> None:
    config = configuration(tmp_path, SIMPLE.replace("count: %d, rate: %d", "rate: 2000, faults: {broken: 20}")
                           .replace("sinks:", "transforms: {parsed: {plugin: json_telemetry, from: devices}}\nsinks:")
                           .replace("from: devices, path", "from: parsed, path"))  # fmt: skip
    with PipelineHost(config, tmp_path, arguments=["--fail-on-rejects"]) as host:
        wait_until(lambda: host.metric("pipeline_rejected_total", node="parsed") > 10, "rejects")
        assert host.stop() == 4
        assert "stopped: " in host.log()


STATEFUL = """sources:
  lines: {plugin: file_source, path: in.ndjson}
transforms:
  parsed: {plugin: json_telemetry, from: lines}
  alerts: {plugin: threshold_alert, from: parsed, max_age: 36500d, rules: [{name: hot, metric: temperature, above: 80}]}
sinks:
  out: {plugin: file_sink, from: parsed, path: out.ndjson}
  notify: {plugin: file_sink, from: alerts, path: alerts.ndjson}
dead_letters: {plugin: file_sink, path: dead.ndjson}
"""


def test_a_run_continues_or_starts_over(tmp_path: Path) -> None:
    configuration(tmp_path, STATEFUL)
    (tmp_path / "in.ndjson").write_text(reading(1, 90) + "\n" + reading(2, 20) + "\n")
    size = (tmp_path / "in.ndjson").stat().st_size

    def run_once(*arguments: str) -> str:
        done = run("run", "p.yaml", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    first = run_once()
    assert "continuing at position" not in first
    second = run_once()
    assert f"p/lines: continuing at position {size} of in.ndjson" in second
    assert "0 records read" in second
    assert "to start over, use 'run --fresh'" in second
    assert len(ndjson(tmp_path / "out.ndjson")) == 2

    fresh = run_once("--fresh")
    assert "starting over: the positions and the state of earlier runs were deleted" in fresh
    assert "continuing at position" not in fresh
    assert [row["device_id"] for row in ndjson(tmp_path / "out.ndjson")] == ["d1", "d2"] * 2
    assert [row["rule"] for row in ndjson(tmp_path / "alerts.ndjson")] == ["hot"] * 2  # the state is new, too
    with (tmp_path / "in.ndjson").open("a") as file:
        file.write(reading(3, 20) + "\n")
    assert "1 record read" in run_once()
    (tmp_path / "state").rename(tmp_path / "old")
    assert "no earlier run has stored positions or state" in run_once("--fresh")


def test_fresh_does_not_take_the_state_of_a_running_host(tmp_path: Path) -> None:
    config = configuration(tmp_path, STATEFUL.replace("path: in.ndjson", "path: in.ndjson, follow: true"))
    (tmp_path / "in.ndjson").write_text(reading(1, 90) + "\n")
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: len(ndjson(tmp_path / "alerts.ndjson")) == 1, "an alert")
        refused = run("run", "p.yaml", "--fresh", cwd=tmp_path)
        assert refused.returncode == 2
        assert "another host uses state/p.state.db; stop it first" in refused.stderr
        assert host.stop() == 0
    assert len(ndjson(tmp_path / "out.ndjson")) == 1


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("sources.lines={plugin: kafka_source, brokers: '127.0.0.1:1', topic: t, group: g}",
         "source 'lines' continues at the offset that its server keeps; reset it with"),
        ("sinks.out={plugin: kafka_sink, from: parsed, brokers: '127.0.0.1:1', topic: t, delivery: exactly_once}",
         "sink 'out' keeps the positions of its streams (delivery: exactly_once)"),
    ],
)  # fmt: skip
def test_fresh_is_refused_where_it_would_not_start_over(tmp_path: Path, node: str, message: str) -> None:
    configuration(tmp_path, STATEFUL)
    (tmp_path / "in.ndjson").write_text("")
    refused = run("run", "p.yaml", "--fresh", "--set", node, cwd=tmp_path)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert not (tmp_path / "state" / "p.state.db").exists()


@pytest.mark.parametrize("content", [reading(1, 91) + "\n" + reading(2, 21) + "\n", reading(1, 90) + "\n"], ids=["same length", "shorter"])
def test_a_replaced_file_is_noticed_and_the_remedy_works(tmp_path: Path, content: str) -> None:
    configuration(tmp_path, STATEFUL)
    (tmp_path / "in.ndjson").write_text(reading(1, 90) + "\n" + reading(2, 20) + "\n")
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "in.ndjson").write_text(content)
    replaced = run("run", "p.yaml", cwd=tmp_path)
    assert replaced.returncode == 1
    assert "it was replaced or truncated; to read it from its beginning, start the host with 'run --fresh'" in replaced.stderr
    assert len(ndjson(tmp_path / "out.ndjson")) == 2
    assert run("run", "p.yaml", "--fresh", cwd=tmp_path).returncode == 0
    assert len(ndjson(tmp_path / "out.ndjson")) == 2 + content.count("\n")


# alerts


def alerts_of(directory: Path, *arguments: str) -> list[dict[str, Any]]:
    listed = run("alerts", "p.yaml", "--json", *arguments, cwd=directory)
    assert listed.returncode == 0, listed.stderr
    alerts: list[dict[str, Any]] = json.loads(listed.stdout)
    return alerts


def test_open_alerts_are_listed_from_the_stored_state_and_from_a_running_host(tmp_path: Path) -> None:
    config = configuration(tmp_path, STATEFUL.replace("path: in.ndjson", "path: in.ndjson, follow: true"))
    (tmp_path / "in.ndjson").write_text("".join(reading(n, t) + "\n" for n, t in ((1, 90), (2, 20), (3, 85))))
    assert alerts_of(tmp_path) == []
    assert not (tmp_path / "state").exists()
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: len(ndjson(tmp_path / "alerts.ndjson")) == 2, "alerts")
        fired = {row["id"]: row for row in ndjson(tmp_path / "alerts.ndjson")}
        host.wait_ready()
        address = host.log().split("http://")[1].split("/")[0]
        running = alerts_of(tmp_path, "--set", f"http.listen={address}")
        assert {a["id"]: a["device_id"] for a in running} == {i: row["device_id"] for i, row in fired.items()}
        assert run("alerts", "p.yaml", "--set", f"http.listen={address}", cwd=tmp_path).stderr == f"from the running host at {address}\n"
        status, body = host.get("/alerts")
        assert status == 200
        assert {a["id"] for a in json.loads(body)["alerts"]} == set(fired)
        assert host.stop() == 0
        stored = run("alerts", "p.yaml", "--stored", "--json", "--set", f"http.listen={address}", cwd=tmp_path)
        assert (stored.returncode, stored.stderr) == (0, "p: from the stored state\n")
    stored = alerts_of(tmp_path)
    assert stored == running
    for alert in stored:
        row = fired[alert["id"]]
        assert {key: alert[key] for key in ("rule", "severity", "since", "user_id", "device_id", "metric", "value")} == {
            key: row[key] for key in ("rule", "severity", "since", "user_id", "device_id", "metric", "value")
        }
        assert (alert["pipeline"], alert["node"], alert["state"], alert["stream"]) == ("p", "alerts", "firing", "in.ndjson")
    table = run("alerts", "p.yaml", cwd=tmp_path)
    assert table.returncode == 0
    head, *lines = table.stdout.splitlines()
    assert head.split() == ["PIPELINE", "SEVERITY", "RULE", "DEVICE", "SINCE", "VALUE", "ID"]
    assert {line.split()[-1] for line in lines} == set(fired)
    assert all(" hot " in line and "2026-11-24T18:00:00Z" in line for line in lines)
    assert "device_id d1" in table.stdout
    assert {line.split()[-2] for line in lines} == {"90", "85"}

    # A resolved alert is no longer open. The state has the end of the alert.
    with (tmp_path / "in.ndjson").open("a") as file:
        file.write(reading(1, 20).replace("18:00", "18:01") + "\n")
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: len(ndjson(tmp_path / "alerts.ndjson")) == 3, "the end of an alert")
        assert host.stop() == 0
    assert [a["device_id"] for a in alerts_of(tmp_path)] == ["d3"]


def test_alerts_of_several_pipelines(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text(reading(1, 90) + "\n")
    configuration(tmp_path, STATEFUL)
    with (tmp_path / "p.yaml").open("a") as config:
        config.write("---\nname: q\nhttp: {listen: off}\n" + STATEFUL.replace(": out.ndjson", ": q.ndjson").replace("alerts.ndjson", "qa.ndjson"))
    assert run("run", "p.yaml", cwd=tmp_path).returncode == 0
    assert [a["pipeline"] for a in alerts_of(tmp_path)] == ["p", "q"]
    assert [a["pipeline"] for a in alerts_of(tmp_path, "--pipeline", "q")] == ["q"]
    wrong = run("alerts", "p.yaml", "--pipeline", "r", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "there is no pipeline 'r'; available: p, q" in wrong.stderr


def test_alerts_of_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    configuration(tmp_path, STATEFUL)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/p.state.db").write_bytes(b"not a database" * 100)
    broken = run("alerts", "p.yaml", cwd=tmp_path)
    assert broken.returncode == 1
    assert "state/p.state.db" in broken.stderr
