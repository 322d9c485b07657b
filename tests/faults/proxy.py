# SPDX-License-Identifier: Apache-2.0
"""A proxy between a client and PostgreSQL that forwards messages and injects connection faults."""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from services import free_port, wait_until

HOST = "127.0.0.1"
_REQUESTS = {80877103: "SSL", 80877104: "GSS"}  # precede a connection's first message and have no type byte
# The last message of a sink's write. Transactions that claim positions have another form.
WRITE_COMMIT = rb"pipeline_positions.*COMMIT\0$"


class Harm(enum.Enum):
    """The fault of the connection whose message matches."""

    CUT_BEFORE = "the message is not forwarded, both sides are cut"
    CUT_AFTER = "the message is forwarded, then the client is cut, and the server after its response"
    SWALLOW_RESPONSE = "the message is forwarded, its response and all later bytes of the server are discarded"
    LATE = "the client is cut, the message is forwarded at `release`"
    HOLD = "the message waits for `release`"


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.deaf = False  # the server's bytes are discarded
        self.mute = False  # the client's bytes are discarded, too: half-open
        self.sent = 0

    def close(self) -> None:
        for side in (self.client, self.server):
            close(side)


def close(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()


class Proxy:
    """Forwards a port to a server's port and injects faults on request."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self.delay = 0.0  # seconds, before each piece of a response
        self.cut_after: int | None = None  # cut one connection after this number of bytes from its client
        self.hits = 0
        self._refusing = self._swallowing = False
        self._aim: tuple[re.Pattern[bytes], Harm] | None = None
        self._times = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server((HOST, self.port))
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._refusing = True
        self._released.set()
        close(self._listener)
        self.cut()

    def url(self, url: str) -> str:
        """Return the URL with the port of this proxy."""
        return url.replace(f":{self._target}/", f":{self.port}/")

    # Faults

    def aim(self, pattern: bytes, harm: Harm, times: int = 1) -> None:
        """Apply `harm` to the next `times` messages of any client that match the pattern."""
        with self._lock:
            self._released.clear()
            self._aim, self._times, self.hits = (re.compile(pattern, re.DOTALL), harm), times, 0

    def wait_for_hit(self, count: int = 1) -> None:
        wait_until(lambda: self.hits >= count, f"matching message {count}")

    def release(self) -> None:
        self._released.set()

    def refuse(self, on: bool = True) -> None:
        """Cut all connections, and reject new ones."""
        self._refusing = on
        if on:
            self.cut()

    def swallow(self, on: bool = True) -> None:
        """Discard all bytes without closing connections. Existing connections remain half-open permanently."""
        self._swallowing = on
        for connection in self._alive():
            connection.mute = connection.deaf = True

    def cut(self) -> None:
        for connection in self._alive():
            connection.close()

    # Forwarding

    def _alive(self) -> list[_Connection]:
        with self._lock:
            return list(self._connections)

    @staticmethod
    def _start(target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection((HOST, self._target))
            except OSError:
                close(client)
                continue
            connection = _Connection(client, server)
            connection.mute = connection.deaf = self._swallowing
            with self._lock:
                self._connections.append(connection)
            self._start(self._up, connection)
            self._start(self._down, connection)

    def _up(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            for message in messages(connection.client):
                connection.sent += len(message)
                if self.cut_after is not None and connection.sent > self.cut_after:
                    self.cut_after = None
                    connection.server.sendall(message[: len(message) // 2])
                    break
                if not self._pass(connection, message):
                    break
        self._gone(connection)

    def _pass(self, connection: _Connection, message: bytes) -> bool:
        harm = self._harm_to(message)
        if harm is Harm.CUT_BEFORE:
            return False
        if harm in (Harm.CUT_AFTER, Harm.SWALLOW_RESPONSE):
            connection.deaf = True
        if harm is Harm.LATE:
            connection.deaf = True
            close(connection.client)
        if harm in (Harm.LATE, Harm.HOLD):
            self._released.wait()
        if not connection.mute:
            connection.server.sendall(message)
        if harm is Harm.CUT_AFTER:
            close(connection.client)
        if harm in (Harm.CUT_AFTER, Harm.LATE):
            time.sleep(0.2)  # let the server read the message before it sees the end of the connection
            return False
        return True

    def _harm_to(self, message: bytes) -> Harm | None:
        with self._lock:
            if not self._aim or not self._times or not self._aim[0].search(message):
                return None
            self._times -= 1
            self.hits += 1
            return self._aim[1]

    def _down(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            while data := connection.server.recv(65536):
                if self.delay:
                    time.sleep(self.delay)
                if not connection.deaf:
                    connection.client.sendall(data)
        if not connection.deaf:
            self._gone(connection)

    def _gone(self, connection: _Connection) -> None:
        connection.close()
        with self._lock, contextlib.suppress(ValueError):
            self._connections.remove(connection)


def messages(client: socket.socket) -> Iterator[bytes]:
    """Yield the complete messages of a PostgreSQL client."""
    buffer, started = b"", False
    while data := client.recv(65536):
        buffer += data
        while True:
            at = 1 if started else 0
            if len(buffer) < at + 4:
                break
            size = at + int.from_bytes(buffer[at : at + 4])
            if len(buffer) < size:
                break
            message, buffer = buffer[:size], buffer[size:]
            started = started or int.from_bytes(message[4:8]) not in _REQUESTS
            yield message
