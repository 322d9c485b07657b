# SPDX-License-Identifier: Apache-2.0
"""A million records, two hundred kills of the host, twenty of the database, ten of the broker, in one run."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

from stage import ROUNDS, SEED, Stage, own_timescale

from services import Kafka

RECORDS = 1_000_000
KILLS = {"host": 200, "database": 20, "broker": 10}
AFTER_A_KILL = 100  # records that make sure that there is something to do


def test_a_million_records_and_230_kills(unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    print(f"ROUNDS={ROUNDS} FAULT_SEED={SEED} python3 -m pytest -s tests/faults/test_big_kill.py")
    victims = [victim for victim, times in KILLS.items() for _ in range(times)]
    rng.shuffle(victims)
    times: dict[str, list[float]] = {victim: [] for victim in KILLS}
    began, at_work = time.monotonic(), 0
    with Kafka() as broker, own_timescale() as database:
        stage = Stage(broker, database, unique_name, tmp_path, rng)
        with stage.host(lanes=2) as host:
            for victim in victims:
                stage.load.produce(RECORDS // len(victims) - AFTER_A_KILL)
                time.sleep(rng.uniform(0, 0.1))  # a random moment
                if victim == "host":
                    host.kill()
                    at_work += stage.progress() < sum(stage.load.ends.values())
                else:
                    service = broker if victim == "broker" else database
                    service.kill()
                    service.start()
                stage.load.produce(AFTER_A_KILL)
                before = stage.progress()
                if victim == "host":
                    host.start()
                if victim != "host" or rng.random() < 0.7:  # else the next one strikes before it has recovered
                    times[victim].append(stage.wait_for_progress(before))
            stage.load.produce(RECORDS - stage.load.next)
            stage.finish(host, timeout=120)
    print(f"{RECORDS:,} records, {', '.join(f'{n} kills of the {victim}' for victim, n in KILLS.items())}: "
          f"{time.monotonic() - began:.0f} s; {at_work} of the host's with records under way")  # fmt: skip
    for victim, seconds in times.items():
        print(f"{victim} up again, to the first new row: {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s"
              f" (of {len(seconds)})")  # fmt: skip
    assert max(times["host"]) < 2
