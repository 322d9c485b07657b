"""Fixtures with real servers for all tests. A server starts for its first test and stops after the last test.

A test that kills, stops or pauses a server must start its own (`with Kafka() as kafka:`). If a server does not start,
its tests fail; no test is skipped.
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
    """PgBouncer in front of `timescale`; it pools by transaction."""
    with PgBouncer(timescale) as service:
        yield service


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    with Mosquitto() as service:
        yield service


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority for servers and clients of the tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses; valid for a topic, a table, a database or a group."""
    words = re.sub(r"\W+", "_", request.node.name.lower()).strip("_")
    return f"{words[:40]}_{next(_numbers)}"


@pytest.fixture
def database(timescale: Timescale, unique_name: str) -> Iterator[str]:
    """The name of an empty database of `timescale` for this test only."""
    timescale.create_database(unique_name)
    yield unique_name
    timescale.drop_database(unique_name)
