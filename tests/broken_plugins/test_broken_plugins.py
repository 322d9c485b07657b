"""Plugins that violate the interface, crash, end or block the host. Each has its expected sentence and exit code."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import BUILD, PROGRAM, PipelineHost, ndjson  # noqa: E402

from services import TIMEOUT, wait_until  # noqa: E402

BROKEN = BUILD / "tests" / "broken_plugins"
EXIT_FAILED, EXIT_UNSETTLED, EXIT_AT_ONCE = 1, 3, 130

SOURCE, TRANSFORM, SINK = "broken_source", "broken_transform", "broken_sink"


def rule(plugin: str, function: str, text: str) -> str:
    return f"plugin {plugin} violates the plugin interface in {function}: {text}"


def bad(function: str, verb: str, text: str) -> tuple[str, str]:
    return function, f"it {verb} a batch that is not valid: {text}"


# By the component and its fault: the function, and the rule that the host names.
VIOLATIONS: dict[tuple[str, str], tuple[str, str]] = {
    (SOURCE, "column of null"): bad("poll", "returned", "column 'number' has no cells: cols[1] is NULL"),
    (SOURCE, "column elsewhere"): bad(
        "poll",
        "returned",
        "the 100 cells of column 'number' are not in memory of the batch (pl_host.alloc) or of its parent",
    ),
    (SOURCE, "more rows than made"): bad("poll", "returned", "rows is 1000000, and the batch was made for 100"),
    (SOURCE, "nsel too large"): bad("poll", "returned", "nsel is 101, and the batch has 100 rows"),
    (SOURCE, "nsel without sel"): bad("poll", "returned", "nsel is 2 and rows is 100: they are equal if sel is NULL"),
    (SOURCE, "sel not ascending"): bad("poll", "returned", "sel is not ascending: sel[1] is 0, after 0"),
    (SOURCE, "sel out of bounds"): bad("poll", "returned", "sel is not ascending: sel[99] is 77, after 98"),
    (SOURCE, "origin out of bounds"): bad("poll", "returned", "origin[99] is 99, and nranges is 1"),
    (SOURCE, "ranges of null"): bad("poll", "returned", "ranges is NULL, and nranges is 1"),
    (SOURCE, "too many ranges"): bad(
        "poll",
        "returned",
        "the 1000000 elements of ranges are not in memory of the batch (pl_host.alloc) or of its parent",
    ),
    (SOURCE, "ranges elsewhere"): bad(
        "poll",
        "returned",
        "the 1 elements of ranges are not in memory of the batch (pl_host.alloc) or of its parent",
    ),
    (SOURCE, "range without a stream"): bad("poll", "returned", "ranges[0] names no stream"),
    (SOURCE, "range backwards"): bad("poll", "returned", "ranges[0] of stream 's/0' begins at 100 and ends at 50"),
    (SOURCE, "rows without a range"): bad("poll", "returned", "it read 100 rows without a range"),
    (SOURCE, "position outside of the range"): bad(
        "poll", "returned", "row 1 has position 4711 of stream 's/0', outside of its range from 0 to 100"
    ),
    (SOURCE, "float that is not a number"): bad(
        "poll", "returned", "the float in row 1 of column 'number' is not a finite number (nan)"
    ),
    (SOURCE, "float that is infinite"): bad(
        "poll", "returned", "the float in row 1 of column 'number' is not a finite number (-inf)"
    ),
    (SOURCE, "text at null"): bad("poll", "returned", "the text in row 1 of column 'number' has 5 bytes at NULL"),
    (SOURCE, "cell of an unknown kind"): bad(
        "poll", "returned", "the cell in row 1 of column 'number' has the kind 42, which does not exist"
    ),
    (SOURCE, "schema replaced"): bad("poll", "returned", "it replaced size, schema or cols of a batch"),
    (SOURCE, "state changes set"): bad("poll", "returned", "it set state_changes, which only the host sets"),
    (SOURCE, "derive without a schema"): ("poll", "it called derive with a schema that is NULL"),
    (SOURCE, "alignment of three"): ("poll", "it called alloc with an alignment of 3, which is not a power of two"),
    (SOURCE, "batch of its own"): ("poll", "it returned a batch that does not exist: derive did not make it"),
    (SOURCE, "batch already released"): ("poll", "it returned a batch of which it holds no reference"),
    (SOURCE, "error text at null"): ("poll", "it passed 7 bytes of text at NULL to error"),
    (SOURCE, "batch with retry"): ("poll", "it returned RETRY together with a batch, which would be lost"),
    (SOURCE, "batch with end"): ("poll", "it returned END together with a batch, which would be lost"),
    (SOURCE, "assigned without a position"): ("start", "it called assigned without a start position: next is NULL"),
    (SOURCE, "reject in settle"): ("settle", "it called reject, which it may only call in apply and write"),
    (TRANSFORM, "emit to port 99"): ("apply", "it emitted to port 99, and has 1 port, numbered from 0"),
    (TRANSFORM, "emit null"): ("apply", "it called emit with a batch that is NULL"),
    (TRANSFORM, "emit a batch of its own"): ("apply", "it called emit with a batch that does not exist"),
    (TRANSFORM, "emit without a reference"): ("apply", "it emitted a batch of which it holds no reference"),
    (TRANSFORM, "emit twice"): ("apply", "it emitted a batch of which it holds no reference"),
    (TRANSFORM, "emit rows without a range"): (
        "apply",
        "it emitted rows without a range: derive the batch from the one that was passed",
    ),
    (TRANSFORM, "emit damaged"): bad("apply", "emitted", "column 'value' has no cells: cols[0] is NULL"),
    (TRANSFORM, "emit to an earlier call"): ("tick", "it called emit with a `to` that is not of this call"),
    (TRANSFORM, "keep and release on a thread"): (
        "apply",
        "on a thread of its own, it released a batch of which it holds no reference",
    ),
    (TRANSFORM, "release what is borrowed"): ("apply", "it released a batch of which it holds no reference"),
    (TRANSFORM, "release twice in stop"): ("stop", "it released a batch of which it holds no reference"),
    (TRANSFORM, "release null"): ("apply", "it called release with a batch that is NULL"),
    (TRANSFORM, "alloc in what was passed"): (
        "apply",
        "it called alloc with a batch that it was passed or has handed over: it must not change",
    ),
    (TRANSFORM, "reject a row that does not exist"): (
        "apply",
        "it rejected row 100 of a batch, which is not one of the 100 selected rows",
    ),
    (TRANSFORM, "reject a row twice"): ("apply", "it rejected row 1 of a batch twice"),
    (SINK, "reject a row that does not exist"): ("write", "it rejected row 4711 of a batch, which is not one of the"),
    (SINK, "reject null"): ("write", "it called reject with a batch that is NULL"),
    (SINK, "reject with text at null"): ("write", "it passed 3 bytes of text at NULL to reject"),
    (SINK, "release what is borrowed"): ("write", "it released a batch of which it holds no reference"),
    (SINK, "log text at null"): ("write", "it passed 3 bytes of text at NULL to log"),
    (SINK, "status of -1 in write"): ("write", "it returned -1, which is not a status"),
}

CREATE_VIOLATIONS: dict[tuple[str, str], str] = {
    (SINK, "schema of null names"): "it passed 3 column names to schema, and the name at 0 is NULL",
    (SINK, "metric of an unknown kind"): "it made the metric 'x' of kind 9, which does not exist",
    (SINK, "status of 99"): "it returned 99, which is not a status",
}

CRASHES = {
    (SOURCE, "crash in poll"): (signal.SIGSEGV, "crashed in poll: SIGSEGV (invalid memory access) at address 0x8;"),
    (SOURCE, "crash in start"): (signal.SIGSEGV, "crashed in start: SIGSEGV"),
    (TRANSFORM, "overflow in apply"): (signal.SIGSEGV, "crashed in apply: SIGSEGV"),
    (TRANSFORM, "crash in tick"): (signal.SIGSEGV, "crashed in tick: SIGSEGV"),
    (SINK, "crash in write"): (signal.SIGSEGV, "crashed in write: SIGSEGV"),
    (SINK, "abort in write"): (signal.SIGABRT, "crashed in write: SIGABRT (abort);"),
    (SINK, "divide in write"): (signal.SIGFPE, "crashed in write: SIGFPE (arithmetic error);"),
    (SINK, "crash in create"): (signal.SIGSEGV, "crashed in create: SIGSEGV"),
    (SINK, "crash in destroy"): (signal.SIGSEGV, "crashed in destroy: SIGSEGV"),
}

EXITS = [
    (plugin, f"{call} in {function}")
    for call, plugin, function in (
        ("exit", SOURCE, "poll"), ("exit", SOURCE, "settle"), ("exit", SOURCE, "start"), ("exit", SOURCE, "stop"),
        ("exit", TRANSFORM, "apply"), ("exit", TRANSFORM, "tick"), ("exit", SINK, "create"), ("exit", SINK, "write"),
        ("exit", SINK, "destroy"), ("_exit", SINK, "write"), ("_exit", SOURCE, "poll"), ("quick_exit", SINK, "write"),
    )
]  # fmt: skip


def pipeline(directory: Path, plugin: str, fault: str, rows: int = 300, **settings: object) -> Path:
    """Write a pipeline of the source, the transform and two sinks, of which one node is broken."""

    def node(name: str, **more: object) -> dict[str, object]:
        return {"plugin": name, "rows": rows, **({"fault": fault} if name == plugin else {}), **more}

    sink = {"plugin": plugin, "from": "mid"} if plugin == "throwing_sink" else node(SINK, **{"from": "mid"})
    file = directory / "p.yaml"
    file.write_text(
        json.dumps({
            "name": "p",
            "http": {"listen": "off"},
            **settings,
            "sources": {"in": node(SOURCE)},
            "transforms": {"mid": node(TRANSFORM, **{"from": "in"})},
            "sinks": {
                "out": sink,
                "kept": {"plugin": "file_sink", "from": "mid", "path": "kept.ndjson"},
            },
            "dead_letters": {"plugin": "file_sink", "path": "dead.ndjson"},
        })
    )
    return file


def run(directory: Path, plugin: str, fault: str, rows: int = 300) -> subprocess.CompletedProcess[str]:
    file = pipeline(directory, plugin, fault, rows)
    return subprocess.run(
        [PROGRAM, "run", file, "--plugin-dir", BROKEN],
        cwd=directory, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip


def node_of(plugin: str) -> str:
    return {SOURCE: "in", TRANSFORM: "mid"}.get(plugin, "out")


def check_stored_rows(directory: Path) -> None:
    """What was stored before the failure is valid, and has no invented row."""
    rows = ndjson(directory / "kept.ndjson")
    assert all(set(row) == {"value", "number"} and row["value"] == '{"a":1}' for row in rows)
    assert len(rows) <= 300


def test_without_a_fault_all_records_pass(tmp_path: Path) -> None:
    done = run(tmp_path, "none", "")
    assert done.returncode == 0, done.stderr
    rows = ndjson(tmp_path / "kept.ndjson")
    assert [row["number"] for row in rows] == [n % 100 for n in range(300)]


def test_at_least_25_plugins_are_broken() -> None:
    assert len(VIOLATIONS) + len(CREATE_VIOLATIONS) + len(CRASHES) + len(EXITS) >= 25


@pytest.mark.parametrize(("plugin", "fault"), VIOLATIONS, ids=lambda v: v.replace(" ", "_"))
def test_a_violation_fails_the_node_with_a_sentence(tmp_path: Path, plugin: str, fault: str) -> None:
    function, text = VIOLATIONS[plugin, fault]
    # A stop and a tick that violate a rule need a source that takes a while.
    done = run(tmp_path, plugin, fault, 2_000_000 if function == "tick" else 300)
    assert rule(plugin, function, text) in done.stderr, done.stderr
    assert f"p/{node_of(plugin)}: " in done.stderr
    assert done.returncode == EXIT_FAILED, done.stderr
    if function != "tick":
        check_stored_rows(tmp_path)


@pytest.mark.parametrize(("plugin", "fault"), CREATE_VIOLATIONS, ids=lambda v: v.replace(" ", "_"))
def test_a_violation_in_create_is_an_error_of_the_configuration(tmp_path: Path, plugin: str, fault: str) -> None:
    done = run(tmp_path, plugin, fault)
    assert rule(plugin, "create", CREATE_VIOLATIONS[plugin, fault]) in done.stderr, done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("fault", "function", "text", "code"),
    [
        ("", "", "", 0),
        ("no table of ports", "extension", 'it has PL_OPTION_PORTS, and does not offer "ports/1"', 2),
        ("port without a name", "ports", "it reported an output port without a name", 2),
        ("port twice", "ports", "it reported the output port 'hot' twice", 2),
        ("status of 99 in ports", "ports", "it returned 99, which is not a status", 2),
        ("emit to port 2", "apply", "it emitted to port 2, and has 2 ports, numbered from 0", EXIT_FAILED),
    ],
)
def test_the_ports_of_a_transform_are_checked(tmp_path: Path, fault: str, function: str, text: str, code: int) -> None:
    file = pipeline(tmp_path, TRANSFORM, "")
    settings = json.loads(file.read_text())
    settings["transforms"]["mid"].update(plugin="broken_router", fault=fault)
    settings["sinks"]["out"]["from"] = "mid.cold"
    settings["sinks"]["kept"]["from"] = "mid.hot"
    file.write_text(json.dumps(settings))
    done = subprocess.run(
        [PROGRAM, "run", file, "--plugin-dir", BROKEN],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if fault:
        assert rule("broken_router", function, text) in done.stderr, done.stderr
    else:
        assert len(ndjson(tmp_path / "kept.ndjson")) == 300


def test_an_exception_that_crosses_the_interface_fails_the_node(tmp_path: Path) -> None:
    done = run(tmp_path, "throwing_sink", "")
    assert rule("throwing_sink", "write", "it threw an exception: the database is on fire") in done.stderr, done.stderr
    assert done.returncode == EXIT_FAILED


def test_a_source_that_reads_streams_it_has_not_assigned_fails_under_exactly_once(tmp_path: Path) -> None:
    file = pipeline(tmp_path, SOURCE, "unassigned")
    settings = json.loads(file.read_text())
    del settings["transforms"]
    settings["sinks"] = {
        "store": {
            "plugin": "timescale_sink", "from": "in", "delivery": "exactly_once",
            "url": "postgresql://127.0.0.1:1/none", "table": "t",
        }
    }  # fmt: skip
    file.write_text(json.dumps(settings))
    done = subprocess.run(
        [PROGRAM, "run", file, "--plugin-dir", BROKEN],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert "it returned records of stream 's/0', which it has not assigned (pl_host.assigned)" in done.stderr
    assert done.returncode in (EXIT_FAILED, EXIT_UNSETTLED), done.stderr


def test_a_table_is_read_only_up_to_its_size(tmp_path: Path) -> None:
    """Behind the size of the tables are pointers that crash when they are called."""
    for plugin in (SOURCE, TRANSFORM):
        done = run(tmp_path, plugin, "short table")
        assert 'its table "' in done.stderr and "lacks a function that it must have" in done.stderr, done.stderr
        assert done.returncode == 2


# ------------------------------------------------------------------------------------------------- crashes, exits ---


def addresses(text: str) -> list[str]:
    return re.findall(r"#\d+ (\S+\+0x[0-9a-f]+)", text)


@pytest.mark.parametrize(("plugin", "fault"), CRASHES, ids=lambda v: v.replace(" ", "_"))
def test_a_crash_names_plugin_node_and_function(tmp_path: Path, plugin: str, fault: str) -> None:
    number, text = CRASHES[plugin, fault]
    done = run(tmp_path, plugin, fault, 2_000_000 if "tick" in fault else 300)
    assert f"error p/{node_of(plugin)}: plugin {plugin} {text}" in done.stderr, done.stderr
    assert done.returncode == -number
    assert any(line.startswith("broken.so+0x") for line in addresses(done.stderr)), done.stderr


def test_a_crash_on_a_thread_of_the_plugin_names_its_library(tmp_path: Path) -> None:
    done = run(tmp_path, SINK, "crash on a thread in write")
    assert "code of broken.so, on a thread that is in no call of a plugin, crashed: SIGSEGV" in done.stderr, done.stderr
    assert addresses(done.stderr)[0].startswith("broken.so+0x")
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.parametrize(("plugin", "fault"), EXITS, ids=lambda v: v.replace(" ", "_"))
def test_an_exit_in_a_call_is_named_and_not_a_success(tmp_path: Path, plugin: str, fault: str) -> None:
    function = fault.split()[-1]
    done = run(tmp_path, plugin, fault, 2_000_000 if "tick" in fault else 300)
    named = f"error p/{node_of(plugin)}: plugin {plugin} ended the process with exit code 0 in {function}"
    assert named in done.stderr, done.stderr
    assert done.returncode == EXIT_FAILED


def test_an_exit_on_a_thread_of_the_plugin_names_its_library(tmp_path: Path) -> None:
    done = run(tmp_path, SINK, "exit on a thread in write")
    assert "code of broken.so, on a thread that is in no call of a plugin, ended the process" in done.stderr
    assert done.returncode == EXIT_FAILED


def test_a_library_that_ends_the_process_while_it_is_loaded_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "plugins", "--plugin-dir", BROKEN / "at_load"],
        capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert "error plugin at_load.so ended the process with exit code 0 in its initialisation" in done.stderr
    assert done.returncode == EXIT_FAILED


def test_a_crash_in_json_is_one_object(tmp_path: Path) -> None:
    file = pipeline(tmp_path, SINK, "crash in write", log={"format": "json"})
    done = subprocess.run(
        [PROGRAM, "run", file, "--plugin-dir", BROKEN],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["level"], last["pipeline"], last["node"]) == ("error", "p", "out")
    assert last["message"].startswith("plugin broken_sink crashed in write: SIGSEGV")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", last["time"])


# ---------------------------------------------------------------------------------------------------------- hangs ---


def start(directory: Path, plugin: str, fault: str, **settings: object) -> PipelineHost:
    file = pipeline(directory, plugin, fault, **settings)
    sets = ("state_dir=state",)
    return PipelineHost(file, directory, sets=sets, arguments=("--plugin-dir", str(BROKEN)))


def ready(port: int) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def port_of(host: PipelineHost) -> int:
    host.wait_for_log("metrics and health: http://")
    found = re.search(r"metrics and health: http://127\.0\.0\.1:(\d+)/", host.log())
    assert found
    return int(found[1])


@pytest.mark.parametrize(("plugin", "function"), [(SINK, "write"), (SOURCE, "poll"), (TRANSFORM, "apply")])
def test_a_call_that_does_not_return_shows_in_readiness_and_log(tmp_path: Path, plugin: str, function: str) -> None:
    with start(tmp_path, plugin, f"hang in {function}", slow_call="1s") as host:
        sentence = f"the call of {function} in plugin {plugin} has not returned for "
        port = port_of(host)
        host.wait_for_log(sentence)

        def shown() -> bool:
            status, body = ready(port)
            waiting = body["waiting"]
            assert isinstance(waiting, list)
            named = [w for w in waiting if w["reason"].startswith(sentence)]
            return status == 503 and [w["node"] for w in named] == [node_of(plugin)]

        wait_until(shown, "readiness that names the call")
        host.signal(signal.SIGTERM)
        host.wait_for_log("a second signal stops at once")
        host.signal(signal.SIGTERM)
        assert host.wait() == EXIT_AT_ONCE


def test_a_slow_call_that_returns_is_reported_and_the_node_is_ready_again(tmp_path: Path) -> None:
    with start(tmp_path, SINK, "sleep in start", slow_call="1s", rows=300) as host:
        host.wait_for_log("the call of start in plugin broken_sink has not returned for ")
        host.wait_for_log("the call of start in plugin broken_sink has returned after about ")
        assert host.wait() == 0
    assert len(ndjson(tmp_path / "kept.ndjson")) == 300


def wait_for_delivery(host: PipelineHost) -> None:
    """Wait until no SIGTERM is pending, which means that the host has taken the last one."""

    def pending() -> bool:
        status = Path(f"/proc/{host.process.pid}/status").read_text()
        found = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
        assert found
        return bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)

    wait_until(lambda: not pending(), "the delivery of the signal")


def test_two_signals_end_a_host_that_hangs_in_create(tmp_path: Path) -> None:
    with start(tmp_path, SINK, "hang in create", slow_call="1s") as host:
        host.wait_for_log("the call of create in plugin broken_sink has not returned for ")
        host.signal(signal.SIGTERM)
        wait_for_delivery(host)  # two signals of one kind that are pending together are one
        host.signal(signal.SIGTERM)
        assert host.wait() == EXIT_AT_ONCE
        assert "second signal: stopping at once, although the main thread does not respond" in host.log()
        assert "p/out: the call of create in plugin broken_sink has not returned for" in host.log()


def test_a_hang_in_destroy_or_stop_does_not_keep_the_process(tmp_path: Path) -> None:
    for function in ("destroy", "stop"):
        directory = tmp_path / function
        directory.mkdir()
        with start(directory, SINK, f"hang in {function}") as host:
            assert host.wait() == EXIT_UNSETTLED
            assert f"the call of {function} in plugin broken_sink has not returned for" in host.log()
            assert "the host ends without waiting for it" in host.log()


def test_two_signals_end_a_host_that_hangs_in_destroy(tmp_path: Path) -> None:
    with start(tmp_path, SINK, "hang in destroy") as host:
        host.wait_for_log("finished: ")
        host.signal(signal.SIGTERM)
        wait_for_delivery(host)
        host.signal(signal.SIGTERM)
        assert host.wait() == EXIT_AT_ONCE

