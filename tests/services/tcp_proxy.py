# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that can cut connections, whatever the protocol."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from .base import HOST, free_port


class TcpProxy:
    """Forwards its port to a server's port."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._refusing = False
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        _close(self._listener)

    def refuse(self, on: bool = True) -> None:
        """Cut all connections, and close new ones at once, until it is turned off."""
        self._refusing = on
        if on:
            self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            cut, self._open = self._open, []
        for side in cut:
            _close(side)

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
                _close(client)
                continue
            with self._lock:
                self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        _close(source)
        _close(target)


def _close(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
