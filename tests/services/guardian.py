"""A small process that outlives this one and clears up what it left.

A test that is killed can't stop its servers, and PR_SET_PDEATHSIG is no cure: it fires when the
*thread* that started the server ends, and is lost when the server changes its user. So one guardian
per test process reads a pipe whose other end dies with the test, and then takes down what it was
told about: servers, and directories.
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

_patience = 10.0
_lock = threading.Lock()
_guardian: subprocess.Popen[bytes] | None = None
_owner = 0


def watch_process(pid: int, stop_signal: signal.Signals) -> None:
    _tell("process", pid, [processes.start_time(pid), int(stop_signal)])


def forget_process(pid: int) -> None:
    _tell("process", pid, None)


def watch_directory(path: Path) -> None:
    _tell("directory", str(path), True)


def forget_directory(path: Path) -> None:
    _tell("directory", str(path), None)


def _tell(kind: str, key: int | str, value: object) -> None:
    with _lock:
        pipe = _start().stdin
        assert pipe is not None
        pipe.write(json.dumps([kind, key, value]).encode() + b"\n")
        pipe.flush()


def _start() -> subprocess.Popen[bytes]:
    """The guardian of this process: a forked child needs one of its own."""
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


def _read_until_the_test_is_gone() -> tuple[dict[int, list[int]], list[str]]:
    state: dict[str, dict[object, object]] = {"process": {}, "directory": {}}
    for line in sys.stdin.buffer:
        kind, key, value = json.loads(line)
        state[kind].pop(key, None)
        if value is not None:
            state[kind][key] = value
    return state["process"], list(state["directory"])  # type: ignore[return-value,arg-type]


def _end(watched: dict[int, list[int]]) -> None:
    """Asks each server to stop, so that it can remove its shared memory, then insists."""
    live = [pid for pid, (start, _) in watched.items() if processes.start_time(pid) == start]
    for pid in live:
        processes.send(pid, signal.SIGCONT)
        processes.send(pid, signal.Signals(watched[pid][1]))
    deadline = time.monotonic() + _patience
    while any(processes.alive(pid) for pid in live) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in live:
        if processes.alive(pid):
            with contextlib.suppress(TimeoutError):
                processes.kill_tree(pid)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched, directories = _read_until_the_test_is_gone()
    _end(watched)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
