"""A cache, in the user's cache directory, for files that are slow to create and that all tests share."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .base import ServiceError, tail

Run = Callable[[Sequence[str | Path]], None]


def cache_directory() -> Path:
    chosen = os.environ.get("PIPELINE_HOST_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pipeline-host"


def made_once(
    name: str, make: Callable[[Path, Run], None], environment: Mapping[str, str] | None = None
) -> Path:
    """Return the directory `name` of the cache; call `make(directory, run)` first if it does not exist yet.

    The directory is made under another name and renamed when it is complete, so an interrupted `make` leaves nothing
    that looks complete. `run` runs a program; if the program fails, the error contains its output.
    """
    place = cache_directory() / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_name(f"{name}.lock")) as lock:
        if not place.exists():
            log = place.with_name(f"{name}.log")
            unfinished = place.with_name(f"{name}.unfinished")
            _remove(unfinished)
            log.unlink(missing_ok=True)
            unfinished.mkdir()
            make(unfinished, _runner(log, lock, environment or {}))
            unfinished.rename(place)
    return place


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on the file, and yield its descriptor."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _runner(log: Path, lock: int, environment: Mapping[str, str]) -> Run:
    def run(argv: Sequence[str | Path]) -> None:
        with log.open("ab") as output:
            code = subprocess.call(
                [str(word) for word in argv],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                # The program inherits the lock: if this process is killed, others wait until the program has ended.
                pass_fds=[lock],
            )
        if code != 0:
            raise ServiceError(f"{argv[0]} failed with exit code {code} ({log}):\n{tail(log)}")

    return run


def _remove(directory: Path) -> None:
    """Remove the files of an interrupted `make`, for example an incomplete root file system with /proc mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{directory}/"):
            subprocess.run(["umount", mount], check=True)
    if directory.exists():
        shutil.rmtree(directory)
