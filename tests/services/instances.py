"""Directories of running servers, named after the process that owns them.

Normally their owner removes them, or its guardian does. Where both were killed at once (by a build
machine that ends all it finds) the next owner sweeps up, so that databases don't fill the disk.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path

from . import guardian, processes

_numbers = itertools.count(1)


def temporary_parent() -> Path:
    """Where servers of this user keep their data."""
    parent = Path(tempfile.gettempdir()) / f"pipeline-host-{os.getuid()}"
    parent.mkdir(mode=0o711, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to somebody else")
    return parent


def create(parent: Path, name: str) -> Path:
    """A new empty directory, removed even if this process is killed."""
    _sweep(parent)
    pid = os.getpid()
    directory = parent / f"{pid}-{processes.start_time(pid)}-{next(_numbers)}-{name}"
    directory.mkdir()
    # Servers that refuse root run as another user, who has to come through here.
    directory.chmod(0o711)
    guardian.watch_directory(directory)
    return directory


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    guardian.forget_directory(directory)


def _sweep(parent: Path) -> None:
    for directory in parent.iterdir():
        pid, start, *_ = directory.name.split("-")
        if processes.start_time(int(pid)) != int(start):
            shutil.rmtree(directory, ignore_errors=True)
