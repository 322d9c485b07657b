# SPDX-License-Identifier: Apache-2.0
"""Servers that require TLS, a client certificate and a password."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import confluent_kafka

from services import Authority, Certificate, Kafka, Mosquitto, PgBouncer, Timescale, Tls

USER = "iot"
PASSWORD = "s3cret-0f-the-test"

def mechanism() -> str:
    """Return the SASL mechanism with which this machine's librdkafka can log in to Kafka 4; before 2.6.1 not SCRAM."""
    _, version = confluent_kafka.libversion()
    return "SCRAM-SHA-512" if version >= 0x020601FF else "PLAIN"


class SecureServers:
    """All servers of the default pipeline, each with a certificate that is valid only for 127.0.0.1.

    `certificate` is the client certificate for Kafka and MQTT, `database_certificate` that of the database user.
    """

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.certificate = authority.client(USER)
        self.database_certificate = authority.client("postgres")
        mutual = Tls(authority, own=self.certificate, offered=self.good())
        to_database = Tls(authority, own=self.database_certificate, offered=self.good())
        self.kafka = Kafka(tls=mutual, users={USER: PASSWORD})
        self.database = Timescale(tls=to_database, password=PASSWORD)
        self.pool = PgBouncer(self.database, tls=to_database)
        self.broker = Mosquitto(tls=mutual)
        # A second broker, because mutual TLS replaces user and password.
        self.login_broker = Mosquitto(tls=Tls(authority, offered=self.good()), user=USER, password=PASSWORD)
        self._running = ExitStack()

    def good(self) -> Certificate:
        return self.authority.server("127.0.0.1")

    def __enter__(self) -> Self:
        for server in (self.kafka, self.database, self.pool, self.broker, self.login_broker):
            self._running.enter_context(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    # The options that a pipeline needs to connect.

    @property
    def tls(self) -> dict[str, object]:
        own = self.certificate
        return {"ca": str(self.authority.ca), "cert": str(own.cert), "key": str(own.key)}

    def kafka_options(self) -> dict[str, object]:
        sasl = {"mechanism": mechanism(), "user": USER, "password": PASSWORD}
        return {"brokers": self.kafka.secure_brokers, "tls": self.tls, "sasl": sasl}

    def mqtt_options(self) -> dict[str, object]:
        return {"url": self.broker.url(), "tls": self.tls}

    def login_options(self) -> dict[str, object]:
        return {"url": self.login_broker.url(), "tls": {"ca": str(self.authority.ca)}}


def sets(path: str, options: object) -> list[str]:
    """Return the options in the form of --set."""
    if not isinstance(options, dict):
        return [f"{path}={options}"]
    return [item for key, value in options.items() for item in sets(f"{path}.{key}", value)]
