"""`pipeline-host eval` and `help expressions`: results, messages and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from pipeline_host import run  # noqa: E402

ROW = {"temperature": 21.5, "whole": 21, "device_id": "th-17", "ok": True, "data": {"t": {"v": 21}}, "gone": None}


def evaluate(expression: str, *flags: str, row: dict[str, object] | None = None) -> subprocess.CompletedProcess[str]:
    return run("eval", expression, "--with", json.dumps(ROW if row is None else row), *flags)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("temperature * 9 / 5 + 32", "70.7"),
        ("whole * 9 / 5 + 32", "69.8"),
        ("data.t.v * 9 / 5 + 32", "69.8"),
        ("device_id + '!'", "th-17!"),
        ("has(row.humidity)", "false"),
        ("gone == null && ok", "true"),
        ("-1 == 1", "false"),
        ("--whole", "21.0"),
        ("-h + 1", "-2.0"),
        ("whole % 2", "1"),
        ("[10, 20][whole - 20]", "20"),
        ("id", "9007199254740993"),
        ("timestamp('2026-07-01T12:00:00Z').getHours('Europe/Berlin')", "14"),
        ("[1, 2.5, 'x', b'\\xff', null]", '[1, 2.5, "x", b"ÿ", null]'),
    ],
)
def test_the_result_is_printed(expression: str, result: str) -> None:
    done = evaluate(expression, row={**ROW, "h": 3, "id": 9007199254740993})
    assert (done.returncode, done.stdout, done.stderr) == (0, result + "\n", "")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("temperature", 21.5),
        ("9223372036854775807", 9223372036854775807),
        ("0.0 / 0.0", "NaN"),
        ("-1.0 / 0.0", "-Infinity"),
        ("b'\\xff\\x41'", "\u00ffA"),
        ("{'a': [1, true, null], 2: 'x'}", {"a": [1, True, None], "2": "x"}),
        ("timestamp('2026-07-01T12:00:00.5Z')", "2026-07-01T12:00:00.5Z"),
        ("duration('90s')", "90s"),
        ("data", {"t": {"v": 21}}),
    ],
)
def test_json_is_one_value(expression: str, value: object) -> None:
    done = evaluate(expression, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("temprature > 30", "error: expression:1:1: unknown column 'temprature'; did you mean 'temperature'?"),
        ("1 +\n ok", "error: expression:1:1: no such overload: int + bool"),
        ("1 +", "error: expression:1:4: the expression ends here; expected a value"),
        ("ok &&\n  temperature = 3", "error: expression:2:15: unexpected '='; write == to compare"),
        ("device_id.startWith('t')", "error: expression:1:1: unknown function 'startWith'; did you mean 'startsWith'?"),
        ("device_id.matches('(')", "error: expression:1:19: the regular expression is not valid"),
    ],
)
def test_an_expression_that_does_not_compile_exits_with_2(expression: str, message: str) -> None:
    done = evaluate(expression)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.rstrip().endswith("^")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / 0", "error: division by zero, at column 1\n"),
        ("gone > 3", "error: no such overload: null > int; the column 'gone' is null, at column 1\n"),
        ("ok && data.x == 1", "error: no such key: 'x', at column 7\n"),
    ],
)
def test_an_evaluation_that_fails_exits_with_1(expression: str, message: str) -> None:
    done = evaluate(expression)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize("expression", ["ok == 'true'", "device_id != 5", "false && device_id == 5"])
def test_a_comparison_that_validate_rejects_is_an_error_here_too(expression: str) -> None:
    done = evaluate(expression)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such overload: " in done.stderr


def test_a_time_is_a_text_and_the_message_says_how_to_convert_it() -> None:
    row = {"time": "2026-07-01T12:00:00Z"}
    wrong = evaluate("time + duration('1h')", row=row)
    assert wrong.returncode == 2
    assert "convert the text with timestamp(...)" in wrong.stderr
    assert evaluate("timestamp(time) + duration('1h')", row=row).stdout == "2026-07-01T13:00:00Z\n"


def test_a_row_without_with_is_reported_without_internal_arguments() -> None:
    done = run("eval", "temperature", '{"temperature": 1}')
    assert done.returncode == 2
    assert """pass columns with --with '{"temperature": 1}'""" in done.stderr
    assert " -- " not in done.stderr and "--\n" not in done.stderr
    assert "put the expression in quotes" in run("eval", "1", "+", "2").stderr


def test_a_column_that_this_row_does_not_need_is_a_warning() -> None:
    done = evaluate("has(row.humidity) ? humidity : 50")
    assert (done.returncode, done.stdout) == (0, "50\n")
    assert done.stderr.startswith("warning: expression:1:21: unknown column 'humidity'")


def test_the_command_line_is_checked() -> None:
    assert run("eval").returncode == 2
    assert run("eval", "1", "--with", "[1]").returncode == 2
    assert "not a JSON object" in run("eval", "1", "--with", '{"a": }').stderr
    assert "hint: pass columns with --with" in run("eval", "temperature").stderr
    assert run("eval", "--json", "--", "-1").stdout == "-1\n"
    assert run("eval", "1", "--with={}").stdout == "1\n"


def test_the_help_lists_every_function() -> None:
    text = run("help", "expressions")
    assert text.returncode == 0
    for name in ("string.charAt(int) -> string", "math.greatest(list)", "list.exists_one(x, condition)", "a in b",
                 "timestamp.getHours(string) -> int", "strings.quote(string) -> string", "has(a.b)"):  # fmt: skip
        assert name in text.stdout
    assert run("plugins", "describe", "expressions").stdout == text.stdout


EVIL = "A\x1b[31mB\x9b31mC\u202eD\x7fE\u2028"


def test_texts_of_a_row_cannot_send_commands_to_the_terminal() -> None:
    row: dict[str, object] = {"text": EVIL}
    done = evaluate("text", row=row)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "A\\x1b[31mB\\xc2\\x9b31mC\\xe2\\x80\\xaeD\\x7fE\\xe2\\x80\\xa8\n"
    for expression in ("text", "[text]", "{'a': text}"):
        done = evaluate(expression, "--json", row=row)
        assert done.returncode == 0
        assert done.stdout.strip().isascii()
        assert done.stdout.strip().isprintable()
        assert EVIL in str(json.loads(done.stdout)) or json.loads(done.stdout) in ([EVIL], {"a": EVIL})
    for expression in ("int(text)", f"'{EVIL.replace(chr(0x2028), '')}' + 1"):
        done = evaluate(expression, row=row)
        assert done.returncode != 0
        assert done.stderr.replace("\n", "").isprintable()
        assert "A\\x1b[31mB" in done.stderr
