# SPDX-License-Identifier: Apache-2.0
"""The long variant of tests/integration/test_silence.py: ROUNDS rounds of all faults, in random order."""

from __future__ import annotations

from pathlib import Path

from stage import ROUNDS
from test_silence import play

from services import Kafka, Mosquitto, Postgres, TcpProxy, free_port


def test_29_silence(mosquitto: Mosquitto, postgres: Postgres, tmp_path: Path) -> None:
    port = free_port()
    with TcpProxy(port) as broker, Kafka(proxied=(port, broker.port)) as kafka:
        play(kafka, broker, mosquitto, postgres, tmp_path, ROUNDS)
