# SPDX-License-Identifier: Apache-2.0
"""Faults that the exactly-once protocol must survive: rows 1 to 4, 8, 10, 11, 25 and 27 of README.md."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import statistics
import time
from pathlib import Path

import pytest
from pipeline_host import PipelineHost
from proxy import WRITE_COMMIT, Harm, Proxy
from stage import FAULT_BUILD, LONG, ROUNDS, Stage, reset_offsets, own_timescale

from services import Kafka, KafkaError, PgBouncer, Timescale, wait_until

QUICK = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300, "max.poll.interval.ms": 2000}  # quick removal of dead members
SHORT_LIMITS = {"stall_timeout": "3s", "statement_timeout": "2s", "lock_timeout": "2s"}


def test_01_host_killed_at_random_moments(stage: Stage) -> None:
    recoveries = []
    stage.load.produce(100)
    with stage.host() as host:
        usual = stage.wait_for_progress(0)  # a start without a kill before it, on this machine
        for kill in range(15 * ROUNDS):
            stage.load.produce(2000)
            time.sleep(stage.rng.uniform(0, 0.5))  # a random moment, during the start or under load
            host.kill()
            if kill % 3 == 0:
                stage.load.produce(100)  # so that there is work
                before = stage.progress()
                host.start()
                recoveries.append(stage.wait_for_progress(before))
            else:
                host.start()
        print(f"restart to first new row: {statistics.median(recoveries):.2f} s, at most {max(recoveries):.2f} s")
        stage.finish(host)
    assert statistics.median(recoveries) < max(2, 3 * usual)


def failpoint_id(point: str) -> str:
    return point.replace(".", "_")


# The failpoints, and how often one run passes each of them.
POINTS = {"claim.before": 4, "claim.after": 4, "copy.before": 5, "copy.after": 5, "commit.before": 5, "commit.sent": 5,
          "commit.after": 5, "settle": 5, "broker.before": 3, "broker.after": 3}  # fmt: skip
KILLS = 1 if ROUNDS == 1 else 20


def armed(stage: Stage, point: str, moments: int) -> PipelineHost:
    failpoint = f"{point}:{stage.rng.randint(1, moments)}"
    return stage.host(
        build=FAULT_BUILD, environment={"PIPELINE_FAILPOINT": failpoint}, store={"batch": {"rows": 200, "delay": "5ms"}},
        properties=QUICK,
    )  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=failpoint_id)
def test_02_host_killed_at_failpoint(stage: Stage, point: str) -> None:
    stage.load.produce(1000)
    for _ in range(KILLS):
        with armed(stage, point, POINTS[point]) as host:
            stage.produce_until_killed(host)
    with stage.host(build=FAULT_BUILD, properties=QUICK) as host:
        stage.finish(host)


def overlaps(stage: Stage, host: PipelineHost) -> bool:
    """Return whether a write has begun early. If not, produce more: it depends on what waits when a write ends."""
    if host.metric("pipeline_timescale_early_transactions_total") > 0:
        return True
    stage.load.produce(10_000)
    return False


# With one connection in the pool, the rows of the second write are sent only once the first is committed.
@pytest.mark.parametrize(("pool", "point"), [(None, "early.before"), (None, "early.rows"), (1, "early.before"), (20, "early.rows")])
def test_02_host_killed_while_writes_overlap(stage: Stage, pool: int | None, point: str) -> None:
    store = {"batch": {"rows": 200, "delay": "5ms", "max_rows": 4096}}  # each batch of the source is one write
    with contextlib.ExitStack() as servers:
        url = stage.url(servers.enter_context(PgBouncer(stage.database, pool_size=pool)) if pool else None)
        for _ in range(KILLS):
            stage.load.produce(30_000)
            failpoint = {"PIPELINE_FAILPOINT": f"{point}:{stage.rng.randint(1, 3)}"}
            with stage.host(url=url, build=FAULT_BUILD, environment=failpoint, store=store, properties=QUICK) as host:
                stage.produce_until_killed(host, count=20_000, every=0.01)  # so that writes wait for each other
        stage.load.produce(30_000)
        with stage.host(url=url, build=FAULT_BUILD, store=store, properties=QUICK) as host:
            wait_until(lambda: overlaps(stage, host), "a write that begins while the one before it is committed")
            stage.wait_for_all()
            assert host.stop() == 0
    stage.finish()  # the pooler is gone, and its connections with it


@pytest.mark.parametrize("point", ["commit_start.before", "commit_start.after"], ids=failpoint_id)
def test_02_host_killed_at_failpoint_of_an_offset_reset(stage: Stage, point: str) -> None:
    stage.load.produce(4000)
    with stage.host(properties=QUICK) as host:
        stage.wait_for_all()
        assert host.stop() == 0
    # Reset further back each time, so that the next reset does not skip records that a killed host has not read again.
    for to in sorted((stage.rng.randint(100, 900) for _ in range(KILLS)), reverse=True):
        stage.sql('DELETE FROM stored WHERE "offset" >= %s', to)
        reset_offsets(stage, "--to-offset", str(to))
        with armed(stage, point, 4) as host:
            assert host.wait() == -signal.SIGKILL, host.log()
    with stage.host(build=FAULT_BUILD, properties=QUICK) as host:
        wait_until(lambda: stage.rows() == len(stage.accepted.good), "the deleted rows to be stored again")
        stage.finish(host)


def copying(stage: Stage) -> bool:
    """Return whether a COPY is in progress."""
    return bool(stage.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%COPY %stored%' AND state = 'active'"
                          " AND datname = current_database() AND pid <> pg_backend_pid()"))  # fmt: skip


def waits(host: PipelineHost) -> list[float]:
    """Return the logged waits before each next attempt."""
    return [float(found) for found in re.findall(r"attempt \d+ in ([\d.]+) s", host.log())]


def test_03_database_killed_in_the_middle_of_a_copy(
    kafka: Kafka, unique_name: str, tmp_path: Path, rng: random.Random
) -> None:
    with own_timescale() as database:
        stage = Stage(kafka, database, unique_name, tmp_path, rng)
        with stage.host(store={"retry": {"initial": "100ms", "max": "1s"}}) as host:
            for _ in range(ROUNDS):
                stage.load.produce(5000)
                stage.wait_for_progress(0)
                locker = database.session(unique_name)
                locker.execute("BEGIN; LOCK stored IN ACCESS EXCLUSIVE MODE")
                stage.load.produce(20_000)
                wait_until(lambda: copying(stage), "a COPY to wait for the lock")
                database.kill()
                locker.close()
                time.sleep(5)  # the database is down for a while
                host.wait_ready(False)
                wait_until(lambda: max(waits(host), default=0) >= 0.8, "the waits to become longer")
                assert min(waits(host)) < 0.3
                database.start()
                stage.wait_for_all()
                stage.load.produce(50_000)
                time.sleep(rng.uniform(0, 0.3))  # kill it at other moments, too
                database.kill()
                database.start()
            stage.finish(host)


@pytest.mark.parametrize("harm", [Harm.CUT_BEFORE, Harm.CUT_AFTER, Harm.SWALLOW_RESPONSE, Harm.LATE], ids=lambda h: h.name.lower())
def test_04_response_to_commit_is_lost(stage: Stage, harm: Harm) -> None:
    with Proxy(stage.database.port) as proxy, stage.host(url=proxy.url(stage.url()), store=SHORT_LIMITS) as host:
        for _ in range(1 + ROUNDS):
            proxy.aim(WRITE_COMMIT, harm)
            stage.load.produce(5000)
            proxy.wait_for_hit()
            if harm is Harm.LATE:
                time.sleep(stage.rng.uniform(0, 0.5))  # the COMMIT arrives while the host determines its outcome, or later
                proxy.release()
            stage.wait_for_all()
        assert "the next attempt first checks whether the last transaction was committed" in host.log()
        stage.finish(host)


@pytest.mark.parametrize("harm", [Harm.CUT_BEFORE, Harm.CUT_AFTER], ids=lambda h: h.name.lower())
def test_04_responses_to_claims_are_lost(stage: Stage, harm: Harm) -> None:
    stage.load.produce(5000)
    with Proxy(stage.database.port) as proxy:
        proxy.aim(rb"^Q.{4}COMMIT;?\0$", harm, times=6)
        with stage.host(url=proxy.url(stage.url())) as host:
            proxy.wait_for_hit(6)
            stage.finish(host)


def test_04_connection_cut_at_any_byte(stage: Stage) -> None:
    with Proxy(stage.database.port) as proxy, stage.host(url=proxy.url(stage.url()), store=SHORT_LIMITS) as host:
        for _ in range(5 * ROUNDS):
            proxy.cut_after = stage.rng.randint(1000, 300_000)
            stage.load.produce(5000)
            wait_until(lambda: proxy.cut_after is None or stage.load.produce(2000), "the cut")
        stage.finish(host)


def test_08_broker_killed(timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    with Kafka() as broker:
        stage = Stage(broker, timescale, unique_name, tmp_path, rng)
        with stage.host() as host:
            for _ in range(1 + ROUNDS):
                stage.load.produce(50_000)
                time.sleep(rng.uniform(0, 0.3))
                broker.kill()
                broker.start()
                stage.load.produce(1000)
                stage.wait_for_all()
            stage.finish(host)


def test_08_broker_frozen(timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    with Kafka() as broker:
        stage = Stage(broker, timescale, unique_name, tmp_path, rng)
        with stage.host(properties={"socket.timeout.ms": 2000, "session.timeout.ms": 3000}) as host:
            stage.load.produce(50_000)
            stage.wait_for_progress(0)
            broker.pause()
            time.sleep(5 * ROUNDS)  # longer than the session time-out and the time-out of any request
            broker.resume()
            wait_until(lambda: stage.name in broker.topics(), "the broker to be registered again")
            stage.load.produce(1000)
            stage.finish(host)


class Storm:
    """Starts, stops, kills and freezes the hosts of one group at random."""

    def __init__(self, rng: random.Random, hosts: list[PipelineHost]) -> None:
        self.rng, self.hosts = rng, hosts
        self.down: set[PipelineHost] = set()
        self.frozen: dict[PipelineHost, float] = {}  # host: time of its freeze
        self.pauses: list[float] = []

    def inject_fault(self) -> None:
        host = self.rng.choice(self.hosts)
        if host in self.down:
            host.start()
            self.down.discard(host)
        elif host in self.frozen:
            self._thaw(host)
        elif (what := self.rng.choice(["stop", "kill", "freeze"])) == "freeze":
            host.signal(signal.SIGSTOP)
            self.frozen[host] = time.monotonic()
        else:
            self._end(host, what)

    def run_all(self) -> None:
        """Make all hosts run again."""
        for host in [*self.frozen]:
            self._thaw(host)
        for host in self.down:
            host.start()

    def _end(self, host: PipelineHost, how: str) -> None:
        if how == "kill":
            host.kill()
        else:
            host.wait_for_log("starts 1 pipeline")
            assert host.stop() == 0
        self.down.add(host)

    def _thaw(self, host: PipelineHost) -> None:
        host.signal(signal.SIGCONT)
        self.pauses.append(time.monotonic() - self.frozen.pop(host))


def test_10_rebalance_storm(kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    """Inject faults into three hosts under load: 15 per round; in long rounds, for at least five minutes."""
    stage = Stage(kafka, timescale, unique_name, tmp_path, rng, partitions=8)
    hosts = [stage.host(name, properties=QUICK) for name in ("one", "two", "three")]
    storm, faults = Storm(rng, hosts), 0
    with contextlib.ExitStack() as ends:
        for host in hosts:
            ends.enter_context(host)
        until = time.monotonic() + (300 if ROUNDS >= LONG else 0)
        while faults < 15 * ROUNDS or time.monotonic() < until:
            stage.load.produce(1000)
            storm.inject_fault()
            faults += 1
            time.sleep(rng.uniform(0, 1))
        storm.run_all()
        stage.load.produce(1000)
        stage.finish(*hosts)
    expired = sum(pause > 2 for pause in storm.pauses)  # longer than both time-outs of QUICK
    print(f"{faults} faults, {len(storm.pauses)} pauses, {expired} pauses longer than the session time-out")
    assert expired or ROUNDS < LONG


def epochs(stage: Stage) -> int:
    return int(stage.sql("SELECT sum(epoch) FROM pipeline_positions")[0][0])


def test_11_zombie_writes_nothing(stage: Stage) -> None:
    """A host is frozen with a COMMIT in flight, another host takes over, then both continue."""
    with Proxy(stage.database.port) as proxy:
        first = stage.host("first", url=proxy.url(stage.url()), properties=QUICK, store=SHORT_LIMITS)
        second = stage.host("second", properties=QUICK)
        with first:
            for round_ in range(ROUNDS):
                stage.load.produce(2000)
                stage.wait_for_all()
                before = epochs(stage)
                proxy.aim(WRITE_COMMIT, Harm.HOLD)
                stage.load.next += 300_000  # a new chunk: the session that creates it holds a lock on it until COMMIT
                stage.load.produce(20_000)
                proxy.wait_for_hit()
                first.signal(signal.SIGSTOP)
                with second:
                    stage.wait_for_all()  # the second host writes all records
                    assert epochs(stage) >= before + 4, "the second host claimed all four partitions"
                    proxy.release()
                    first.signal(signal.SIGCONT)
                    first.wait_for_log("another host has claimed")
                    stage.load.produce(2000)
                    stage.wait_for_all()
                    if round_ % 2:
                        second.kill()
                    else:
                        assert second.stop() == 0
            stage.finish(first)


def test_11_hosts_paused_repeatedly(stage: Stage) -> None:
    with stage.host("first", properties=QUICK) as first, stage.host("second", properties=QUICK) as second:
        for number in range(2 + 2 * ROUNDS):
            stage.load.produce(20_000)
            time.sleep(stage.rng.uniform(0, 0.4))
            host = (first, second)[number % 2]
            host.signal(signal.SIGSTOP)
            wait_until(lambda: stage.progress() >= sum(stage.load.ends.values()), "the other host to write all records")
            host.signal(signal.SIGCONT)
        stage.finish(first, second)


def test_25_operator_resets_offsets(stage: Stage) -> None:
    stage.load.produce(8000)
    with stage.host(properties=QUICK) as host:
        stage.wait_for_all()
        with pytest.raises(KafkaError, match="only be reset if the group .* is inactive"):
            stage.kafka.reset_offsets(stage.name, stage.name, "--to-earliest")
        assert host.stop() == 0

        stage.sql('DELETE FROM stored WHERE "offset" >= 500')
        reset_offsets(stage, "--to-offset", "500")
        host.start()
        host.wait_for_log("is read from 500: the group's offset was reset")
        wait_until(lambda: stage.rows() == len(stage.accepted.good), "the deleted rows to be stored again")
        stage.wait_for_all()
        assert host.stop() == 0
        stage.check()

        reset_offsets(stage, "--shift-by", "-5")  # now store records twice on purpose
        again = {(p, stage.load.ends[p] - back) for p in range(4) for back in range(1, 6)} & stage.accepted.good.keys()
        host.start()
        wait_until(lambda: stage.rows() == len(stage.accepted.good) + len(again), "five records of each partition twice")
        host.kill()
        host.start()  # a reset is applied only once
        stage.load.produce(100)
        stage.wait_for_all()
        assert host.stop() == 0
    twice = stage.sql('SELECT partition, "offset" FROM stored GROUP BY 1, 2 HAVING count(*) = 2')
    assert set(twice) == again
    stage.sql("DELETE FROM stored a USING stored b WHERE a.n = b.n AND a.arrived > b.arrived")
    stage.check()


def test_27_database_restored_from_a_backup(stage: Stage) -> None:
    with stage.host() as host:
        stage.load.produce(10_000)
        stage.wait_for_progress(2000)
        backup = stage.database.dump(stage.name)  # while the host writes
        stage.load.produce(10_000)
        stage.wait_for_all()
        assert host.stop() == 0
        stage.database.restore(stage.name, backup)
        assert 0 < stage.rows() < len(stage.accepted.good)
        stage.load.produce(1000)
        host.start()
        stage.finish(host)
