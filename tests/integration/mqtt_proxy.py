# SPDX-License-Identifier: Apache-2.0
"""A proxy between a client and an MQTT broker that counts the unacknowledged messages to the client."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from services import MqttBroker, free_port

PUBLISH, PUBACK = 3, 4


class MqttProxy:
    """Forwards all bytes of a port to the broker and reads the headers of the packets (QoS 1)."""

    def __init__(self, broker: MqttBroker) -> None:
        self._broker = broker
        self._port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.on_their_way = self.most = self.passed = 0

    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._broker.port))
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        buffer = b""
        try:
            while data := source.recv(65536):
                buffer = self._look(buffer + data)
                target.sendall(data)
        except OSError:
            pass

    def _look(self, buffer: bytes) -> bytes:
        """Remove the complete packets from the front of the buffer."""
        while len(buffer) >= 2:
            size = shift = 0
            for at in range(1, min(5, len(buffer))):
                size |= (buffer[at] & 127) << shift
                shift += 7
                if buffer[at] < 128:
                    break
            else:
                return buffer
            end = 1 + shift // 7 + size
            if len(buffer) < end:
                return buffer
            self._count(buffer[0])
            buffer = buffer[end:]
        return buffer

    def _count(self, header: int) -> None:
        with self._lock:
            if header >> 4 == PUBLISH and header >> 1 & 3 == 1:
                self.passed += 1
                self.on_their_way += 1
                self.most = max(self.most, self.on_their_way)
            elif header >> 4 == PUBACK:
                self.on_their_way -= 1
