"""The base class of MQTT brokers: address, client, and probe for readiness."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from .base import HOST, TIMEOUT, Service
from .certificates import Certificate, Tls
from .mqtt_client import Access, Publisher, Subscription

# CONNECT of MQTT 3.1.1: clean session, keep-alive of 10 s, client id "?".
_connect = bytes.fromhex("10 0d 0004 4d515454 04 02 000a 0001 3f")
_connack = 0x20


class MqttBroker(Service):
    """A broker with one listener, for anonymous clients or for one user, plain or with TLS."""

    def __init__(
        self,
        *,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(port=port)
        self._user = user
        self._password = password
        self.tls = tls

    def url(self) -> str:
        """Return the URL (mqtt:// or mqtts://), with the user if there is one."""
        user = quote(self._user or "", safe="")
        password = quote(self._password or "", safe="")
        login = f"{user}:{password}@" if user else ""
        return f"mqtt{'s' if self.tls else ''}://{login}{HOST}:{self.port}"

    @property
    def ca_file(self) -> Path | None:
        """The certificate that a client must trust to connect by TLS."""
        return self.tls.authority.ca if self.tls else None

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish one message and wait until the broker has acknowledged it."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.publish_all([(topic, data)], qos=qos, retain=retain)

    def publish_all(
        self,
        messages: Iterable[tuple[str, bytes]],
        *,
        qos: int = 1,
        retain: bool = False,
        timeout: float = TIMEOUT,
    ) -> int:
        """Publish (topic, payload) pairs on one connection and wait until the broker has acknowledged all of them."""
        with Publisher(self._access()) as publisher:
            return publisher.publish(messages, qos, retain, timeout)

    def subscribe(
        self,
        topics: str | Sequence[str],
        qos: int = 1,
        *,
        client_id: str | None = None,
        clean: bool = True,
    ) -> Subscription:
        """Return a subscription that collects messages from now on. Close it, or use `with`."""
        names = [topics] if isinstance(topics, str) else topics
        return Subscription(self._access(), names, qos, client_id, clean)

    def _access(self) -> Access:
        own = self._own_certificate()
        files = (str(own.cert), str(own.key)) if own else (None, None)
        ca_file = str(self.ca_file) if self.ca_file else None
        return Access(HOST, self.port, self._user, self._password, ca_file, *files)

    def _own_certificate(self) -> Certificate | None:
        return self.tls.own if self.tls else None

    def _responds(self) -> bool:
        """Return whether the broker responds to CONNECT, even if it rejects a client without a password."""
        try:
            plain = socket.create_connection((HOST, self.port), timeout=5)
            with plain, self._wrapped(plain) as connection:
                connection.sendall(_connect)
                return connection.recv(4)[:1] == bytes([_connack])
        except OSError:
            return False

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if not self.tls:
            return connection
        # This probe does not verify the certificate; other tests do.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if own := self._own_certificate():
            context.load_cert_chain(own.cert, own.key)
        return context.wrap_socket(connection)
