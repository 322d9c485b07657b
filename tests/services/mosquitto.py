"""Mosquitto, an MQTT broker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .base import HOST, find_program, run_tool
from .certificates import Certificate, Tls
from .mqtt_broker import MqttBroker


class Mosquitto(MqttBroker):
    """A broker with one listener, for anonymous clients or for one user, plain or with TLS.

    If clients have to present a certificate (`Tls.own`), its common name is their user name.
    With `persistence`, sessions, queued and retained messages survive a restart; a kill loses those of the last second.
    `settings` are lines of mosquitto.conf.
    """

    name = "mosquitto"

    def __init__(
        self,
        *,
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        persistence: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port=port, user=user, password=password, tls=tls)
        self._persistence = persistence
        self._settings = dict(settings or {})

    def offer(self, certificate: Certificate) -> None:
        """Present another certificate from the next start on."""
        certificate.copy_to(self._certificate.cert, self._certificate.key)

    def _prepare(self) -> None:
        settings = {
            "listener": f"{self.port} {HOST}",
            "allow_anonymous": "false" if self._user else "true",
            # By default the broker drops messages for a slow subscriber beyond 1,000, which would look like a loss in
            # the program under test.
            "max_queued_messages": "0",
            **self._user_settings(),
            **self._tls_settings(),
            **self._persistence_settings(),
            **self._settings,
        }
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        self._configuration.write_text(text)

    def _user_settings(self) -> dict[str, str]:
        # If root starts mosquitto, it changes to the user mosquitto, who cannot write here.
        settings = {"user": "root"} if os.geteuid() == 0 else {}
        if self._user:
            file = self.directory / "users.txt"
            program = find_program("mosquitto_passwd")
            run_tool([program, "-c", "-b", file, self._user, self._password or ""])
            settings["password_file"] = str(file)
        return settings

    def _tls_settings(self) -> dict[str, str]:
        if not self.tls:
            return {}
        self.offer(self.tls.certificate)
        settings = {"certfile": str(self._certificate.cert), "keyfile": str(self._certificate.key)}
        if self.tls.own:
            settings["cafile"] = str(self.tls.authority.ca)
            settings["require_certificate"] = settings["use_identity_as_username"] = "true"
            settings["allow_anonymous"] = "false"
        return settings

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

    @property
    def _certificate(self) -> Certificate:
        return Certificate(self.directory / "server.pem", self.directory / "server.key")

    @property
    def _configuration(self) -> Path:
        return self.directory / "mosquitto.conf"
