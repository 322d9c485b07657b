# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests, in addition to the servers of ../conftest.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from services import Kafka, Mosquitto, PgBouncer, Timescale  # noqa: E402


class Servers:
    """The servers of the default pipeline, a topic and a database for one test."""

    def __init__(
        self, kafka: Kafka, timescale: Timescale, pgbouncer: PgBouncer, mosquitto: Mosquitto, name: str
    ) -> None:
        self.kafka, self.timescale, self.pgbouncer, self.mosquitto = kafka, timescale, pgbouncer, mosquitto
        self.topic = self.group = self.database = name
        self.environment = {
            "KAFKA_BROKERS": kafka.brokers,
            "DATABASE_URL": pgbouncer.url(name),
            "MQTT_URL": mosquitto.url(),
        }
        self.sets = [f"sources.telemetry.topic={name}", f"sources.telemetry.group={name}"]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        return self.timescale.query(sql, database=self.database)

    def stored(self) -> int:
        """Return the number of rows in raw_telemetry, or 0 if the table does not exist yet."""
        if not self.query("SELECT 1 FROM pg_tables WHERE tablename = 'raw_telemetry'"):
            return 0
        return int(str(self.query("SELECT count(*) FROM raw_telemetry")[0][0]))


@pytest.fixture
def servers(
    kafka: Kafka, timescale: Timescale, pgbouncer: PgBouncer, mosquitto: Mosquitto,
    database: str,
) -> Iterator[Servers]:  # fmt: skip
    kafka.create_topic(database, partitions=4)
    yield Servers(kafka, timescale, pgbouncer, mosquitto, database)
    kafka.delete_topic(database)
