# SPDX-License-Identifier: Apache-2.0
"""The long variant of tests/integration/test_sink_outage.py: the database is stopped for ten minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import own_timescale
from test_sink_outage import play

from services import Kafka, Mosquitto


@pytest.fixture
def topic(kafka: Kafka, unique_name: str) -> Iterator[str]:
    kafka.create_topic(unique_name, 6)
    yield unique_name
    kafka.delete_topic(unique_name)


def test_alerts_leave_while_the_database_is_down_for_ten_minutes(
    kafka: Kafka, mosquitto: Mosquitto, topic: str, tmp_path: Path
) -> None:
    with own_timescale() as server:
        play(kafka, mosquitto, server, topic, tmp_path, rate=2000, outage=600)
