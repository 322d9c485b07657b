"""The base class of all servers: port, directory, process, and a probe for readiness."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, TypeVar

from . import guardian, instances, processes

T = TypeVar("T")

HOST = "127.0.0.1"
# Seconds to wait for something that must happen. The value is far longer than needed, because shared build machines are
# slow at times; only a failing test waits that long.
TIMEOUT = 180.0


class ServiceError(RuntimeError):
    """A request to a server, or to a tool that talks to a server, failed."""


def wait_until(condition: Callable[[], T], what: str, timeout: float = TIMEOUT) -> T:
    """Poll until `condition` returns a true value, and return that value."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"timed out after {timeout:g} s waiting for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return result


_given_ports: set[int] = set()
_port_locks: BinaryIO | None = None  # a file in which each byte stands for a port


def free_port() -> int:
    """Return a free loopback port that no other program takes by accident, even while its server is down.

    The port is outside of the range that the kernel uses for outgoing connections. In that range, a client that retries
    on a dead server's port can get the same port as its local port: it is then connected to itself, and the server
    cannot bind its port.
    """
    low, high = _ports_beside_outgoing()
    for _ in range(1000):
        port = random.SystemRandom().randrange(low, high)
        if port not in _given_ports and _can_bind(port) and _reserve(port):
            _given_ports.add(port)
            return port
    raise ServiceError(f"no free port between {low} and {high}")


def _reserve(port: int) -> bool:
    """Reserve a port until this process ends. Return False if another test process has reserved it."""
    global _port_locks
    if _port_locks is None:
        parent = instances.temporary_parent()
        _port_locks = parent.with_name(f"{parent.name}.ports").open("ab")
    try:
        fcntl.lockf(_port_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _ports_beside_outgoing() -> tuple[int, int]:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    low, high = 10_240, 65_536
    first, last = int(outgoing[0]), int(outgoing[1])
    if first - low > 1000:
        return low, first
    return (last + 1, high) if high - last > 1000 else (low, high)


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_program(name: str) -> str:
    """Return the path of a program. Folders that hold servers are searched even if the user's PATH lacks them."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise ServiceError(f"{name} is not installed: run scripts/install-deps.sh test")
    return path


def run_tool(argv: Sequence[str | Path], timeout: float = TIMEOUT) -> str:
    """Run a helper program and return its output. On failure the error contains the output."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{argv[0]} did not end within {timeout:g} s") from error
    if done.returncode != 0:
        raise ServiceError(f"{argv[0]} failed with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a log, for an error message."""
    if not log.exists():
        return "(there is no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class Service(ABC):
    """A real server on a loopback port, with a temporary directory for its data.

    `stop` removes the server's data. `terminate` (orderly) and `kill` (SIGKILL to all its processes) end the server and
    keep its data; `start` then starts it on the same port and data. `pause` and `resume` freeze the processes;
    connections stay open.

    Only one thread may use an instance at any time.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_timeout: ClassVar[float] = TIMEOUT
    stop_timeout: ClassVar[float] = TIMEOUT

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # Overridden by each server.

    @abstractmethod
    def _prepare(self) -> None:
        """Write configuration and empty data into the new `directory`."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """Return the command line. The process that it starts must be the server itself, not a parent that waits."""

    @abstractmethod
    def _responds(self) -> bool:
        """Return whether the server accepts requests in its own protocol."""

    def _clean_up(self) -> None:
        """Remove data of the server outside of `directory`; called by `stop`."""
        return

    # Common to all servers.

    @property
    def directory(self) -> Path:
        if self._directory is None:
            raise ServiceError(f"{self.name} was not started")
        return self._directory

    @property
    def log(self) -> Path:
        """The file with the server's output. With PIPELINE_HOST_LOGS it is in that folder and remains after `stop`."""
        keep = os.environ.get("PIPELINE_HOST_LOGS")
        if not keep:
            return self.directory / f"{self.name}.log"
        folder = Path(keep).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.name}-{self.port}.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server on its existing data, if any, and wait until it accepts requests."""
        if self.running:
            return self
        if self._process is not None:
            self._gone()
        try:
            if self._directory is None:
                self._make_directory()
                self._prepare()
            self._spawn()
            self._wait_until_it_responds()
        except BaseException:
            self._give_up()
            raise
        return self

    def terminate(self) -> None:
        """Stop the server in an orderly way and keep its data."""
        if self._process is None:
            return
        if self.running:
            self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServiceError(
                f"{self.name} did not stop within {self.stop_timeout:g} s\n{tail(self.log)}"
            ) from None
        self._gone()

    def kill(self) -> None:
        """Send SIGKILL to the server and all its processes, and keep its data."""
        if self._process is None:
            return
        if self.running:
            processes.kill_tree(self.pid)
            self._process.wait()
        self._gone()

    def restart(self) -> Self:
        """Stop the server in an orderly way and start it on the same port and data."""
        self.terminate()
        return self.start()

    def stop(self) -> None:
        """Stop the server and remove its data. A second call has no effect."""
        try:
            self.terminate()
        finally:
            self._remove_directory()

    def pause(self) -> None:
        """Freeze the server: its connections stay open, but it does not respond."""
        for pid in processes.tree(self.pid):
            processes.send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in processes.tree(self.pid):
            processes.send(pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_directory(self) -> None:
        self._directory = instances.create(instances.temporary_parent(), self.name)
        _live.append(self)

    def _remove_directory(self) -> None:
        if self._directory is None:
            return
        self._clean_up()
        instances.remove(self._directory)
        self._directory = None
        _live.remove(self)

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self._command()],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal must reach only the test, which then stops its servers in order.
                start_new_session=True,
            )
        guardian.watch_process(self.pid, self.stop_signal)

    def _wait_until_it_responds(self) -> None:
        try:
            wait_until(self._responds_or_died, "a response", self.start_timeout)
        except TimeoutError:
            raise ServiceError(
                f"{self.name} did not respond on port {self.port} within {self.start_timeout:g} s"
                f"\n{tail(self.log)}"
            ) from None

    def _responds_or_died(self) -> bool:
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ServiceError(f"{self.name} ended with {code}:\n{tail(self.log)}")
        return self._responds()

    def _gone(self) -> None:
        guardian.unwatch_process(self.pid)
        self._process = None

    def _give_up(self) -> None:
        self.kill()
        self._remove_directory()


_live: list[Service] = []
_owner = os.getpid()


def stop_all() -> None:
    """Stop all servers that this process started, in reverse order."""
    for service in reversed(_live.copy()):
        with contextlib.suppress(ServiceError):
            service.stop()


def _stop_at_exit() -> None:
    # A forked child inherits the list but must not stop the servers.
    if os.getpid() == _owner:
        stop_all()


atexit.register(_stop_at_exit)
