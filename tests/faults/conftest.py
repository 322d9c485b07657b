# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the fault tests: a stage for each test, and its seeded random numbers."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "integration"), str(Path(__file__).parent)]

from stage import LONG, ROUNDS, SEED, Stage, own_timescale  # noqa: E402

from services import Kafka, Timescale  # noqa: E402

collect_ignore = [] if ROUNDS >= LONG else ["test_big_kill.py", "test_silence_long.py", "test_sink_outage_long.py"]


def pytest_report_header() -> str:
    return f"FAULT_SEED={SEED} ROUNDS={ROUNDS}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    again = f"FAULT_SEED={SEED} ROUNDS={ROUNDS} /usr/bin/python3 -m pytest"
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        terminalreporter.write_line(f"failed; run it again with the same seed: {again} '{report.nodeid}'")
    terminalreporter.write_line(f"all tests with the same seed: {again} tests/faults")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend only on the seed and the name of the test."""
    print(f"FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def timescale() -> Iterator[Timescale]:
    with own_timescale() as service:
        yield service


@pytest.fixture
def stage(kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> Iterator[Stage]:
    """A stage on the servers that all tests share."""
    made = Stage(kafka, timescale, unique_name, tmp_path, rng)
    yield made
    timescale.drop_database(unique_name)
    kafka.delete_topic(unique_name)
