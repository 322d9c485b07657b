"""The command line as a person meets it: texts, exit codes, pipes, signals. No servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import PROGRAM, SOURCE, PipelineHost, run  # noqa: E402

from services import wait_until  # noqa: E402

SHIPPED = {
    "console_sink": "sink", "file_sink": "sink", "file_source": "source", "json_telemetry": "transform",
    "kafka_sink": "sink", "kafka_source": "source", "mqtt_sink": "sink", "simulator_source": "source",
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
    for verb in ("run", "validate", "plugins", "schema", "completion"):
        assert verb in top.stdout
        help_text = run(verb, "--help")
        assert help_text.returncode == 0
        assert "Usage: pipeline-host " + verb in help_text.stdout
        assert run("help", verb).stdout == help_text.stdout
    assert "Exit codes" in top.stdout


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
