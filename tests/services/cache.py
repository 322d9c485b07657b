"""What is expensive to make and the same for every test: made once, kept in the user's cache."""

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
    """The directory `name` of the cache, made by `make(directory, run)` if it is not there yet.

    It is made beside its place and renamed when it is whole, so a maker that dies leaves nothing
    that looks finished. `run` runs a program whose output shows up in the error if it fails.
    """
    place = cache_directory() / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place.with_name(f"{name}.lock")) as lock:
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
def _locked(path: Path) -> Iterator[int]:
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
                # It holds the lock too: if we are killed, nobody starts anew while it still works.
                pass_fds=[lock],
            )
        if code != 0:
            raise ServiceError(f"{argv[0]} failed with {code} ({log}):\n{tail(log)}")

    return run


def _remove(directory: Path) -> None:
    """Removes what a killed maker left: maybe half a system, with /proc mounted in it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{directory}/"):
            subprocess.run(["umount", mount], check=True)
    if directory.exists():
        shutil.rmtree(directory)
