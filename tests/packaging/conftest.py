# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from plain_debian import BUILD, PlainDebian, plain_debian  # noqa: E402


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The Debian packages, made from the build tree like `make deb` does."""
    where = tmp_path_factory.mktemp("packages")
    made = subprocess.run(
        ["cpack", "--config", str(BUILD / "CPackConfig.cmake"), "-B", str(where)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    found = {file.name.partition("_")[0]: file for file in where.glob("*.deb")}
    assert set(found) == {"pipeline-host", "pipeline-host-dev"}
    return found


@pytest.fixture
def system() -> Iterator[PlainDebian]:
    with plain_debian() as made:
        yield made
