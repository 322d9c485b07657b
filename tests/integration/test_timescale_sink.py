# SPDX-License-Identifier: Apache-2.0
"""timescale_sink on real servers: its own test program, and several hosts that write to one table."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from pipeline_host import BUILD, PLUGINS, PipelineHost, configuration, dead_letters

from services import PgBouncer, Postgres, Timescale

START = 1_763_000_000_000
CREATE = {
    "columns": {"status": "text"},
    "hypertable": {"chunk_interval": "1d"},
    "indexes": ["device_id, time DESC"],
}  # fmt: skip


def passes(url: str, direct: str, *arguments: str) -> None:
    """Run the test cases of timescale_sink_it with this server, by default all."""
    environment = {"DATABASE_URL": url, "DATABASE_DIRECT_URL": direct, "PIPELINE_PLUGIN_DIR": str(PLUGINS)}
    done = subprocess.run(
        [BUILD / "bin" / "timescale_sink_it", *arguments], env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_its_own_tests_pass_on_timescaledb(timescale: Timescale, database: str) -> None:
    passes(timescale.url(database), timescale.url(database))


def test_its_own_tests_pass_on_timescaledb_behind_pgbouncer(
    timescale: Timescale, pgbouncer: PgBouncer, database: str
) -> None:
    passes(pgbouncer.url(database), timescale.url(database))


def test_a_transaction_that_began_early_does_not_keep_the_only_connection_of_a_pool(
    timescale: Timescale, database: str
) -> None:
    with PgBouncer(timescale, pool_size=1) as pool:
        passes(pool.url(database), timescale.url(database), "--test-case=what has begun early is rolled back*")


def test_its_own_tests_pass_on_plain_postgresql(postgres: Postgres, unique_name: str) -> None:
    url = postgres.create_database(unique_name)
    passes(url, url)


class Telemetry:
    """Files of readings, and hosts that store them in one table."""

    def __init__(self, server: Timescale | PgBouncer, timescale: Timescale, database: str, folder: Path) -> None:
        self.url, self.folder = server.url(database), folder
        self.query = lambda sql: timescale.query(sql, database=database)

    def host(self, name: str, first: int, count: int, **options: object) -> PipelineHost:
        directory = self.folder / name
        config = configuration(
            directory,
            sources={"file": {"plugin": "file_source", "path": "readings.ndjson"}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "file", "metrics": ["temperature"], "extra": "off"}},
            sinks={"store": {"plugin": "timescale_sink", "from": "parsed", "url": self.url, "table": "telemetry", **options}},
            dead_letters={"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"},
        )
        (directory / "readings.ndjson").write_text("".join(self.reading(n) + "\n" for n in range(first, first + count)))
        return PipelineHost(config, directory)

    @staticmethod
    def reading(n: int) -> str:
        return json.dumps({"user_id": "u", "device_id": f"d{n % 9}", "time": START + n, "temperature": n / 4})

    def catalog(self) -> list[tuple[object, ...]]:
        """Return the definitions of all tables: columns, indexes, constraints, triggers, rights, hypertables."""
        relation = "FROM pg_class c JOIN pg_namespace s ON s.oid = relnamespace WHERE nspname = 'public'"
        return self.query(
            f"SELECT 'table', relname, concat_ws(' ', relfilenode, relkind, relacl, relhastriggers) {relation}"
            f" UNION ALL SELECT relname, attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attnum)"
            f" FROM pg_attribute JOIN (SELECT c.oid, relname {relation}) r ON attrelid = r.oid"
            f" UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            f" UNION ALL SELECT 'hypertable', hypertable_schema, hypertable_name FROM timescaledb_information.hypertables"
            f" ORDER BY 1, 2, 3"
        )


@pytest.fixture
def telemetry(timescale: Timescale, pgbouncer: PgBouncer, database: str, tmp_path: Path) -> Telemetry:
    return Telemetry(pgbouncer, timescale, database, tmp_path)


def test_hosts_that_start_together_create_one_table(telemetry: Telemetry) -> None:
    with contextlib.ExitStack() as running:
        hosts = [telemetry.host(f"host{i}", 1000 * i, 1000, create=CREATE) for i in range(4)]
        for host in hosts:
            running.enter_context(host)
        assert [host.wait() for host in hosts] == [0] * 4
        assert sum("created " in host.log() for host in hosts) == 1, "one host creates the table, the others use it"
    assert telemetry.query("SELECT count(*), count(DISTINCT time) FROM telemetry") == [(4000, 4000)]
    assert telemetry.query("SELECT hypertable_name FROM timescaledb_information.hypertables") == [("telemetry",)]
    assert telemetry.query("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%(device_id, \"time\" DESC)'"
                           " AND tablename = 'telemetry'") == [(1,)]  # fmt: skip


def test_an_existing_table_is_never_altered(telemetry: Telemetry) -> None:
    telemetry.query("CREATE TABLE telemetry (time timestamptz, device_id text, temperature real CHECK (temperature > -300))")
    telemetry.query("CREATE TABLE neighbour (n int PRIMARY KEY)")
    before = telemetry.catalog()
    with telemetry.host("wrong", 0, 100, create=CREATE) as host:
        assert host.wait() == 1
        assert "no column for the input field 'user_id'" in host.log()
    assert telemetry.catalog() == before
    with telemetry.host("right", 0, 100, create=CREATE, unmapped="ignore") as host:
        assert host.wait() == 0
    assert telemetry.query("SELECT count(*), sum(temperature) FROM telemetry") == [(100, sum(range(100)) / 4)]
    assert telemetry.catalog() == before


@pytest.mark.parametrize("speaks", ["at the row", "at the end"])
def test_rows_that_the_database_rejects_are_found(telemetry: Telemetry, speaks: str) -> None:
    """A deferred constraint fails at COMMIT and does not name the row, so only bisection finds the row."""
    bad = [1000, 1001, 4321]
    refused = ", ".join(str(n / 4) for n in bad)
    if speaks == "at the row":
        clause, sqlstate = f"CHECK (temperature NOT IN ({refused}))", "23514"
    else:
        telemetry.query("CREATE TABLE known (t float8 PRIMARY KEY)")
        telemetry.query(f"INSERT INTO known SELECT n / 4.0 FROM generate_series(0, 5000) n WHERE n / 4.0 NOT IN ({refused})")
        clause, sqlstate = "REFERENCES known DEFERRABLE INITIALLY DEFERRED", "23503"
    telemetry.query(f"CREATE TABLE telemetry (time timestamptz, user_id text, device_id text, temperature float8 {clause})")
    with telemetry.host("host", 0, 5000) as host:
        assert host.wait() == 0
    letters = dead_letters(host.directory)
    assert [letter["value"] for letter in letters] == [telemetry.reading(n) for n in bad]
    assert all(f"(SQLSTATE {sqlstate})" in letter["reason"] and letter["node"] == "store" for letter in letters)
    assert telemetry.query("SELECT count(*), count(DISTINCT time) FROM telemetry") == [(4997, 4997)]
