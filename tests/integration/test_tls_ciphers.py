# SPDX-License-Identifier: Apache-2.0
"""No server and no client accepts an obsolete cipher: RSA key exchange, or CBC with SHA-1."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_host import PROGRAM, PipelineHost, configuration

from services import Worker, free_port, wait_until

# RSA key exchange; the same with CBC and SHA-1; forward secrecy, but CBC with SHA-1; CBC with SHA-384.
OBSOLETE = ["AES128-GCM-SHA256", "AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"]
GOOD = "ECDHE-RSA-AES128-GCM-SHA256"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of 127.0.0.1 with an RSA key, for which all these ciphers could be used."""
    folder = tmp_path_factory.mktemp("pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


class TlsServer:
    """`openssl s_server` with one cipher suite of TLS 1.2. It never sends application data."""

    def __init__(self, pem: Path, cipher: str) -> None:
        self.port = free_port()
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", pem / "cert.pem", "-key", pem / "key.pem",
             "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = Worker(self._read)
        self._reader.start()
        wait_until(lambda: "ACCEPT" in self.lines, "the server")

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def established(self) -> bool:
        return any(line.startswith("CIPHER is ") for line in self.lines)

    def refused(self) -> bool:
        return any("no shared cipher" in line or "handshake failure" in line for line in self.lines)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.finish()


@contextlib.contextmanager
def tls_server(pem: Path, cipher: str) -> Iterator[TlsServer]:
    server = TlsServer(pem, cipher)
    try:
        yield server
    finally:
        server.stop()


def client(plugin: str, port: int, pem: Path) -> dict[str, object]:
    tls = {"ca": str(pem / "cert.pem")}
    if plugin == "http_sink":
        return {"plugin": plugin, "from": "made", "url": f"https://127.0.0.1:{port}/", "tls": tls}
    if plugin == "mqtt_sink":
        return {"plugin": plugin, "from": "made", "url": f"mqtts://127.0.0.1:{port}", "tls": tls, "topic": "t"}
    return {"plugin": plugin, "from": "made", "brokers": f"127.0.0.1:{port}", "tls": tls, "topic": "t"}


@pytest.mark.parametrize("plugin", ["http_sink", "mqtt_sink", "kafka_sink"])
@pytest.mark.parametrize("cipher", [*OBSOLETE, GOOD])
def test_clients(tmp_path: Path, pem: Path, plugin: str, cipher: str) -> None:
    with tls_server(pem, cipher) as server:
        config = configuration(
            tmp_path,
            sources={"made": {"plugin": "simulator_source", "rate": 10}},
            sinks={"out": client(plugin, server.port, pem)},
        )
        checking = subprocess.Popen(
            [PROGRAM, "validate", "--connect", config], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: server.established() or server.refused(), "a handshake")
        finally:
            checking.kill()
            checking.wait()
        assert server.established() == (cipher == GOOD), server.lines


def test_http_source(tmp_path: Path, pem: Path) -> None:
    port = free_port()
    source = {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/t",
              "tls": {"cert": str(pem / "cert.pem"), "key": str(pem / "key.pem")}}  # fmt: skip
    sink = {"plugin": "file_sink", "from": "posted", "path": "out.ndjson"}
    config = configuration(tmp_path, sources={"posted": source}, sinks={"out": sink})

    def handshake(*options: str) -> bool:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return "Cipher is (NONE)" not in done.stdout and "Cipher is " in done.stdout

    with PipelineHost(config, tmp_path) as host:
        host.wait_for_log("listening on https://")
        for cipher in OBSOLETE:
            assert not handshake("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"), cipher
        assert not handshake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert handshake("-tls1_2", "-cipher", GOOD)
        assert handshake("-tls1_3")
        assert host.stop() == 0
