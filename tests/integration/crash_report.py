# SPDX-License-Identifier: Apache-2.0
"""Reports about processes that a signal ended which no test sends: the signal, and the backtrace from a core file."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from pathlib import Path

CRASHES = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP
}  # fmt: skip


def allow_core_files() -> None:
    """Let this process write a core file into its current folder, if the system's core_pattern is the usual one."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


def crash(code: int | None) -> str:
    """Return the name of the signal if an exit code of subprocess means a crash; otherwise an empty text.

    A program with a handler of its own may exit with 128 + the signal's number, as shells do.
    """
    number = 0 if code is None else -code if code < 0 else code - 128
    return signal.Signals(number).name if number in CRASHES else ""


def backtrace(program: Path, folder: Path) -> str:
    """Return the backtraces of all threads from the core file in the folder, which is removed afterwards."""
    cores = sorted(folder.glob("core*"), key=lambda file: file.stat().st_mtime)
    cores = [file for file in cores if file.is_file() and file.open("rb").read(4) == b"\x7fELF"]
    if not cores:
        return "no core file: no backtrace"
    gdb = shutil.which("gdb")
    if gdb is None:
        return f"gdb is not installed: no backtrace of {cores[-1]}"
    command = [gdb, "-batch", "-nx", "-ex", "bt", "-ex", "thread apply all bt 30", str(program), str(cores[-1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    for file in cores:
        file.unlink()
    return done.stdout or done.stderr
