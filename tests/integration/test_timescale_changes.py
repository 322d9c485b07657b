# SPDX-License-Identifier: Apache-2.0
"""timescale_sink while its surroundings change: tables, settings of a pooled session, rights, and the server's resources.

Each test checks the stored rows: nothing lost, nothing twice, exact values, in the right table.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PROGRAM, PipelineHost, configuration, dead_letters

from services import PgBouncer, Postgres, Timescale, wait_until

START = 1_763_000_000_000
QUICK = {"retry": {"initial": "50ms", "max": "200ms"}}


class Readings:
    """A file of numbered readings, and a host that stores them exactly once."""

    def __init__(self, folder: Path, url: str, *, spread: int = 1) -> None:
        self.folder, self.url, self.spread = folder, url, spread
        self.folder.mkdir(exist_ok=True)
        self.file = folder / "readings.ndjson"

    def add(self, first: int, end: int) -> None:
        with self.file.open("a") as file:
            for n in range(first, end):
                file.write(json.dumps({"time": START + n * self.spread, "n": n, "temperature": n / 4}) + "\n")

    def host(self, *, follow: bool = False, delivery: str = "exactly_once", **options: object) -> PipelineHost:
        store = {"plugin": "timescale_sink", "from": "parsed", "url": self.url, "table": "readings", **QUICK, **options}
        config = configuration(
            self.folder,
            delivery=delivery,
            sources={"file": {"plugin": "file_source", "path": "readings.ndjson", "follow": follow}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "file", "ids": [], "metrics": ["temperature"],
                                   "columns": [{"name": "n", "type": "int"}], "extra": "off"}},
            sinks={"store": store},
            dead_letters={"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"},
        )  # fmt: skip
        return PipelineHost(config, self.folder)


class Store:
    """The table of a test."""

    def __init__(self, server: Postgres, database: str) -> None:
        self.server, self.database = server, database

    def sql(self, text: str) -> None:
        self.server.execute(text, database=self.database)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        return self.server.query(text, database=self.database)

    def create(self, more: str = "", name: str = "readings") -> None:
        self.sql(f"CREATE TABLE {name} (time timestamptz NOT NULL, n bigint, temperature float8){more}")

    def numbers(self, table: str = "readings") -> list[int]:
        return [n for (n,) in self.query(f"SELECT n FROM {table} ORDER BY n")]

    def largest_write(self) -> int:
        return int(str(self.query("SELECT max(c) FROM (SELECT count(*) AS c FROM readings GROUP BY xmin::text) t")[0][0]))


@pytest.fixture
def store(timescale: Timescale, database: str) -> Store:
    return Store(timescale, database)


@pytest.fixture
def one_session(timescale: Timescale) -> Iterator[PgBouncer]:
    """A pooler with a single connection to the database, so that each client uses the session of the one before."""
    with PgBouncer(timescale, pool_size=1) as pooler:
        yield pooler


# ------------------------------------------------------------------------------------------------ the size of a write ---


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize(
    ("batch", "most"),
    [
        ({"rows": 10, "max_bytes": "1KiB"}, 21),  # three values, 48 bytes a row
        ({"rows": 10, "max_rows": 100}, 100),
        ({"rows": 1000, "max_rows": 1}, 1),
    ],
)
def test_no_write_is_larger_than_batch_allows(
    timescale: Timescale, store: Store, tmp_path: Path, delivery: str, batch: dict[str, object], most: int
) -> None:
    store.create()
    readings = Readings(tmp_path, timescale.url(store.database))
    readings.add(0, 2000)
    with readings.host(delivery=delivery, batch=batch) as host:
        assert host.wait() == 0
    assert store.numbers() == list(range(2000))
    assert store.query("SELECT count(*) FROM readings WHERE temperature <> n / 4.0") == [(0,)]
    assert 0 < store.largest_write() <= most


def test_a_host_that_is_killed_inside_a_source_batch_continues_there(
    timescale: Timescale, store: Store, tmp_path: Path
) -> None:
    """The position moves with each part of a source batch, so that a kill repeats and loses nothing."""
    store.create()
    readings = Readings(tmp_path, timescale.url(store.database))
    readings.add(0, 3000)
    inside, seen = 0, -1
    for wanted in range(150, 3000, 300):
        with readings.host(follow=True, batch={"rows": 5, "max_rows": 7}) as host:
            wait_until(lambda: len(store.numbers()) >= wanted, f"{wanted} rows")
            host.kill()
        numbers = store.numbers()
        assert numbers == list(range(len(numbers)))
        inside += len(numbers) != seen and len(numbers) < 3000
        seen = len(numbers)
    with readings.host(batch={"rows": 5, "max_rows": 7}) as host:
        assert host.wait() == 0
    assert store.numbers() == list(range(3000))
    assert store.largest_write() <= 7
    assert inside > 0, "each kill came too late"


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_write_into_more_partitions_than_the_server_can_lock(tmp_path: Path, unique_name: str, delivery: str) -> None:
    settings = {"max_locks_per_transaction": "10", "max_connections": "12", "max_worker_processes": "0",
                "max_prepared_transactions": "0", "autovacuum": "off"}  # fmt: skip
    with Postgres(settings=settings) as server:
        server.create_database(unique_name)
        store = Store(server, unique_name)
        store.create(" PARTITION BY RANGE (n)")
        partitions = [f"part{n}" for n in range(900)]
        with server.session(database=unique_name) as session:
            for n, name in enumerate(partitions):
                session.execute(f"CREATE TABLE {name} PARTITION OF readings FOR VALUES FROM ({n}) TO ({n + 1})")
        readings = Readings(tmp_path, server.url(unique_name))
        readings.add(0, 900)
        with readings.host(delivery=delivery, batch={"rows": 900}) as host:
            assert host.wait() == 0
            log = host.log()
        numbers = []  # a query of the whole table would need too many locks, too
        for first in range(0, 900, 50):
            numbers += store.query(" UNION ALL ".join(f"SELECT n FROM {name}" for name in partitions[first : first + 50]))
        assert sorted(n for (n,) in numbers) == list(range(900))
        assert "out of shared memory (SQLSTATE 53200)" in log
        assert "HINT: You might need to increase" in log and "max_locks_per_transaction" in log
        assert "in parts of " in log
        assert dead_letters(tmp_path) == []


def test_a_trigger_that_is_too_slow_for_a_large_write(timescale: Timescale, store: Store, tmp_path: Path) -> None:
    store.create()
    store.sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$")
    store.sql("CREATE TRIGGER slow BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION slow()")
    readings = Readings(tmp_path, timescale.url(store.database))
    readings.add(0, 600)
    with readings.host(batch={"rows": 600}, statement_timeout="2s") as host:
        assert host.wait() == 0
        assert "(SQLSTATE 57014)" in host.log() and "in parts of " in host.log()
    assert store.numbers() == list(range(600))
    assert dead_letters(tmp_path) == []


# ------------------------------------------------------------------------------------- 31: the table changes -----------

CHANGES = {
    "columns swapped": (
        "ALTER TABLE readings ADD t_new bigint; ALTER TABLE readings RENAME temperature TO t_old;"
        " ALTER TABLE readings RENAME t_new TO temperature",
        "SELECT n, coalesce(t_old, temperature) FROM readings",
    ),
    "column dropped and added": (
        "ALTER TABLE readings DROP n; ALTER TABLE readings ADD n numeric",
        "SELECT coalesce(n, temperature * 4), temperature FROM readings",
    ),
    "type changed": ("ALTER TABLE readings ALTER temperature TYPE text", "SELECT n, temperature::float8 FROM readings"),
    "table recreated": (
        "ALTER TABLE readings RENAME TO first; CREATE TABLE readings (temperature numeric, n bigint, time timestamptz)",
        "SELECT n, temperature FROM readings UNION ALL SELECT n, temperature FROM first",
    ),
    "table truncated": ("CREATE TABLE first AS TABLE readings; TRUNCATE readings",
                        "SELECT n, temperature FROM readings UNION ALL SELECT n, temperature FROM first"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_31_the_table_changes_while_rows_are_written(
    timescale: Timescale, store: Store, tmp_path: Path, what: str, delivery: str
) -> None:
    change, values = CHANGES[what]
    store.create()
    readings = Readings(tmp_path, timescale.url(store.database))
    readings.add(0, 400)
    with readings.host(follow=True, delivery=delivery, batch={"rows": 50, "delay": "10ms"}) as host:
        wait_until(lambda: len(store.numbers()) == 400, "the first rows")
        with timescale.session(database=store.database) as session:
            session.execute("BEGIN")
            session.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            readings.add(400, 800)  # these wait for the change
            session.execute(change)
            session.execute("COMMIT")
        readings.add(800, 1200)
        wait_until(lambda: len(store.query(values)) + len(dead_letters(tmp_path)) >= 1200, "all rows")
        assert host.stop() == 0
    found = sorted((int(n), float(t)) for n, t in store.query(values))
    letters = {json.loads(letter["value"])["n"] for letter in dead_letters(tmp_path)}
    assert letters == ({n for n in range(400, 1200) if n % 4 != 0} if what == "columns swapped" else set())
    assert found == [(n, n / 4) for n in range(1200) if n not in letters], "a fraction does not fit bigint"


def test_31_a_table_that_is_renamed_is_not_created_again(timescale: Timescale, store: Store, tmp_path: Path) -> None:
    readings = Readings(tmp_path, timescale.url(store.database))
    readings.add(0, 100)
    with readings.host(follow=True, create={}) as host:
        wait_until(lambda: store.query("SELECT to_regclass('readings')::text") == [("readings",)], "the table")
        wait_until(lambda: len(store.numbers()) == 100, "the first rows")
        store.sql("ALTER TABLE readings RENAME TO elsewhere")
        readings.add(100, 200)
        host.wait_for_log("which existed before; it is not created again while the pipeline runs")
        host.wait_ready(False)
        assert store.query("SELECT to_regclass('readings')::text") == [(None,)]
        store.sql("ALTER TABLE elsewhere RENAME TO readings")
        wait_until(lambda: len(store.numbers()) == 200, "all rows")
        host.wait_ready()
        assert host.stop() == 0
    assert store.numbers() == list(range(200))


# ------------------------------------------------------------------- 32: settings that other clients leave behind ------

LEAKS = {
    "search_path": "SET search_path = other",
    "standard_conforming_strings": "SET standard_conforming_strings = off",
    "date style": "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = sql_standard; SET TimeZone = 'Asia/Kolkata'",
    "output": "SET bytea_output = escape; SET extra_float_digits = -10",
    "read-only": "SET default_transaction_read_only = on",
    "isolation": "SET default_transaction_isolation = serializable; SET default_transaction_deferrable = on",
    "row security": "SET row_security = off",
    "role": "SET ROLE pg_monitor",
    "timeouts": "SET statement_timeout = 100; SET lock_timeout = 1",
    "temporary table": "CREATE TEMPORARY TABLE readings (time timestamptz, n bigint, temperature float8)",
}


def leak(pooler: PgBouncer, database: str, sql: str) -> None:
    with pooler.session(database=database) as session:
        for statement in sql.split("; "):
            session.execute(statement)


def test_32_the_same_tables_and_values_whatever_another_client_has_set(
    one_session: PgBouncer, store: Store, tmp_path: Path
) -> None:
    """One run for each setting. Each continues where the last one stopped, from its stored position."""
    store.sql("CREATE SCHEMA other")
    store.create(name="other.readings")
    store.create()
    readings = Readings(tmp_path, one_session.url(store.database))
    for i, (name, sql) in enumerate(LEAKS.items()):
        readings.add(100 * i, 100 * (i + 1))
        leak(one_session, store.database, sql)
        with readings.host(create={}) as host:
            assert host.wait() == 0, name
        assert store.numbers("public.readings") == list(range(100 * (i + 1))), name
        leak(one_session, store.database, "DISCARD ALL")
    assert store.query("SELECT count(*) FROM other.readings") == [(0,)]
    assert store.query("SELECT count(*) FROM readings WHERE temperature <> n / 4.0") == [(0,)]
    tables = store.query("SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                         " WHERE relname LIKE 'pipeline_%' AND relkind = 'r' ORDER BY 1")  # fmt: skip
    assert tables == [("public.pipeline_positions",), ("public.pipeline_state",)]


@pytest.mark.parametrize("name", LEAKS)
def test_32_another_client_changes_the_session_while_rows_are_written(
    one_session: PgBouncer, store: Store, tmp_path: Path, name: str
) -> None:
    store.sql("CREATE SCHEMA other")
    store.create()
    readings = Readings(tmp_path, one_session.url(store.database))
    readings.add(0, 100)
    with readings.host(follow=True, create={}) as host:
        wait_until(lambda: len(store.numbers()) == 100, "the first rows")
        leak(one_session, store.database, LEAKS[name])
        readings.add(100, 200)
        wait_until(lambda: len(store.numbers("public.readings")) == 200, "rows after the change")
        store.sql("ALTER TABLE public.readings ADD more text")  # the catalog is read again
        readings.add(200, 300)
        wait_until(lambda: len(store.numbers("public.readings")) == 300, "rows after the catalog was read")
        assert host.stop() == 0
    assert store.numbers("public.readings") == list(range(300))
    assert store.query("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                       " WHERE nspname = 'other'") == [(0,)]  # fmt: skip
    assert dead_letters(tmp_path) == []


def test_32_alert_state_survives_standard_conforming_strings(timescale: Timescale, store: Store, tmp_path: Path) -> None:
    """The setting of a role applies to each connection: state is stored and read back as it is."""
    role = f"writer_{store.database}"[:60]
    store.sql(f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET standard_conforming_strings = off")
    store.sql(f"GRANT ALL ON SCHEMA public TO {role}")
    store.create()
    store.sql(f"GRANT ALL ON readings TO {role}")
    folder = tmp_path / "alerts"
    url = timescale.url(store.database).replace("postgres@", f"{role}@")
    folder.mkdir()
    file = folder / "readings.ndjson"

    def run(values: list[float], first: int) -> list[dict[str, Any]]:
        with file.open("a") as out:
            for i, value in enumerate(values):
                out.write(json.dumps({"device_id": "it's \\x41", "time": START + 1000 * (first + i), "temperature": value}) + "\n")
        config = configuration(
            folder,
            delivery="exactly_once",
            sources={"file": {"plugin": "file_source", "path": "readings.ndjson"}},
            transforms={
                "parsed": {"plugin": "json_telemetry", "from": "file", "ids": ["device_id"], "metrics": ["temperature"], "extra": "off"},
                "alerts": {"plugin": "threshold_alert", "from": "parsed", "group_by": ["device_id"],
                           "rules": [{"name": "hot", "metric": "temperature", "above": 80, "clear_below": 75}]},
            },
            sinks={"store": {"plugin": "timescale_sink", "from": "parsed", "url": url, "table": "readings", "unmapped": "ignore"},
                   "notify": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson", "delivery": "at_least_once"}},
            dead_letters={"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"},
        )  # fmt: skip
        with PipelineHost(config, folder) as host:
            assert host.wait() == 0
        lines = (folder / "alerts.ndjson").read_text().splitlines() if (folder / "alerts.ndjson").exists() else []
        return [json.loads(line) for line in lines]

    fired = run([70, 90, 91], 0)
    assert [a["state"] for a in fired] == ["firing"]
    resolved = run([92, 70], 3)  # a new process: the open alert is read from the database
    assert [a["state"] for a in resolved] == ["firing", "resolved"]
    assert resolved[0]["id"] == resolved[1]["id"]


# --------------------------------------------------------------------------- 34: rights, and what no retry can cure ----


def test_34_a_right_is_revoked_and_granted_again(timescale: Timescale, store: Store, tmp_path: Path) -> None:
    role = f"writer_{store.database}"[:60]
    store.create()
    store.sql(f"CREATE ROLE {role} LOGIN")
    store.sql(f"GRANT ALL ON SCHEMA public TO {role}")
    store.sql(f"GRANT ALL ON readings TO {role}")
    readings = Readings(tmp_path, timescale.url(store.database).replace("postgres@", f"{role}@"))
    readings.add(0, 100)
    with readings.host(follow=True) as host:
        wait_until(lambda: len(store.numbers()) == 100, "the first rows")
        for i, (table, right) in enumerate([("readings", "INSERT"), ("pipeline_positions", "UPDATE")]):
            store.sql(f"REVOKE {right} ON {table} FROM {role}")
            first = 100 * (i + 1)
            readings.add(first, first + 100)
            host.wait_for_log(f"permission denied for table {table} (SQLSTATE 42501)")
            host.wait_ready(False)
            assert len(store.numbers()) == first
            store.sql(f"GRANT {right} ON {table} TO {role}")
            wait_until(lambda first=first: len(store.numbers()) == first + 100, "the rows that waited")
            host.wait_ready()
        assert host.stop() == 0
    assert store.numbers() == list(range(300))
    assert dead_letters(tmp_path) == []


def test_statement_pooling_is_recognized_at_start(timescale: Timescale, store: Store, tmp_path: Path) -> None:
    store.create()
    with PgBouncer(timescale, pool_mode="statement") as pooler:
        readings = Readings(tmp_path, pooler.url(store.database))
        readings.add(0, 10)
        with readings.host() as host:
            assert host.wait() == 1
            assert "statement pooling mode" in host.log()
            assert "set pool_mode = transaction in PgBouncer" in host.log()
        checked = subprocess.run([PROGRAM, "validate", "--connect", str(tmp_path / "pipeline.yaml")], cwd=tmp_path,
                                 capture_output=True, text=True, timeout=180, check=False)  # fmt: skip
        assert checked.returncode != 0
        assert "set pool_mode = transaction in PgBouncer" in checked.stdout + checked.stderr
