# SPDX-License-Identifier: Apache-2.0
"""The common parts of the fault tests: a pipeline with exactly-once delivery, and the checker that verifies the result."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_host import BUILD, SOURCE, PipelineHost, configuration, dead_letters

from services import TIMEOUT, Kafka, KafkaError, PgBouncer, Record, SqlError, Timescale, wait_until

ROUNDS = int(os.environ.get("ROUNDS", "1"))  # kills, records and durations are proportional to ROUNDS
LONG = 5  # the number of rounds from which on the long tests run
SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
FAULT_BUILD = Path(os.environ.get("PIPELINE_FAULT_BUILD_DIR", SOURCE / "build" / "dev"))  # has failpoints

FIRST_TIME_MS = 1_763_000_000_000
BROKEN = [b"", b"not json", b'{"device_id":"d"', b"[1,2", b"\xff\xfe"]
DEVICES = 25  # in each partition
Place = tuple[int, int]  # partition, offset


def own_timescale(**settings: str) -> Timescale:
    """Return a server that a test may kill. Written data survives in the system's cache, but not always as whole pages."""
    return Timescale(fsync=False, settings={"full_page_writes": "on", **settings})


@dataclass
class Accepted:
    """The records that a broker has accepted: numbers by place, and the places of records that cannot be parsed."""

    good: dict[Place, int] = field(default_factory=dict)
    broken: set[Place] = field(default_factory=set)

    def drop(self, lost: Iterable[Place]) -> None:
        """Remove records that are expected to be lost."""
        for place in lost:
            self.good.pop(place, None)
            self.broken.discard(place)


class Load:
    """Produces numbered messages to the partitions of one topic. One message in `broken_every` cannot be parsed."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int = 4, broken_every: int = 997) -> None:
        self.kafka, self.topic, self.partitions, self.broken_every = kafka, topic, partitions, broken_every
        self.accepted = Accepted()
        self.next = 0
        self.ends = collections.Counter[int]()

    def produce(self, count: int) -> None:
        records = []
        for number in range(self.next, self.next + count):
            partition = number % self.partitions
            place = partition, self.ends[partition]
            self.ends[partition] += 1
            if number % self.broken_every == self.broken_every - 1:
                value = BROKEN[number // self.broken_every % len(BROKEN)]
                self.accepted.broken.add(place)
            else:
                value = self.message(number)
                self.accepted.good[place] = number
            records.append(Record(value, partition=partition))
        self.next += count
        self.kafka.produce(self.topic, records)

    def message(self, number: int) -> bytes:
        """Return a message. All messages of a device are in one partition."""
        partition, device = number % self.partitions, number // self.partitions % DEVICES
        return b'{"user_id":"u%d","device_id":"d%d.%d","timestamp":%d,"n":%d,"temperature":%.1f}' % (
            device % 7, partition, device, FIRST_TIME_MS + number, number, self.temperature(number),
        )  # fmt: skip

    def device(self, number: int) -> str:
        return f"d{number % self.partitions}.{number // self.partitions % DEVICES}"

    def temperature(self, number: int) -> float:
        """Return a temperature; a device is alternately cold and hot."""
        return 20 + number % 10 / 2 + number // self.partitions // DEVICES % 2 * 30


# `arrived` numbers the rows in the order of their insertion.
TABLE = """CREATE TABLE stored (arrived bigserial, time timestamptz NOT NULL, user_id text, device_id text, n bigint,
                                temperature float8, partition int, "offset" bigint);
SELECT create_hypertable('stored', 'time', chunk_time_interval => interval '5 minutes')"""


@dataclass
class Verdict:
    """The errors found: their number and examples, by kind."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, what: Iterable[object]) -> None:
        found = [str(w) for w in what]
        self.counts[kind] = len(found)
        self.examples[kind] = found[:10]

    @property
    def good(self) -> bool:
        return not any(self.counts.values())

    def __str__(self) -> str:
        return "; ".join(
            f"{kind} {count}" + (f" ({', '.join(self.examples[kind])})" if count else "")
            for kind, count in self.counts.items()
        )


