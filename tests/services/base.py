"""What all servers have in common: a port, a directory, a process, a way to ask if it lives."""

from __future__ import annotations

import atexit
import contextlib
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
from typing import ClassVar, Self, TypeVar

from . import guardian, instances, processes

T = TypeVar("T")

HOST = "127.0.0.1"
# How long, in seconds, to wait for what must happen: much longer than it ever takes, since a machine that builds for many
# is slow at times. Nothing waits that long unless it fails.
PATIENCE = 180.0


class ServiceError(RuntimeError):
    """A server, or a tool that speaks to it, did not do what it was asked to."""


def wait_until(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Polls until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return result


_given_ports: set[int] = set()


def free_port() -> int:
    """A free loopback port that nothing will take by accident, not even while its server is down.

    Not one of the kernel's own choosing: those come from the range of outgoing connections.
    There, a client that keeps knocking at a dead server's port can be given that very port as its
    own, and is then connected to itself, while the server finds its port taken.
    """
    low, high = _ports_beside_outgoing()
    for _ in range(1000):
        port = random.SystemRandom().randrange(low, high)
        if port not in _given_ports and _can_bind(port):
            _given_ports.add(port)
            return port
    raise ServiceError(f"no free port between {low} and {high}")


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
    """The path of a program; a user's PATH need not have the folders that hold servers."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise ServiceError(f"{name} is not installed: run scripts/install-deps.sh test")
    return path


def run_tool(argv: Sequence[str | Path], timeout: float = PATIENCE) -> str:
    """Runs a helper program to its end and gives its output; a failure carries that output."""
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
        raise ServiceError(f"{argv[0]} was not done after {timeout:g} s") from error
    if done.returncode != 0:
        raise ServiceError(f"{argv[0]} failed with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return "(there is no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class Service(ABC):
    """A real server on a loopback port, with a temporary directory for its data.

    `start` and `stop` bracket its life; `stop` removes all that it stored. In between, `terminate`
    (orderly) and `kill` (SIGKILL to the whole server) take it down with its data kept, and `start`
    brings it back on the same port. `pause` and `resume` freeze it, connections and all.

    One thread at a time may use an instance.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_timeout: ClassVar[float] = PATIENCE
    stop_timeout: ClassVar[float] = PATIENCE

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    # What a server has to say for itself.

    @abstractmethod
    def _prepare(self) -> None:
        """Writes configuration and empty data into the new `directory`."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The command line; what it runs must be the server itself, not a parent that waits."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server serves, found out in its own protocol."""

    def _clean_up(self) -> None:
        """Removes what the server left outside of `directory`; called by `stop`."""
        return

    # What all of them can do.

    @property
    def directory(self) -> Path:
        if self._directory is None:
            raise ServiceError(f"{self.name} was not started")
        return self._directory

    @property
    def log(self) -> Path:
        """The server's output; PIPELINE_HOST_LOGS names a folder that keeps it beyond `stop`."""
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
        """Starts the server, on what it had stored if anything, and waits until it serves."""
        if self.running:
            return self
        if self._process is not None:
            self._gone()
        try:
            if self._directory is None:
                self._make_directory()
                self._prepare()
            self._spawn()
            self._wait_until_it_answers()
        except BaseException:
            self._give_up()
            raise
        return self

    def terminate(self) -> None:
        """Takes the server down in an orderly way; what it stored stays."""
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
        """SIGKILL to the server and every process of its own, as a crash of the machine would."""
        if self._process is None:
            return
        if self.running:
            processes.kill_tree(self.pid)
            self._process.wait()
        self._gone()

    def restart(self) -> Self:
        """An orderly stop and a start on the same port and data."""
        self.terminate()
        return self.start()

    def stop(self) -> None:
        """Takes the server down and removes all that it stored; harmless when done twice."""
        try:
            self.terminate()
        finally:
            self._remove_directory()

    def pause(self) -> None:
        """Freezes the server: its connections stay open and nothing answers."""
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
                # Ctrl-C at the terminal is for the test, which then stops its servers in order.
                start_new_session=True,
            )
        guardian.watch_process(self.pid, self.stop_signal)

    def _wait_until_it_answers(self) -> None:
        try:
            wait_until(self._answers_or_died, "no answer", self.start_timeout)
        except TimeoutError:
            raise ServiceError(
                f"{self.name} did not answer on port {self.port} within {self.start_timeout:g} s"
                f"\n{tail(self.log)}"
            ) from None

    def _answers_or_died(self) -> bool:
        if not self.running:
            code = self._process.returncode if self._process else None
            raise ServiceError(f"{self.name} ended with {code}:\n{tail(self.log)}")
        return self._answers()

    def _gone(self) -> None:
        guardian.forget_process(self.pid)
        self._process = None

    def _give_up(self) -> None:
        self.kill()
        self._remove_directory()


_live: list[Service] = []
_owner = os.getpid()


def stop_all() -> None:
    """Stops every server that this process started, the last one first."""
    for service in reversed(_live.copy()):
        with contextlib.suppress(ServiceError):
            service.stop()


def _stop_at_exit() -> None:
    # A forked child inherits the list but not the servers.
    if os.getpid() == _owner:
        stop_all()


atexit.register(_stop_at_exit)
