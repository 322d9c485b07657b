"""Servers for all tests: real ones, started when the first test asks, stopped after the last.

A test that kills, stops or pauses a server starts one of its own (`with Kafka() as kafka:`). A
server that does not start fails its tests; nothing is skipped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from services import Authority, Kafka, Mosquitto, PgBouncer, Postgres, Timescale

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    with Kafka() as service:
        yield service


@pytest.fixture(scope="session")
def timescale() -> Iterator[Timescale]:
    with Timescale() as service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as service:
        yield service


@pytest.fixture(scope="session")
def pgbouncer(timescale: Timescale) -> Iterator[PgBouncer]:
    """In front of `timescale`, pooling by transaction."""
    with PgBouncer(timescale) as service:
        yield service


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as service:
        yield service


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates for servers and clients of the tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses, fit for a topic, a table, a database or a group."""
    words = re.sub(r"\W+", "_", request.node.name.lower()).strip("_")
    return f"{words[:40]}_{next(_numbers)}"


@pytest.fixture
def database(timescale: Timescale, unique_name: str) -> Iterator[str]:
    """The name of an empty database of `timescale`, for this test alone."""
    timescale.create_database(unique_name)
    yield unique_name
    timescale.drop_database(unique_name)
