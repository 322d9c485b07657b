# SPDX-License-Identifier: Apache-2.0
"""All programs and plugins are built with the protections of cmake/hardening.cmake. Reads the binaries of the build."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

BUILD = Path(os.environ["PIPELINE_BUILD_DIR"])
PROGRAMS = [BUILD / "bin" / name for name in ("pipeline-host", "load-tester")]
PLUGINS = sorted((BUILD / "lib/pipeline-host/plugins").glob("*.so"))


def is_sanitized() -> bool:
    cache_file = (BUILD / "CMakeCache.txt").read_text()
    return re.search(r"^PIPELINE_SANITIZE:\w+=\S", cache_file, re.MULTILINE) is not None


pytestmark = pytest.mark.skipif(is_sanitized(), reason="builds with sanitizers have checks of their own")


@cache
def readelf(file: Path, *options: str) -> str:
    return subprocess.run(
        ["readelf", "--wide", *options, str(file)], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def binaries() -> list[Path]:
    return [file for file in PROGRAMS if file.exists()] + PLUGINS


def without(pattern: str, *options: str) -> list[str]:
    return [file.name for file in binaries() if re.search(pattern, readelf(file, *options), re.MULTILINE) is None]


def test_there_are_binaries() -> None:
    assert (BUILD / "bin/pipeline-host").exists()
    assert len(PLUGINS) >= 10


def test_programs_and_plugins_are_position_independent() -> None:
    assert without(r"^\s*Type:\s+DYN ", "--file-header") == []


def test_the_table_of_imports_is_read_only_after_the_start() -> None:
    assert without(r"^\s*GNU_RELRO\s", "--program-headers") == []
    assert without(r"\(FLAGS\)\s+.*BIND_NOW|\(BIND_NOW\)|\(FLAGS_1\)\s+.*NOW", "--dynamic") == []


def test_the_stack_is_not_executable() -> None:
    assert without(r"^\s*GNU_STACK(\s+0x[0-9a-f]+){5}\s+RW\s", "--program-headers") == []


def test_the_stack_is_protected() -> None:
    assert without(r"\s__stack_chk_fail(@|$)", "--dyn-syms") == []


def test_containers_check_their_bounds() -> None:
    assert without(r"__glibcxx_assert_fail", "--dyn-syms") == []


def test_calls_of_the_c_library_are_fortified() -> None:
    # Not every plugin calls a function that has a checked form.
    fortified = [file.name for file in binaries() if re.search(r"\s__\w+_chk(@|$)", readelf(file, "--dyn-syms"), re.M)]
    assert "pipeline-host" in fortified


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Intel CET")
def test_functions_begin_with_a_landing_pad() -> None:
    # The note "x86 feature: IBT, SHSTK" is absent, because Debian's start files (crti.o) are built without CET. So check
    # the code: the function that the host calls in a plugin, and `main`, begin with endbr64.
    for file in binaries():
        code = subprocess.run(
            ["objdump", "--disassemble", "--no-show-raw-insn", str(file)],
            capture_output=True, text=True, check=True, timeout=300,
        ).stdout  # fmt: skip
        assert code.count("endbr64") > 30, file.name
