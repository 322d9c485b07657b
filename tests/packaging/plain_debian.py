# SPDX-License-Identifier: Apache-2.0
"""A plain Debian system in a directory for one test, and commands in it as root or as another user."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from services import TIMEOUT, debian, instances, wait_until
from services.base import ServiceError
from services.cache import cache_directory

SOURCE = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).parents[2]))
BUILD = Path(os.environ.get("PIPELINE_BUILD_DIR", SOURCE / "build" / "release"))

UID = 10001  # a plain Debian system has no user with this number
_CHANGES_BY_ITSELF = ("proc", "sys", "dev", "run", "tmp", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log")


class Process:
    """A running program and its log."""

    def __init__(self, argv: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv, cwd="/", env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.pid = self._process.pid

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = TIMEOUT) -> None:
        wait_until(lambda: text in self.log() or self._process.poll() is not None, f"'{text}' in the log", timeout)
        assert text in self.log(), self.log()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class PlainDebian:
    """A minimal Debian system in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **debian.apt_environment(),
        }

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def run(self, *argv: str, ok: bool = True, **how: object) -> str:
        """Run a command and return its output. With ok=False the exit code is the last line of the output."""
        done = subprocess.run(
            self._command(list(argv), **how), cwd="/", env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False,
        )  # fmt: skip
        if ok:
            assert done.returncode == 0, f"{shlex.join(argv)}: {done.returncode}\n{done.stdout}"
            return done.stdout
        return f"{done.stdout}{done.returncode}"

    @contextmanager
    def running(
        self, *argv: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **how: object
    ) -> Iterator[Process]:
        command = [*prefix, *self._command(list(argv), **how)]
        process = Process(command, self.root.with_suffix(".log"), {**self._environment, **(environment or {})})
        try:
            yield process
        except BaseException:
            print(process.log())
            raise
        finally:
            process.end()

    def _command(self, argv: list[str], *, user: int = 0, cwd: str = "/", writable: str | None = None) -> list[str]:
        """Return the command with its own mounts, which end with it.

        With `writable`, only that directory is writable, and /proc contains only processes, as for a confined service.
        """
        root = shlex.quote(str(self.root))
        subset = "-o subset=pid " if writable else ""
        steps = ["set -e", f"mount --bind {root} {root}", f"mount -t proc {subset}proc {root}/proc"]
        if writable:
            steps += [f"mount --bind {root}{writable} {root}{writable}", f"mount -o remount,bind,ro {root}"]
        person = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"] if user else []
        inside = shlex.join(["env", "-C", cwd, *person, *argv])
        return ["unshare", "--mount", "sh", "-c", "\n".join([*steps, f"exec chroot {root} {inside}"])]

    def apt(self, *argv: str) -> str:
        return self.run("apt-get", "-q", "-y", "-o", "APT::Install-Recommends=false", *argv)

    def files(self) -> set[str]:
        """Return all files, except those that any installation leaves (logs, lists, caches)."""
        found = set[str]()
        for folder, folders, files in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            folders[:] = [name for name in folders if os.path.normpath(f"{inside}/{name}") not in _CHANGES_BY_ITSELF]
            found |= {os.path.normpath(f"{inside}/{name}") for name in (*folders, *files)}
        return found


@contextmanager
def plain_debian(release: str | None = None) -> Iterator[PlainDebian]:
    """Yield a plain Debian system, by default of this machine's release, whose libraries the packages depend on."""
    base = debian.plain_root(release or platform.freedesktop_os_release()["VERSION_CODENAME"])
    parent = cache_directory() / "plain"
    parent.mkdir(mode=0o711, exist_ok=True)
    directory = instances.create(parent, "packaging")
    try:
        if subprocess.call(["cp", "-a", "--reflink=auto", str(base), str(directory / "root")]) != 0:
            raise ServiceError(f"can't copy {base} to {directory}")
        system = PlainDebian(directory / "root")
        system.apt("update")
        yield system
    finally:
        instances.remove(directory)
