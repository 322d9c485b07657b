"""Directories of running servers, named after the process that owns them.

The owner or its guardian removes them. If both were killed at once, for example by a build machine that ends all
processes, the next owner removes them, so that databases do not fill the disk.
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
    """Return the folder in which this user's servers keep their data."""
    parent = Path(tempfile.gettempdir()) / f"pipeline-host-{os.getuid()}"
    parent.mkdir(mode=0o711, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to another user")
    return parent


def create(parent: Path, name: str) -> Path:
    """Create and return an empty directory, which is removed even if this process is killed."""
    _sweep(parent)
    pid = os.getpid()
    directory = parent / f"{pid}-{processes.start_time(pid)}-{next(_numbers)}-{name}"
    directory.mkdir()
    # Servers that refuse to run as root run as another user, who needs access to this folder.
    directory.chmod(0o711)
    guardian.watch_directory(directory)
    return directory


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    guardian.unwatch_directory(directory)


def _sweep(parent: Path) -> None:
    for directory in parent.iterdir():
        pid, start, *_ = directory.name.split("-")
        if processes.start_time(int(pid)) != int(start):
            shutil.rmtree(directory, ignore_errors=True)
