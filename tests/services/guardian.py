"""The guardian: a small process that outlives the test process and cleans up after it.

A killed test cannot stop its servers. PR_SET_PDEATHSIG does not help: it fires when the *thread* that started the
server ends, and is cleared when the server changes its user. Therefore each test process has a guardian that reads from
a pipe. When the pipe closes, because the test ended, the guardian stops the registered servers and removes the
registered directories.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

if __package__:
    from . import processes
else:  # run as a program, see _start
    import processes  # type: ignore[import-not-found,no-redef]

_timeout = 60.0
_lock = threading.Lock()
_guardian: subprocess.Popen[bytes] | None = None
_owner = 0


def watch_process(pid: int, stop_signal: signal.Signals) -> None:
    _send("process", pid, [processes.start_time(pid), int(stop_signal)])


def unwatch_process(pid: int) -> None:
    _send("process", pid, None)


def watch_directory(path: Path) -> None:
    _send("directory", str(path), True)


def unwatch_directory(path: Path) -> None:
    _send("directory", str(path), None)


def _send(kind: str, key: int | str, value: object) -> None:
    with _lock:
        pipe = _start().stdin
        assert pipe is not None
        pipe.write(json.dumps([kind, key, value]).encode() + b"\n")
        pipe.flush()


def _start() -> subprocess.Popen[bytes]:
    """Return the guardian of this process. A forked child needs its own."""
    global _guardian, _owner
    if _guardian is None or _owner != os.getpid():
        _guardian = subprocess.Popen(
            [sys.executable, "-E", "-S", __file__],
            cwd="/",
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        _owner = os.getpid()
    return _guardian


def _read_until_the_test_ends() -> tuple[dict[int, list[int]], list[str]]:
    state: dict[str, dict[object, object]] = {"process": {}, "directory": {}}
    for line in sys.stdin.buffer:
        kind, key, value = json.loads(line)
        state[kind].pop(key, None)
        if value is not None:
            state[kind][key] = value
    return state["process"], list(state["directory"])  # type: ignore[return-value,arg-type]


def _end(watched: dict[int, list[int]]) -> None:
    """Ask each server to stop, so that it can remove its shared memory; kill it after a time-out."""
    live = [pid for pid, (start, _) in watched.items() if processes.start_time(pid) == start]
    for pid in live:
        processes.send(pid, signal.SIGCONT)
        processes.send(pid, signal.Signals(watched[pid][1]))
    deadline = time.monotonic() + _timeout
    while any(processes.alive(pid) for pid in live) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in live:
        if processes.alive(pid):
            with contextlib.suppress(TimeoutError):
                processes.kill_tree(pid)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched, directories = _read_until_the_test_ends()
    _end(watched)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
