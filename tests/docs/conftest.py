# SPDX-License-Identifier: Apache-2.0
"""The program as a user has it: installed, outside of the build tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE_DIR = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).resolve().parents[2]))


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """Runs a command, which must succeed; what it printed is part of the failure if it doesn't."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def first_tool(*names: str) -> str:
    """The first of these programs that is installed."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    assert found, f"none of {', '.join(names)} is installed: scripts/install-deps.sh build test"
    return found


@pytest.fixture(scope="session")
def source_dir() -> Path:
    return SOURCE_DIR


@pytest.fixture(scope="session")
def build_dir() -> Path:
    assert "PIPELINE_BUILD_DIR" in os.environ, "set PIPELINE_BUILD_DIR to a build tree, e.g. build/release"
    return Path(os.environ["PIPELINE_BUILD_DIR"]).resolve()


@pytest.fixture(scope="session")
def prefix(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the build tree is installed for these tests."""
    where = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build_dir, "--prefix", where, cwd=where)
    return where


@pytest.fixture(scope="session")
def pipeline_host(prefix: Path) -> Path:
    return prefix / "bin" / "pipeline-host"
