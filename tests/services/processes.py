"""Functions to find and signal a process with all its descendants.

A process group is not enough, because PostgreSQL starts each of its processes in a new session.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal. It is not an error if the process no longer exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, or [] if the process no longer exists."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_time(pid: int) -> int:
    """Return the start time of a process in ticks since boot, or 0 if the process no longer exists.

    The start time distinguishes processes that have had the same id.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def alive(pid: int) -> bool:
    """Return whether a process still runs. A zombie does not run."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def tree(root: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def kill_tree(root: int, timeout: float = 60.0) -> None:
    """Send SIGKILL to a process and its descendants, and wait until none of them runs."""
    # Stop the root process first, so that it cannot start a child, or react when one of its children ends.
    send(root, signal.SIGSTOP)
    victims = tree(root)
    for pid in victims:
        send(pid, signal.SIGKILL)
    deadline = time.monotonic() + timeout
    while any(alive(pid) for pid in victims):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes survived SIGKILL: {[p for p in victims if alive(p)]}")
        time.sleep(0.002)
