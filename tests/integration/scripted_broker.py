# SPDX-License-Identifier: Apache-2.0
"""An MQTT broker whose replies a test sets, for what no real broker can be made to send: MQTT 3.1.1 and 5, QoS 0 and 1."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from services import free_port, wait_until

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14
)  # fmt: skip
MQTT_5 = 5


class Subscribed(NamedTuple):
    """One filter of a SUBSCRIBE packet. retain_handling is 0 with MQTT 3.1.1."""

    filter: str
    qos: int
    retain_handling: int


class Published(NamedTuple):
    topic: str
    payload: bytes


class ScriptedBroker:
    """Accepts everything unless told otherwise.

    refusals: return or reason codes for the next CONNECTs, used up one by one.
    grant: the code in the SUBACK for a filter and its requested QoS; None: there is no SUBACK.
    take: whether to acknowledge a message (True), to keep it without a reply (None), or to close the connection (False).
    session_present: what CONNACKs report.
    """

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.grant: Callable[[str, int], int | None] = lambda _, qos: qos
        self.take: Callable[[Published], bool | None] = lambda _: True
        self.session_present = False
        self.refused = 0
        self.client_ids: list[str] = []  # of accepted connections
        self.subscribed: list[Subscribed] = []
        self.unsubscribed: list[str] = []
        self.published: list[Published] = []  # acknowledged messages
        self._port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []

    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.drop()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self.client_ids)

    def wait_for_connections(self, count: int) -> None:
        wait_until(lambda: self.connections >= count, f"{count} connections")

    def drop(self) -> None:
        """Close all connections without a packet."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message with QoS 0 to every client."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            properties = b"\0" if self._version == MQTT_5 else b""
            with contextlib.suppress(OSError):  # the client has just closed the connection
                client.sendall(_packet(PUBLISH, _text(topic) + properties + payload, 1 if retain else 0))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            while True:
                head = _read(client, 1)[0]
                if not self._answer(client, head, _read(client, _length(client))):
                    break
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def _answer(self, client: socket.socket, head: int, body: bytes) -> bool:
        kind = head >> 4
        if kind == CONNECT:
            return self._connect(client, body)
        if kind == PINGREQ:
            client.sendall(_packet(PINGRESP, b""))
        elif kind == PUBLISH:
            return self._take(client, head, body)
        elif kind in (SUBSCRIBE, UNSUBSCRIBE):
            self._change(client, kind, body)
        return kind != DISCONNECT

    def _connect(self, client: socket.socket, body: bytes) -> bool:
        self._version = body[6]
        at = 10
        if self._version == MQTT_5:
            size, at = _varint(body, at)
            at += size
        (size,) = struct.unpack_from(">H", body, at)
        client_id = body[at + 2 : at + 2 + size].decode()
        with self._lock:
            code = self.refusals.pop(0) if self.refusals else 0
            if code == 0:
                self.client_ids.append(client_id)
                self._clients.append(client)
            else:
                self.refused += 1
        present = 1 if self.session_present and code == 0 else 0
        client.sendall(_packet(CONNACK, bytes([present, code]) + (b"\0" if self._version == MQTT_5 else b"")))
        return code == 0

    def _change(self, client: socket.socket, kind: int, body: bytes) -> None:
        packet_id, at = body[:2], 2
        if self._version == MQTT_5:
            size, at = _varint(body, at)
            at += size
        codes = b""
        while at < len(body):
            (size,) = struct.unpack_from(">H", body, at)
            name = body[at + 2 : at + 2 + size].decode()
            at += 2 + size
            if kind == UNSUBSCRIBE:
                self.unsubscribed.append(name)
                codes += b"\0"
                continue
            options = body[at]
            at += 1
            self.subscribed.append(Subscribed(name, options & 3, options >> 4 & 3))
            code = self.grant(name, options & 3)
            if code is None:
                return
            codes += bytes([code])
        properties = b"\0" if self._version == MQTT_5 else b""
        if kind == UNSUBSCRIBE and self._version != MQTT_5:
            codes = b""
        client.sendall(_packet(SUBACK if kind == SUBSCRIBE else UNSUBACK, packet_id + properties + codes))

    def _take(self, client: socket.socket, head: int, body: bytes) -> bool:
        (size,) = struct.unpack_from(">H", body, 0)
        topic, at = body[2 : 2 + size].decode(), 2 + size
        qos = head >> 1 & 3
        packet_id = body[at : at + 2] if qos else b""
        at += len(packet_id)
        if self._version == MQTT_5:
            length, at = _varint(body, at)
            at += length
        message = Published(topic, body[at:])
        verdict = self.take(message)
        if verdict:
            self.published.append(message)
            if qos:
                client.sendall(_packet(PUBACK, packet_id))
        return verdict is not False


def _packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    length, size = b"", len(body)
    while True:
        size, digit = size >> 7, size & 127
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([kind << 4 | flags]) + length + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        digit = body[at]
        at += 1
        value |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            return value, at


def _read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _length(client: socket.socket) -> int:
    value = shift = 0
    while True:
        digit = _read(client, 1)[0]
        value |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            return value
