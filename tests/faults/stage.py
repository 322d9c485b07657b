# SPDX-License-Identifier: Apache-2.0
"""What the fault tests share: a pipeline that promises exactly once, and the checker that holds it to its word."""

from __future__ import annotations

import collections
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "integration")]

from pipeline_host import PipelineHost, configuration, dead_letters  # noqa: E402

from services import Kafka, Record, Timescale  # noqa: E402

FIRST_TIME_MS = 1_790_000_000_000
BROKEN = [b"", b"not json", b'{"device_id":"d"', b"[1,2", b"\xff\xfe"]


@dataclass
class Accepted:
    """What a broker has accepted: values by (partition, offset), the broken ones apart."""

    good: dict[tuple[int, int], int] = field(default_factory=dict)
    broken: set[tuple[int, int]] = field(default_factory=set)


class Load:
    """Messages with a number each, over the partitions of one topic; one in `broken_every` can't be read."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int = 4, broken_every: int = 997) -> None:
        self.kafka, self.topic, self.partitions, self.broken_every = kafka, topic, partitions, broken_every
        self.accepted = Accepted()
        self._next = 0
        self._ends = collections.Counter[int]()

    def produce(self, count: int) -> None:
        records = []
        for number in range(self._next, self._next + count):
            partition = number % self.partitions
            place = partition, self._ends[partition]
            self._ends[partition] += 1
            if number % self.broken_every == self.broken_every - 1:
                value = BROKEN[number // self.broken_every % len(BROKEN)]
                self.accepted.broken.add(place)
            else:
                value = json.dumps(
                    {"user_id": f"u{number % 7}", "device_id": f"d{number % 90}", "timestamp": FIRST_TIME_MS + number,
                     "n": number, "temperature": 20 + number % 50 / 2}, separators=(",", ":"),
                ).encode()  # fmt: skip
                self.accepted.good[place] = number
            records.append(Record(value, partition=partition))
        self._next += count
        self.kafka.produce(self.topic, records)


def pipeline(
    directory: Path, brokers: str, url: str, topic: str, *, lanes: int = 1, writers: int = 1, **more: object
) -> Path:
    return configuration(
        directory,
        delivery="exactly_once",
        lanes=lanes,
        sources={"in": {"plugin": "kafka_source", "brokers": brokers, "topic": topic, "group": topic,
                        "commit_interval": "100ms"}},
        transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["n", "temperature"],
                               "keep": ["partition", "offset"]}},
        sinks={"store": {"plugin": "timescale_sink", "from": "parsed", "url": url, "table": "stored", "writers": writers,
                         "unmapped": "ignore", "retry": {"initial": "50ms", "max": "500ms"},
                         "batch": {"rows": 1000, "delay": "20ms"}}},
        dead_letters={"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson", "unique_by": ["stream", "position", "node"]},
        **more,
    )  # fmt: skip


TABLE = """CREATE TABLE stored (time timestamptz NOT NULL, user_id text, device_id text, n bigint, temperature float8,
                                partition int, "offset" bigint);
SELECT create_hypertable('stored', 'time', chunk_time_interval => interval '5 minutes')"""


@dataclass
class Verdict:
    lost: int
    duplicated: int
    strange: int
    letters_lost: int
    letters_duplicated: int

    def __bool__(self) -> bool:
        return not any(vars(self).values())


def check(database: Timescale, name: str, accepted: Accepted, letters: Iterable[dict[str, Any]]) -> Verdict:
    """Compares what was accepted with what is stored and what is in the dead letters, by (partition, offset)."""
    rows = database.query('SELECT partition, "offset", n, count(*) FROM stored GROUP BY 1, 2, 3', database=name)
    stored = collections.Counter[tuple[int, int]]()
    strange = 0
    for partition, offset, n, count in rows:
        place = int(str(partition)), int(str(offset))
        stored[place] += int(str(count))
        strange += accepted.good.get(place) != int(str(n))
    dead = collections.Counter[tuple[int, int]]()
    for letter in letters:
        dead[int(str(letter["stream"]).rpartition("/")[2]), int(letter["position"])] += 1
    return Verdict(
        lost=sum(place not in stored for place in accepted.good),
        duplicated=sum(stored.values()) - len(stored),
        strange=strange,
        letters_lost=sum(place not in dead for place in accepted.broken),
        letters_duplicated=sum(dead.values()) - len(dead),
    )


def stored_rows(database: Timescale, name: str) -> int:
    return int(str(database.query("SELECT count(*) FROM stored", database=name)[0][0]))


__all__ = ["Accepted", "Load", "PipelineHost", "TABLE", "Verdict", "check", "dead_letters", "pipeline", "random", "stored_rows", "Sequence"]