OUT_OF_ORDER = """SELECT device_id || ': ' || before || ' before ' || n FROM (
  SELECT device_id, n, lag(n) OVER (PARTITION BY device_id ORDER BY arrived) AS before FROM {table}) x WHERE before > n"""


class Stage:
    """The setup of a fault test: one topic, one database with one table, the hosts of one group, and the accepted records."""

    def __init__(
        self, kafka: Kafka, database: Timescale, name: str, directory: Path, rng: random.Random, *,
        partitions: int = 4, broken_every: int = 997,
    ) -> None:  # fmt: skip
        self.kafka, self.database, self.name, self.directory, self.rng = kafka, database, name, directory, rng
        self.load = Load(kafka, name, partitions, broken_every)
        self.hosts: dict[str, PipelineHost] = {}
        if not database.query("SELECT 1 FROM pg_database WHERE datname = %s", name, database="postgres"):
            database.create_database(name)
        self.sql(TABLE)
        kafka.create_topic(name, partitions, {"retention.ms": -1})

    @property
    def accepted(self) -> Accepted:
        return self.load.accepted

    def url(self, through: PgBouncer | None = None) -> str:
        return (through or self.database).url(self.name)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.database.query(statement, *parameters, database=self.name)

    # Hosts

    def parts(
        self, host: str, *, url: str | None = None, source: Mapping[str, object] = {}, parsed: Mapping[str, object] = {},
        store: Mapping[str, object] = {}, properties: Mapping[str, object] = {}, **more: object,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the sections of a host's configuration."""
        return {
            "delivery": "exactly_once",
            "sources": {"in": {"plugin": "kafka_source", "brokers": self.kafka.brokers, "topic": self.name,
                               "group": self.name, "instance": host, "commit_interval": "100ms",
                               "properties": properties, **source}},
            "transforms": {"parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["n", "temperature"],
                                      "keep": ["partition", "offset"], **parsed}},
            "sinks": {"store": {"plugin": "timescale_sink", "from": "parsed", "url": url or self.url(),
                                "table": "stored", "unmapped": "ignore", "retry": {"initial": "50ms", "max": "500ms"},
                                "batch": {"rows": 1000, "delay": "20ms"}, **store}},
            "dead_letters": {"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson",
                             "unique_by": ["stream", "position", "node"], "collapse": {"originals": 0}},
            **more,
        }  # fmt: skip

    def host(
        self, name: str = "host", *, build: Path = BUILD, environment: Mapping[str, str] | None = None, **parts: Any
    ) -> PipelineHost:
        """Return a host with its own directory and group instance; for the arguments see `parts`."""
        directory = self.directory / name
        config = configuration(directory, **self.parts(name, **parts))
        host = PipelineHost(config, directory, environment=environment, build=build)
        self.hosts[name] = host
        return host

    # Progress

    def positions(self, sink: str = "store") -> dict[str, int]:
        """Return the position of each stream in the database."""
        try:
            return dict(self.sql("SELECT stream, next FROM pipeline_positions WHERE sink = %s", sink))
        except SqlError as error:
            if error.sqlstate == "42P01":  # no host has claimed a stream yet
                return {}
            raise

    def progress(self) -> int:
        return sum(self.positions().values())

    def wait_for_progress(self, beyond: int, timeout: float = TIMEOUT) -> float:
        """Wait until new rows are stored, and return how many seconds that took."""
        started = time.monotonic()
        wait_until(lambda: self.progress() > beyond, f"rows beyond the first {beyond}", timeout)
        return time.monotonic() - started

    def rows(self) -> int:
        return int(self.sql("SELECT count(*) FROM stored")[0][0])

    def dead_letters(self) -> list[dict[str, Any]]:
        return [letter for host in self.hosts.values() for letter in dead_letters(host.directory)]

    def dead_lettered(self) -> set[Place]:
        return {(int(letter["stream"].rpartition("/")[2]), letter["position"]) for letter in self.dead_letters()}

    def wait_for_all(self, timeout: float = TIMEOUT) -> None:
        """Wait until all produced records are settled."""
        wait_until(lambda: self.progress() >= sum(self.load.ends.values()), "all records", timeout)
        wait_until(lambda: self.accepted.broken <= self.dead_lettered(), "all dead letters", timeout)

    def produce_until_killed(self, host: PipelineHost, count: int = 200, every: float = 0.2) -> None:
        """Produce `count` records again and again until the host reaches its failpoint and kills itself."""
        deadline = time.monotonic() + TIMEOUT
        while host.process.poll() is None and time.monotonic() < deadline:
            self.load.produce(count)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: host.process.poll() is not None, "the end of the host", every)
        assert host.process.poll() == -signal.SIGKILL, f"the host did not kill itself:\n{host.log()}"

    # Checks

    def verdict(self, *, table: str = "stored") -> Verdict:
        """Compare the accepted records with the stored rows and the dead letters, by place."""
        good, verdict = self.accepted.good, Verdict()
        stored = collections.Counter[Place]()
        unexpected = []
        for partition, offset, n, count in self.sql(f'SELECT partition, "offset", n, count(*) FROM {table} GROUP BY 1, 2, 3'):
            stored[partition, offset] += count
            if good.get((partition, offset)) != n:
                unexpected.append((partition, offset))
        dead_lettered = self.dead_lettered()
        verdict.note("lost", sorted(good.keys() - stored.keys()))
        verdict.note("duplicated", sorted(place for place, count in stored.items() if count > 1))
        verdict.note("unexpected", sorted(unexpected))
        verdict.note("out of order", (row[0] for row in self.sql(OUT_OF_ORDER.format(table=table))))
        verdict.note("dead letters lost", sorted(self.accepted.broken - dead_lettered))
        for host in self.hosts.values():  # each host has its own file
            times = collections.Counter((letter["stream"], letter["position"]) for letter in dead_letters(host.directory))
            verdict.note(f"dead letters duplicated by {host.directory.name}", sorted(p for p, n in times.items() if n > 1))
        verdict.note("dead letters of good records", sorted(dead_lettered & stored.keys()))
        return verdict

    def check(self) -> None:
        verdict = self.verdict()
        print(f"{self.name}: {len(self.accepted.good)} records, {len(self.accepted.broken)} broken ones: {verdict}")
        assert verdict.good, str(verdict)

    def finish(self, *hosts: PipelineHost, timeout: float = TIMEOUT) -> None:
        """Check that all records arrive once, the hosts exit with 0, and no sessions or locks remain."""
        self.wait_for_all(timeout)
        for host in hosts:
            host.wait_for_log("starts 1 pipeline")  # an earlier SIGTERM ends the host without a clean stop
            assert host.stop() == 0
        self.check()
        self.nothing_is_left()

    def nothing_is_left(self) -> None:
        """Check that no session of a host (with a transaction or lock) and no prepared transaction remains."""
        ours = "application_name LIKE 'pipeline-host%' AND datname = current_database()"
        wait_until(lambda: not self.sql(f"SELECT 1 FROM pg_stat_activity WHERE {ours}"), "the hosts' sessions to end")
        assert not self.sql("SELECT * FROM pg_prepared_xacts")
        assert not self.sql("SELECT * FROM pg_locks WHERE locktype = 'advisory' AND database ="
                            " (SELECT oid FROM pg_database WHERE datname = current_database())")  # fmt: skip


def reset_offsets(stage: Stage, *to: str) -> None:
    """Reset the group's offsets as an operator does, when the group has no members."""

    def accepted() -> bool:
        try:
            stage.kafka.reset_offsets(stage.name, stage.name, *to)
        except KafkaError:
            return False
        return True

    wait_until(accepted, "the group to be empty")
