# SPDX-License-Identifier: Apache-2.0
"""Exactly-once delivery through filter, route, map and unpivot, while the host is killed. Each record is traced to the tables
that it must be in, and how often."""

from __future__ import annotations

import collections
import random
import time
from pathlib import Path
from typing import Any

from stage import ROUNDS, SEED, Stage, own_timescale

from services import TIMEOUT, Kafka, wait_until

TABLES = """CREATE TABLE kinds (time timestamptz, device_id text, n bigint, kind text, kelvin float8, partition int, "offset" bigint);
CREATE TABLE left_out (time timestamptz, device_id text, n float8, temperature float8, partition int, "offset" bigint);
CREATE TABLE narrow (time timestamptz, device_id text, metric text, value float8, partition int, "offset" bigint);
CREATE TABLE parts (time timestamptz, device_id text, place bigint, value float8, partition int, "offset" bigint)"""

KILLS = 15


def transforms() -> dict[str, Any]:
    keep = ["time", "device_id", "partition", "offset"]
    return {
        "wanted": {"plugin": "filter", "from": "parsed", "where": "int(n) % 3 != 0"},
        "by_temperature": {"plugin": "route", "from": "wanted", "routes": {"hot": "temperature > 40"}},
        "hot": {"plugin": "map", "from": "by_temperature.hot",
                "set": {"kind": "'hot'", "kelvin": "temperature + 273.15", "n": "int(n)"}, "drop": ["temperature"]},
        "cold": {"plugin": "map", "from": "by_temperature.otherwise",
                 "set": {"kind": "'cold'", "kelvin": "temperature + 273.15", "n": "int(n)"}, "drop": ["temperature"]},
        "turned": {"plugin": "unpivot", "from": "parsed", "columns": ["n", "temperature"], "keep": keep},
        "listed": {"plugin": "map", "from": "parsed", "set": {"parts": "[n, n + 0.5]"}, "keep": [*keep, "parts"]},
        "exploded": {"plugin": "unpivot", "from": "listed", "explode": "parts", "index": "place"},
        "valued": {"plugin": "map", "from": "exploded", "set": {"value": "double(parts)"}, "drop": ["parts"]},
    }  # fmt: skip


def sink(stage: Stage, table: str, *inputs: str) -> dict[str, Any]:
    return {"plugin": "timescale_sink", "from": list(inputs), "url": stage.url(), "table": table, "unmapped": "ignore",
            "retry": {"initial": "50ms", "max": "500ms"}, "batch": {"rows": 500, "delay": "20ms"}}  # fmt: skip


# The sinks have the names of their tables.
SINKS = {"kinds": ("hot", "cold"), "left_out": ("wanted.rest",), "narrow": ("turned",), "parts": ("valued",)}


def expected(stage: Stage) -> dict[str, collections.Counter[tuple[object, ...]]]:
    """Return the rows that each table must have, by place and what distinguishes the rows of one record."""
    rows: dict[str, collections.Counter[tuple[object, ...]]] = {name: collections.Counter() for name in SINKS}
    for (partition, offset), n in stage.accepted.good.items():
        temperature = float(f"{stage.load.temperature(n):.1f}")
        if n % 3:
            rows["kinds"][partition, offset, n, "hot" if temperature > 40 else "cold"] += 1
        else:
            rows["left_out"][partition, offset, n] += 1
        rows["narrow"][partition, offset, "n", float(n)] += 1
        rows["narrow"][partition, offset, "temperature", temperature] += 1
        rows["parts"][partition, offset, 0, float(n)] += 1
        rows["parts"][partition, offset, 1, n + 0.5] += 1
    return rows


COLUMNS = {"kinds": "n, kind", "left_out": "n", "narrow": "metric, value", "parts": "place, value"}


def stored(stage: Stage, name: str) -> collections.Counter[tuple[object, ...]]:
    return collections.Counter(stage.sql(f'SELECT partition, "offset", {COLUMNS[name]} FROM {name}'))


def everywhere(stage: Stage) -> bool:
    wanted = sum(stage.load.ends.values())
    return all(sum(stage.positions(name).values()) >= wanted for name in SINKS)


def test_every_row_once_while_the_host_is_killed(unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    print(f"ROUNDS={ROUNDS} FAULT_SEED={SEED} /usr/bin/python3 -m pytest -s tests/faults/test_transforms.py")
    with Kafka() as broker, own_timescale() as database:
        stage = Stage(broker, database, unique_name, tmp_path, rng)
        stage.sql(TABLES)
        parts = stage.parts("host")
        with stage.host(
            transforms={**parts["transforms"], **transforms()},
            sinks={name: sink(stage, name, *inputs) for name, inputs in SINKS.items()},
        ) as host:
            for kill in range(KILLS * ROUNDS):
                stage.load.produce(rng.randrange(200, 3000))
                time.sleep(rng.uniform(0, 0.4))  # a random moment
                if kill % 5 == 4:
                    database.kill()
                    database.start()
                    continue
                host.kill()
                host.start()
            stage.load.produce(1000)
            wait_until(lambda: everywhere(stage), "all records in all tables", TIMEOUT)
            wait_until(lambda: stage.accepted.broken <= stage.dead_lettered(), "all dead letters", TIMEOUT)
            assert host.stop() == 0
        assert stage.dead_lettered() == stage.accepted.broken
        for name, rows in expected(stage).items():
            found = stored(stage, name)
            lost, twice = rows - found, found - rows
            print(f"{name}: {rows.total():,} rows, lost {lost.total()}, duplicated or unexpected {twice.total()}")
            assert not lost and not twice, (list(lost)[:5], list(twice)[:5])
        stage.nothing_is_left()
