# SPDX-License-Identifier: Apache-2.0
"""Servers that let in by TLS alone, and whoever has a certificate and a password."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from services import Authority, Certificate, Kafka, Mosquitto, PgBouncer, Timescale, Tls

USER = "iot"
PASSWORD = "s3cret-0f-the-test"

def mechanism() -> str:
    """What this machine's librdkafka can log in to Kafka 4 with: before 2.6.1 it can't by SCRAM."""
    version = ctypes.CDLL("librdkafka.so.1").rd_kafka_version()
    return "SCRAM-SHA-512" if version >= 0x020601FF else "PLAIN"


class SecureServers:
    """All servers of the default way, each with a certificate for 127.0.0.1 and for no other name.

    `certificate` is the one that the pipeline shows to Kafka and MQTT, `database_certificate` its
    user's in the database.
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
        # Another one, as mutual TLS takes the place of user and password.
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

    # The options with which a pipeline gets in.

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
    """Options as --set takes them."""
    if not isinstance(options, dict):
        return [f"{path}={options}"]
    return [item for key, value in options.items() for item in sets(f"{path}.{key}", value)]
