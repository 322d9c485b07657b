# SPDX-License-Identifier: Apache-2.0
"""Servers that reject, stall or change, and stopping of hosts: rows 5 to 7, 9, 15 to 18, 22, 23 and 26 of README.md."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_host import PipelineHost, configuration
from proxy import Proxy
from stage import FAULT_BUILD, ROUNDS, Load, Stage, reset_offsets, own_timescale

from services import Kafka, PgBouncer, Timescale, wait_until

MIB = 1 << 20
SHORT_LIMITS = {"stall_timeout": "3s", "statement_timeout": "2s", "lock_timeout": "1s"}
QUICK = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500, "max.poll.interval.ms": 4000}
TOLERANT = {**QUICK, "session.timeout.ms": 10_000, "max.poll.interval.ms": 10_000}  # tolerates a busy machine


@contextlib.contextmanager
def unreachable(how: str, stage: Stage, proxy: Proxy) -> Iterator[None]:
    proxy.swallow() if how == "swallowed" else stage.database.pause()
    try:
        yield
    finally:
        proxy.swallow(False) if how == "swallowed" else stage.database.resume()


@pytest.mark.parametrize("how", ["swallowed", "paused"])
def test_05_database_unreachable(kafka: Kafka, unique_name: str, tmp_path: Path, rng: random.Random, how: str) -> None:
    with own_timescale() as database, Proxy(database.port) as proxy:
        stage = Stage(kafka, database, unique_name, tmp_path, rng)
        host = stage.host(
            url=proxy.url(stage.url()), properties=TOLERANT, memory_limit="16MiB", store={**SHORT_LIMITS, "connect_timeout": "2s"}
        )
        with host:
            stage.load.produce(1000)
            stage.wait_for_all()
            rebalances = host.metric("pipeline_kafka_rebalances_total")
            with unreachable(how, stage, proxy):
                stage.load.produce(150_000)
                time.sleep(12 if ROUNDS == 1 else 60)  # longer than max.poll.interval.ms
                host.wait_ready(False)
                assert host.metric("pipeline_memory_bytes") <= 17 * MIB
            stage.wait_for_all()
            assert host.metric("pipeline_kafka_rebalances_total") == rebalances, "the host stayed in the group"
            print(f"peak memory: {host.peak_memory():.0f} MiB")
            assert host.peak_memory() < 128
            stage.finish(host)


FAILING_TRIGGER = """CREATE TABLE error_code (code text);
CREATE FUNCTION fail_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted text;
BEGIN
  SELECT code INTO wanted FROM error_code;
  IF wanted = '57014' THEN PERFORM pg_sleep(60); END IF;
  IF wanted IS NOT NULL THEN RAISE EXCEPTION 'provoked' USING ERRCODE = wanted; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER fail_insert BEFORE INSERT ON stored FOR EACH ROW EXECUTE FUNCTION fail_insert()"""


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("40001", "conflicted with another transaction"),
        ("40P01", "conflicted with another transaction"),
        ("57014", "longer than 'statement_timeout'"),
        ("53100", "disk is full"),
        ("53200", "out of memory"),
        ("42501", "grant the user of 'url' INSERT"),
    ],
    ids=["serialization", "deadlock", "timeout", "disk full", "memory", "rights"],
)
def test_06_database_fails_for_a_while(stage: Stage, code: str, word: str) -> None:
    stage.sql(FAILING_TRIGGER)
    with stage.host(store=SHORT_LIMITS) as host:
        stage.load.produce(2000)
        stage.wait_for_all()
        stage.sql("INSERT INTO error_code VALUES (%s)", code)
        before = stage.rows()
        stage.load.produce(2000)
        host.wait_for_log(word)
        host.wait_ready(False)
        assert stage.rows() == before
        stage.sql("TRUNCATE error_code")
        stage.finish(host)


def test_06_real_deadlock(stage: Stage) -> None:
    """Cause a deadlock: another session locks the positions and then the rows, in the opposite order of the host."""
    with stage.host(lanes=1) as host, stage.database.session(stage.name) as other:
        stage.load.produce(2000)
        stage.wait_for_all()
        other.execute("BEGIN; SELECT * FROM pipeline_positions FOR UPDATE")
        stage.load.produce(2000)
        wait_until(lambda: stage.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "the host to wait for the lock")
        other.execute("LOCK stored IN SHARE ROW EXCLUSIVE MODE")
        host.wait_for_log("40P01")
        other.execute("COMMIT")
        stage.finish(host)


def test_06_table_locked_by_another_session(stage: Stage) -> None:
    with stage.host(store=SHORT_LIMITS) as host, stage.database.session(stage.name) as other:
        stage.load.produce(2000)
        stage.wait_for_all()
        other.execute("BEGIN; LOCK stored IN ACCESS EXCLUSIVE MODE")
        stage.load.produce(2000)
        host.wait_for_log("another session holds a lock on the table")
        other.execute("COMMIT")
        stage.finish(host)


def test_06_server_becomes_read_only(stage: Stage) -> None:
    def set_read_only(value: str) -> None:
        stage.database.execute(f"ALTER DATABASE {stage.name} SET default_transaction_read_only = {value}", database="postgres")

    with stage.host(store=SHORT_LIMITS) as host:
        stage.load.produce(2000)
        stage.wait_for_all()
        set_read_only("on")
        stage.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pipeline-host%'"
                  " AND datname = current_database()")  # fmt: skip
        stage.load.produce(2000)
        host.wait_for_log("the server is read-only")
        host.wait_ready(False)
        set_read_only("off")
        stage.finish(host)


def test_07_pooler_killed_and_restarted(stage: Stage) -> None:
    with PgBouncer(stage.database) as bouncer:
        with stage.host(url=stage.url(bouncer)) as host:
            for number in range(2 + 2 * ROUNDS):
                stage.load.produce(20_000)
                time.sleep(stage.rng.uniform(0, 0.3))
                bouncer.kill() if number % 2 else bouncer.terminate()
                bouncer.start()
            stage.wait_for_all()
            assert host.stop() == 0
        bouncer.stop()  # also closes the pooled connections
        stage.finish()


def test_07_pool_exhausted(stage: Stage) -> None:
    with PgBouncer(stage.database, pool_size=2, settings={"query_wait_timeout": "1"}) as bouncer:
        with stage.host(url=stage.url(bouncer), store=SHORT_LIMITS) as host:
            stage.load.produce(2000)
            stage.wait_for_all()
            with contextlib.ExitStack() as held:
                for _ in range(2):
                    held.enter_context(bouncer.session(stage.name)).execute("BEGIN; SELECT 1")
                stage.load.produce(2000)
                host.wait_for_log("had no free connection to the database in time")
            stage.wait_for_all()
            assert host.stop() == 0
        bouncer.stop()
        stage.finish()


@pytest.mark.parametrize("then", ["earliest", "latest", "stop"])
def test_09_records_expired_before_they_were_read(stage: Stage, then: str) -> None:
    stage.load.produce(4000)
    with stage.host(source={"on_out_of_range": then}) as host:
        stage.wait_for_all()
        assert host.stop() == 0
        stage.load.produce(4000)
        stage.kafka.delete_records(stage.name, dict.fromkeys(range(4), 1600))
        kept = 1600 if then != "latest" else 2000
        stage.accepted.drop((p, offset) for p in range(4) for offset in range(1000, kept))
        host.start()
        partitions = 1 if then == "stop" else 4
        wait_until(lambda: host.log().count(f"LOST: records 1000 to 1599 of {stage.name}/") >= partitions, "the report")
        if then == "stop":
            assert host.wait() == 1
            host = stage.host(source={"on_out_of_range": "earliest"}).start()
        wait_until(lambda: host.metric("pipeline_kafka_lost_records_total") == 4 * 600, "the number of lost records")
        stage.load.produce(400)
        stage.finish(host)


def two_sinks(stage: Stage, second_url: str, memory_limit: str) -> dict[str, object]:
    """Return the sections of a configuration with a second sink that writes to its own table."""
    stage.sql("CREATE TABLE stored2 (LIKE stored INCLUDING ALL)")
    stage.sql("CREATE SEQUENCE arrived2; ALTER TABLE stored2 ALTER arrived SET DEFAULT nextval('arrived2')")
    sinks = stage.parts("host")["sinks"]
    second = {**sinks["store"], "table": "stored2", "url": second_url}
    return {"sinks": {**sinks, "second": second}, "memory_limit": memory_limit}


def second_has_all(stage: Stage) -> bool:
    return sum(stage.positions("second").values()) >= sum(stage.load.ends.values())


def is_paused(host: PipelineHost) -> bool:
    """Return whether the source reads nothing for a second."""
    before = host.metric("pipeline_records_in_total", node="in")
    time.sleep(1)
    return host.metric("pipeline_records_in_total", node="in") == before


@pytest.mark.parametrize("how", ["down", "slow"])
def test_15_one_sink_down_or_slow(stage: Stage, how: str) -> None:
    with Proxy(stage.database.port) as proxy:
        parts = two_sinks(stage, proxy.url(stage.url()), "8MiB")
        with stage.host(**parts) as host:
            stage.load.produce(2000)
            wait_until(lambda: second_has_all(stage), "the second sink")
            if how == "down":
                proxy.refuse()
            else:
                proxy.delay = 0.1
            before = stage.progress()
            stage.load.produce(100_000 * ROUNDS)
            stage.wait_for_progress(before + 1000)
            if how == "down":
                wait_until(lambda: is_paused(host) and host.metric("pipeline_memory_bytes") > 4 * MIB, "the source to pause")
                assert host.metric("pipeline_memory_bytes") <= 9 * MIB
                assert stage.progress() < sum(stage.load.ends.values()), "the source waits for the second sink"
                proxy.refuse(False)
            else:
                proxy.delay = 0
            wait_until(lambda: second_has_all(stage), "the second sink to catch up")
            stage.finish(host)
        second = stage.verdict(table="stored2")
        assert second.good, str(second)


def test_16_broken_records_in_each_batch(kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    stage = Stage(kafka, timescale, unique_name, tmp_path, rng, broken_every=20)
    stage.load.produce(20_000)
    with stage.host() as host:
        stage.finish(host)
    assert len(stage.dead_letters()) == len(stage.accepted.broken) == 1000
    for letter in stage.dead_letters():
        assert letter["node"] == "parsed"
        assert letter["stream"].startswith(f"{stage.name}/")
        assert re.search("empty|not JSON|ends too early|not an object|UTF-16", letter["reason"]), letter


class RejectedLoad(Load):
    """Produces some messages that are well-formed, but that the database rejects."""

    WHY = {13: b'"device_id":"a\\u0000b"', 17: b'"temperature":5000', 19: b'"temperature":1e300'}

    def message(self, number: int) -> bytes:
        good = super().message(number)
        what = self.WHY.get(number % 500)
        if what is None:
            return good
        name = what.partition(b":")[0]
        before, _, rest = good.partition(name)
        return before + what + b"," + rest.partition(b",")[2] if b"," in rest else before + what + b"}"

    def produce(self, count: int) -> None:
        super().produce(count)
        refused = {place for place, number in self.accepted.good.items() if number % 500 in self.WHY}
        self.accepted.drop(refused)
        self.accepted.broken |= refused


def test_17_rows_that_the_database_rejects(stage: Stage) -> None:
    stage.load = RejectedLoad(stage.kafka, stage.name)
    stage.sql("ALTER TABLE stored ALTER temperature TYPE real, ADD CHECK (temperature < 1000)")
    with stage.host(parsed={"nul": "keep"}) as host:
        for _ in range(ROUNDS):
            stage.load.produce(10_000)
            stage.wait_for_all()
        stage.finish(host)
    refused = [letter for letter in stage.dead_letters() if letter["node"] == "store"]
    assert len(refused) == 60 * ROUNDS
    for reason in ("23514", "NUL", "a number of this size"):
        assert sum(reason in letter["reason"] for letter in refused) == 20 * ROUNDS, {letter["reason"] for letter in refused}


@pytest.mark.parametrize("point", ["copy_after", "commit_before", "commit_sent", "commit_after", "settle"])
def test_17_rejected_rows_survive_a_kill(stage: Stage, point: str) -> None:
    stage.load = RejectedLoad(stage.kafka, stage.name)
    stage.sql("ALTER TABLE stored ALTER temperature TYPE real, ADD CHECK (temperature < 1000)")
    stage.load.produce(5000)
    store = {"batch": {"rows": 200, "delay": "5ms"}}
    for _ in range(ROUNDS):
        failpoint = {"PIPELINE_FAILPOINT": f"{point.replace('_', '.')}:{stage.rng.randint(1, 5)}"}
        with stage.host(parsed={"nul": "keep"}, store=store, build=FAULT_BUILD, environment=failpoint) as host:
            stage.produce_until_killed(host)
    with stage.host(parsed={"nul": "keep"}, build=FAULT_BUILD) as host:
        stage.finish(host)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_18_stopped_under_full_load(stage: Stage, which: signal.Signals) -> None:
    with stage.host() as host:
        for _ in range(2 + ROUNDS):
            before = stage.progress()
            stage.load.produce(30_000)
            stage.wait_for_progress(before)
            time.sleep(stage.rng.uniform(0, 0.2))
            started = time.monotonic()
            host.signal(which)
            assert host.wait() == 0
            assert time.monotonic() - started < 40  # shutdown_timeout, and ten seconds
            host.start()
        stage.finish(host)


def test_18_stopped_twice_while_the_database_hangs(stage: Stage) -> None:
    with stage.host() as host, stage.database.session(stage.name) as other:
        stage.load.produce(2000)
        stage.wait_for_all()
        other.execute("BEGIN; LOCK stored IN ACCESS EXCLUSIVE MODE")
        stage.load.produce(20_000)
        wait_until(lambda: stage.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "a write to wait for the lock")
        host.signal(signal.SIGTERM)
        host.wait_for_log("stopping: finishing what is in flight")
        host.signal(signal.SIGTERM)
        assert host.wait() == 130
        other.execute("COMMIT")
        host.start()
        stage.finish(host)


def test_18_stopped_with_a_short_shutdown_timeout(stage: Stage) -> None:
    with stage.host(shutdown_timeout="1s") as host, stage.database.session(stage.name) as other:
        stage.load.produce(2000)
        stage.wait_for_all()
        other.execute("BEGIN; LOCK stored IN ACCESS EXCLUSIVE MODE")
        stage.load.produce(20_000)
        wait_until(lambda: stage.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "a write to wait for the lock")
        assert host.stop() == 3
        other.execute("COMMIT")
        host.start()
        stage.finish(host)


CHANGES = {
    "column dropped": ("ALTER TABLE stored DROP temperature", "temperature", "ALTER TABLE stored ADD temperature float8"),
    "type changed": ("ALTER TABLE stored ALTER temperature TYPE inet USING NULL", "temperature",
                     "ALTER TABLE stored ALTER temperature TYPE float8 USING NULL"),
    "table missing": ("ALTER TABLE stored RENAME TO gone", "there is no table 'stored'", "ALTER TABLE gone RENAME TO stored"),
    "column that must not be null": ("ALTER TABLE stored ADD must int NOT NULL DEFAULT 1; ALTER TABLE stored ALTER must"
                                     " DROP DEFAULT", "must", "ALTER TABLE stored DROP must"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_22_schema_changed_at_runtime(stage: Stage, what: str) -> None:
    change, word, back = CHANGES[what]
    with stage.host(parsed={"extra": "off"}, store={"unmapped": "error"}) as host:
        stage.load.produce(30_000)
        stage.wait_for_progress(0)
        stage.sql(change)
        stage.load.produce(2000)
        wait_until(lambda: any(word in m["message"] and m["level"] == "warn" for m in host.messages()), f"'{word}'")
        host.wait_ready(False)
        stage.sql(back)
        stage.finish(host)


def test_23_reloaded_under_load(stage: Stage) -> None:
    reloads = 4 + 2 * ROUNDS
    with stage.host() as host:
        for number in range(1, reloads + 1):
            before = stage.progress()
            stage.load.produce(20_000)
            stage.wait_for_progress(before)
            rows = stage.rng.choice([100, 500, 3000])
            transforms: dict[str, object] = stage.parts("host")["transforms"]
            sinks = stage.parts("host", store={"batch": {"rows": rows, "delay": "20ms"}})["sinks"]
            if number % 2:  # add a transform
                transforms["again"] = {"plugin": "threshold_alert", "from": "parsed",
                                       "rules": [{"name": "hot", "metric": "temperature", "above": 40}]}  # fmt: skip
                sinks["alerts"] = {"plugin": "file_sink", "from": "again", "path": "alerts.ndjson", "delivery": "at_least_once"}
            configuration(host.directory, **{**stage.parts("host"), "transforms": transforms, "sinks": sinks})
            host.signal(signal.SIGHUP)
            wait_until(
                lambda number=number: host.metric("pipeline_config_reloads_total", result="ok") == number, "the reload"
            )
        stage.finish(host)


def test_23_invalid_configuration_is_rejected(stage: Stage) -> None:
    with stage.host() as host:
        for number, store in enumerate([{"tabel": "x"}, {"plugin": "nothing"}, {"from": "nobody"}], 1):
            stage.load.produce(10_000)
            configuration(host.directory, **stage.parts("host", store=store))
            host.signal(signal.SIGHUP)
            wait_until(
                lambda number=number: host.metric("pipeline_config_reloads_total", result="failed") == number, "the rejection"
            )
            host.wait_for_log("the old configuration stays in effect")
            before = stage.progress()
            stage.load.produce(1000)
            stage.wait_for_progress(before)
        stage.finish(host)


def recreate_topic(stage: Stage, count: int) -> None:
    """Delete the topic and create it again with other records."""
    stage.check()
    stage.sql("TRUNCATE stored")
    stage.kafka.delete_topic(stage.name)
    stage.kafka.create_topic(stage.name, 4, {"retention.ms": -1})
    stage.load = Load(stage.kafka, stage.name)
    stage.load.next = 1_000_000
    stage.hosts.clear()  # and their dead letters
    stage.load.produce(count)


@pytest.mark.parametrize("then", ["earliest", "latest", "stop"])
def test_26_positions_beyond_the_end_of_a_new_topic(stage: Stage, then: str) -> None:
    stage.load.produce(8000)
    with stage.host(properties=QUICK) as host:
        stage.wait_for_all()
        assert host.stop() == 0
    recreate_topic(stage, 4000)
    beyond = f"position 2000 of {stage.name}/"
    with stage.host("later", properties=QUICK, source={"on_out_of_range": then}) as host:
        wait_until(lambda: host.log().count(beyond) >= (1 if then == "stop" else 4), "the report")
        if then == "stop":
            assert host.wait() == 1
            host = stage.host("later", properties=QUICK, source={"on_out_of_range": "earliest"}).start()
        elif then == "latest":
            stage.accepted.drop([*stage.accepted.good, *stage.accepted.broken])
        stage.load.produce(400)
        stage.finish(host)


@pytest.mark.parametrize("then", ["earliest", "stop"])
def test_26_positions_inside_other_data(stage: Stage, then: str) -> None:
    """The new topic is longer than the old one, so the offsets look valid. The group's offsets were deleted."""
    stage.load.produce(4000)
    with stage.host(properties=QUICK) as host:
        stage.wait_for_all()
        assert host.stop() == 0
    recreate_topic(stage, 8000)
    with stage.host("later", properties=QUICK, source={"on_out_of_range": then}) as host:
        report = f"the group has no offset of {stage.name}/"
        wait_until(lambda: host.log().count(report) >= (1 if then == "stop" else 4), "the report")
        if then == "stop":
            assert host.wait() == 1
        else:
            assert host.log().count("records 0 to 999 (1000 records) are not read") == 4
            wait_until(lambda: stage.progress() == 8000, "the rest")
            assert host.stop() == 0
            assert stage.rows() < len(stage.accepted.good)
            stage.sql("TRUNCATE stored")
        reset_offsets(stage, "--to-earliest")
        host.start()
        wait_until(lambda: stage.rows() >= len(stage.accepted.good), "all records of the new topic")
        stage.finish(host)
