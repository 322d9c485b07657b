"""Finding and signalling a process with all its descendants.

PostgreSQL puts each of its processes in a session of its own, so a process group is not enough.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name (which may hold anything); [] if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_time(pid: int) -> int:
    """When a process started, in ticks since boot: tells it from a later one of its number."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def alive(pid: int) -> bool:
    """Whether a process still runs; one that is dead but not yet waited for does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def tree(root: int) -> list[int]:
    """A process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def kill_tree(root: int, timeout: float = 60.0) -> None:
    """SIGKILL to a process and its descendants, and waits until none of them runs."""
    # Stopped first, it can neither start another child nor see the first of them die.
    send(root, signal.SIGSTOP)
    victims = tree(root)
    for pid in victims:
        send(pid, signal.SIGKILL)
    deadline = time.monotonic() + timeout
    while any(alive(pid) for pid in victims):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes survived SIGKILL: {[p for p in victims if alive(p)]}")
        time.sleep(0.002)
