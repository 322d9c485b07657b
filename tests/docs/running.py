# SPDX-License-Identifier: Apache-2.0
"""A function that runs programs for the tests of the documentation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE_DIR = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).resolve().parents[2]))


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """Run a command that must succeed, and return its output. If the command fails, the error contains the output."""
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
