# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the documentation tests: the program, installed outside of the build tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from running import SOURCE_DIR, run


@pytest.fixture(scope="session")
def source_dir() -> Path:
    return SOURCE_DIR


@pytest.fixture(scope="session")
def build_dir() -> Path:
    assert "PIPELINE_BUILD_DIR" in os.environ, "set PIPELINE_BUILD_DIR to a build tree, e.g. build/release"
    return Path(os.environ["PIPELINE_BUILD_DIR"]).resolve()


@pytest.fixture(scope="session")
def prefix(build_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix under which the build tree is installed for these tests."""
    where = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build_dir, "--prefix", where, cwd=where)
    return where


@pytest.fixture(scope="session")
def pipeline_host(prefix: Path) -> Path:
    return prefix / "bin" / "pipeline-host"
