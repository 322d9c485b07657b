"""Mosquitto, an MQTT broker."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from .base import HOST, PATIENCE, Service, find_program, run_tool
from .libmosquitto import Access, MqttMessage, Publisher, Subscription

__all__ = ["Mosquitto", "MqttMessage", "Subscription"]

# CONNECT of MQTT 3.1.1: clean session, keep-alive of 10 s, no client id.
_connect = bytes.fromhex("10 0c 0004 4d515454 04 02 000a 0000")
_connack = 0x20


class Mosquitto(Service):
    """A broker on one listener: anonymous, or for one user; plain, or with TLS.

    With `persistence` sessions, queued and retained messages outlive a restart, and a kill but for
    the last second. `settings` are lines of mosquitto.conf.
    """

    name = "mosquitto"

    def __init__(
        self,
        *,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: bool = False,
        persistence: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port=port)
        self._user = user
        self._password = password
        self._tls = tls
        self._persistence = persistence
        self._settings = dict(settings or {})

    def url(self) -> str:
        """mqtt:// or mqtts://, with the user if there is one."""
        user = quote(self._user or "", safe="")
        password = quote(self._password or "", safe="")
        login = f"{user}:{password}@" if user else ""
        return f"mqtt{'s' if self._tls else ''}://{login}{HOST}:{self.port}"

    @property
    def ca_file(self) -> Path | None:
        """What a client must trust to connect by TLS."""
        return self.directory / "certificate.pem" if self._tls else None

    def publish(
        self, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publishes one message and waits until the broker has it."""
        data = payload.encode() if isinstance(payload, str) else payload
        self.publish_all([(topic, data)], qos=qos, retain=retain)

    def publish_all(
        self,
        messages: Iterable[tuple[str, bytes]],
        *,
        qos: int = 1,
        retain: bool = False,
        timeout: float = PATIENCE,
    ) -> int:
        """Publishes (topic, payload)s on one connection, waits until the broker has them all."""
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
        """Collects the messages of topics from now on; close it, or use it with `with`."""
        names = [topics] if isinstance(topics, str) else topics
        return Subscription(self._access(), names, qos, client_id, clean)

    def _access(self) -> Access:
        ca_file = str(self.ca_file) if self.ca_file else None
        return Access(HOST, self.port, self._user, self._password, ca_file)

    def _prepare(self) -> None:
        settings = {
            "listener": f"{self.port} {HOST}",
            "allow_anonymous": "false" if self._user else "true",
            # By default it drops what a slow subscriber has not taken beyond 1,000 messages, which
            # looks like a loss of ours.
            "max_queued_messages": "0",
            **self._user_settings(),
            **self._tls_settings(),
            **self._persistence_settings(),
            **self._settings,
        }
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        self._configuration.write_text(text)

    def _user_settings(self) -> dict[str, str]:
        # Started by root it would become the user mosquitto, who can't write here.
        settings = {"user": "root"} if os.geteuid() == 0 else {}
        if self._user:
            file = self.directory / "users.txt"
            program = find_program("mosquitto_passwd")
            run_tool([program, "-c", "-b", file, self._user, self._password or ""])
            settings["password_file"] = str(file)
        return settings

    def _tls_settings(self) -> dict[str, str]:
        if not self.ca_file:
            return {}
        key = self.directory / "key.pem"
        subject = ["-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}"]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        files = ["-keyout", str(key), "-out", str(self.ca_file)]
        openssl = find_program("openssl")
        run_tool([openssl, "req", "-x509", "-nodes", "-days", "7", *curve, *subject, *files])
        return {"certfile": str(self.ca_file), "keyfile": str(key)}

    def _persistence_settings(self) -> dict[str, str]:
        if not self._persistence:
            return {"persistence": "false"}
        return {
            "persistence": "true",
            "persistence_location": f"{self.directory}/",
            "autosave_on_changes": "true",
            "autosave_interval": "1",
        }

    def _command(self) -> Sequence[str | Path]:
        return [find_program("mosquitto"), "-c", self._configuration]

    def _answers(self) -> bool:
        """An answer to CONNECT will do, even if it is no without a password."""
        try:
            plain = socket.create_connection((HOST, self.port), timeout=5)
            with plain, self._wrapped(plain) as connection:
                connection.sendall(_connect)
                return connection.recv(4)[:1] == bytes([_connack])
        except OSError:
            return False

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        if not self.ca_file:
            return connection
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return context.wrap_socket(connection, server_hostname=HOST)

    @property
    def _configuration(self) -> Path:
        return self.directory / "mosquitto.conf"
