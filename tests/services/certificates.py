"""Certificates for servers and their clients, made with the openssl program: see README.md."""

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
    """A certificate and its private key, as PEM files."""

    cert: Path
    key: Path

    def copy_to(self, cert: Path, key: Path, *, owner: tuple[int, int] | None = None) -> None:
        """Copy both files to where a server reads them; `owner` is the user that the server runs as."""
        for source, target in ((self.cert, cert), (self.key, key)):
            copy(source, target, owner=owner)


def copy(source: Path, target: Path, *, owner: tuple[int, int] | None = None) -> None:
    """Copy a file so that only its owner may read it."""
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    shutil.copyfile(source, target)
    if owner and os.geteuid() == 0:
        os.chown(target, *owner)


class Authority:
    """A certificate authority with its files in `directory`; `ca` is its own certificate."""

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
        """Return a certificate for a server with these names and addresses, by default 127.0.0.1 and localhost."""
        names = [_alternative(host) for host in hosts or (HOST, "localhost")]
        return self._sign("server", [f"subjectAltName={','.join(names)}"], expired)

    def client(self, name: str, *, expired: bool = False) -> Certificate:
        """Return a certificate for a client with this common name."""
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
        # openssl cannot sign a certificate that has already expired, so it runs with an earlier clock.
        clock = [find_program("faketime"), "30 days ago"] if expired else []
        files = ["-subj", f"/CN={name}", "-keyout", str(to.key), "-out", str(to.cert)]
        run_tool([*clock, find_program("openssl"), "req", "-x509", *_key, *files, *options])
        to.key.chmod(0o600)


def _alternative(host: str) -> str:
    return f"IP:{host}" if host.replace(".", "").isdigit() else f"DNS:{host}"


@dataclass(frozen=True)
class Tls:
    """TLS settings of a server. The server presents `offered` or, if that is not set, a certificate from `authority`.

    If `own` is set, each client must present a certificate from `authority`, too. `own` is the one that the service
    presents when it is a client itself: to publish, to query, or as a connection pool in front of a database.
    """

    authority: Authority
    own: Certificate | None = None
    offered: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        return self.offered or self.authority.server()
