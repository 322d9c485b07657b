"""Certificates for servers and their clients, made by the openssl program: see README.md."""

from __future__ import annotations

import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .base import HOST, find_program, run_tool

_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """Files in PEM: who somebody is, and the key that proves it."""

    cert: Path
    key: Path

    def copy_to(self, cert: Path, key: Path, *, owner: tuple[int, int] | None = None) -> None:
        """Copies them to where a server reads them, as a user who may be another than ours."""
        for source, target in ((self.cert, cert), (self.key, key)):
            copy(source, target, owner=owner)


def copy(source: Path, target: Path, *, owner: tuple[int, int] | None = None) -> None:
    """Copies a file that only its owner may read."""
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    shutil.copyfile(source, target)
    if owner and os.geteuid() == 0:
        os.chown(target, *owner)


class Authority:
    """An authority that signs certificates; its own is `ca`. Its files are in `directory`."""

    def __init__(self, directory: Path, name: str = "pipeline-host tests") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._numbers = itertools.count(1)
        self._own = Certificate(directory / "ca.pem", directory / "ca.key")
        extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        self._request(self._own, name, ["-days", "7", *extensions])

    @property
    def ca(self) -> Path:
        return self._own.cert

    def server(self, *hosts: str, expired: bool = False) -> Certificate:
        """For a server under these names and addresses: 127.0.0.1 and localhost by default."""
        names = [_alternative(host) for host in hosts or (HOST, "localhost")]
        return self._sign("server", [f"subjectAltName={','.join(names)}"], expired)

    def client(self, name: str, *, expired: bool = False) -> Certificate:
        """For a client, who is known by this name."""
        return self._sign(name, ["extendedKeyUsage=clientAuth"], expired)

    def _sign(self, name: str, extensions: list[str], expired: bool) -> Certificate:
        stem = self._directory / f"{next(self._numbers)}-{name}"
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        extensions = ["basicConstraints=critical,CA:FALSE", *extensions]
        signer = ["-CA", str(self._own.cert), "-CAkey", str(self._own.key), "-days", "7"]
        words = [word for extension in extensions for word in ("-addext", extension)]
        self._request(made, name, [*signer, *words], expired)
        return made

    @staticmethod
    def _request(to: Certificate, name: str, options: list[str], expired: bool = False) -> None:
        # openssl signs nothing that has ended already; on another day it has not.
        clock = [find_program("faketime"), "30 days ago"] if expired else []
        files = ["-subj", f"/CN={name}", "-keyout", str(to.key), "-out", str(to.cert)]
        run_tool([*clock, find_program("openssl"), "req", "-x509", *_key, *files, *options])
        to.key.chmod(0o600)


def _alternative(host: str) -> str:
    return f"IP:{host}" if host.replace(".", "").isdigit() else f"DNS:{host}"


@dataclass(frozen=True)
class Tls:
    """How a server is secured: it shows a certificate of `authority`, or the one that is `offered`.

    With `own` each client has to show a certificate of that authority, too; it is what the service
    shows itself where it is a client (publish, query, the pool in front of a database).
    """

    authority: Authority
    own: Certificate | None = None
    offered: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        return self.offered or self.authority.server()
