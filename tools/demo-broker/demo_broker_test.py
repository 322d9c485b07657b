# SPDX-License-Identifier: Apache-2.0
"""Tests of pipeline-demo-broker: it is reachable once it prints its address, has its topics, and stops at a signal."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

BROKER = sys.argv[1]


def metadata(server: str, topic: str) -> bytes:
    """Return the response to Kafka's Metadata request (version 1) for one topic."""
    host, port = server.rsplit(":", 1)
    name = topic.encode()
    body = (1).to_bytes(4) + len(name).to_bytes(2) + name
    request = (3).to_bytes(2) + (1).to_bytes(2) + (7).to_bytes(4) + (4).to_bytes(2) + b"test" + body
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(len(request).to_bytes(4) + request)
        size = int.from_bytes(receive(connection, 4))
        return receive(connection, size)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        assert chunk, "the broker closed the connection"
        data += chunk
    return data


def serves_and_stops(stop: signal.Signals) -> None:
    with tempfile.TemporaryDirectory() as directory:
        port_file = Path(directory) / "broker"
        arguments = [BROKER, "--topic", "iot-stream:4", "--topic", "alerts", "--port-file", port_file]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            servers = process.stdout.readline().strip()
            response = metadata(servers, "iot-stream")
            assert response.count(b"iot-stream") == 1, response
            assert len(response) > len(metadata(servers, "alerts")), "the response for four partitions is not longer"
            process.send_signal(stop)
            assert process.wait(timeout=10) == 0
        assert port_file.read_text().strip() == servers


def rejects(*arguments: str, why: str) -> None:
    done = subprocess.run([BROKER, *arguments], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2, done
    assert why in done.stderr, done.stderr


serves_and_stops(signal.SIGTERM)
serves_and_stops(signal.SIGINT)
rejects("--topic", why="--topic needs a value")
rejects("--topic", "x:none", why="must be a number")
rejects("--brokers", "0", why="from 1 to 10")
rejects("--nonsense", why="unknown argument '--nonsense'")
print("ok")
