"""A Debian system with TimescaleDB in a directory, because the machine's own release has no TimescaleDB package."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .base import ServiceError, find_program, run_tool
from .cache import Run, made_once

RELEASE = "trixie"
POSTGRES_VERSION = "17"

_certificates = Path("/etc/ssl/certs/ca-certificates.crt")


def timescale_root() -> Path:
    """Return the directory tree. The first call builds it, which takes about a minute and 500 MB."""
    if os.geteuid() != 0:
        raise ServiceError("TimescaleDB runs in a chroot, which only root can enter: run as root")
    # Change the name with the recipe; machines with the old tree would keep it otherwise.
    return made_once(f"timescaledb-{RELEASE}-1", _build, apt_environment())


def plain_root(release: str) -> Path:
    """Return a minimal Debian system for tests to copy. The first call takes half a minute and 350 MB."""
    if os.geteuid() != 0:
        raise ServiceError("a Debian system in a directory requires root: run as root")

    def build(root: Path, run: Run) -> None:
        _debootstrap(release, root, run)

    return made_once(f"plain-{release}-1", build, apt_environment())


def apt_environment() -> dict[str, str]:
    """Return the environment for debootstrap and for apt in such a tree."""
    return {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **_proxy()}


def user_in(root: Path, name: str) -> tuple[int, int]:
    """Return a user's uid and gid in another tree, where they may differ from the machine's."""
    for line in (root / "etc/passwd").read_text().splitlines():
        user, _, uid, gid, *_ = line.split(":")
        if user == name:
            return int(uid), int(gid)
    raise ServiceError(f"{root} has no user {name}")


def _build(root: Path, run: Run) -> None:
    _debootstrap(RELEASE, root, run)
    _write(root / "etc/postgresql-common/createcluster.d/no.conf", "create_main_cluster = false\n")
    package = f"postgresql-{POSTGRES_VERSION}-timescaledb"
    apt = ["chroot", str(root), "apt-get", "-q", "-y"]
    run([*apt, "update"])
    run([*apt, "install", "--no-install-recommends", package])
    run([*apt, "clean"])


def _debootstrap(release: str, root: Path, run: Run) -> None:
    include = "--include=ca-certificates"
    run([find_program("debootstrap"), "--variant=minbase", include, release, root, mirror()])
    _write(root / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", mode=0o755)
    if _certificates.exists():  # the machine may trust more authorities than Debian does, for example a mirror's
        shutil.copy(_certificates, root / _certificates.relative_to("/"))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _proxy() -> dict[str, str]:
    """Return the machine's apt proxy as environment variables for debootstrap and the tree's apt."""
    line = run_tool(["apt-config", "shell", "proxy", "Acquire::http::Proxy"]).strip()
    proxy = line.removeprefix("proxy=").strip("'")
    return {"http_proxy": proxy} if proxy else {}


def mirror() -> str:
    """Return the Debian mirror that apt uses on this machine."""
    chosen = os.environ.get("PIPELINE_HOST_DEBIAN_MIRROR")
    if chosen:
        return chosen
    wanted = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"]
    for uri in run_tool(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]).split():
        if found := _resolve(uri):
            return found
    raise ServiceError(
        "apt has no Debian mirror configured: run apt-get update, or set PIPELINE_HOST_DEBIAN_MIRROR"
    )


def _resolve(uri: str) -> str | None:
    """Return a URI that debootstrap accepts. On cloud images apt's URI is a file with a list of mirrors."""
    if uri.startswith("mirror+file:"):
        listed = Path(uri.removeprefix("mirror+file:").rstrip("/"))
        uri = next(iter(listed.read_text().split()), "") if listed.exists() else ""
    return uri.rstrip("/") if re.match(r"(https?|file):/", uri) else None
