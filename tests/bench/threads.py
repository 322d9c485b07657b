#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the threads of the host do while a full topic is read: use a core, wait for one, or sleep; and who uses the cores.

    /usr/bin/python3 tests/bench/threads.py
    /usr/bin/python3 tests/bench/threads.py --messages 4000000

A thread that waits for a core has work, but another thread or process runs. A thread that sleeps waits for something else: for
records, for room, for the database, or for a lock. The kernel accounts both (schedstat). One round: the figures explain a rate,
they are not compared with other runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import TWO, Bench
from common import JVM, Lane, Results, arguments, fill_topic, messages, save, table

from services import Kafka, Mosquitto, Timescale

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Sample:
    at: float
    threads: dict[tuple[int, str], tuple[float, float, int]]  # seconds on a core, seconds waiting for one, sleeps
    programs: Counter[str]  # seconds on a core of all processes of that name

    @staticmethod
    def take(process: int) -> Sample:
        threads = {}
        for task in Path(f"/proc/{process}/task").iterdir():
            running, waiting = (int(n) / 1e9 for n in (task / "schedstat").read_text().split()[:2])
            status = (task / "status").read_text().splitlines()
            sleeps = next(int(line.split()[1]) for line in status if line.startswith("voluntary"))
            threads[int(task.name), (task / "comm").read_text().strip()] = (running, waiting, sleeps)
        programs: Counter[str] = Counter()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:
                continue  # it has ended
            name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 1 :].split()
            programs[name] += (int(fields[11]) + int(fields[12])) / TICK
        return Sample(time.monotonic(), threads, programs)


class Watch:
    """Takes a sample when the first record has passed, and one when the last has."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def __call__(self, host: Any) -> None:
        self._samples.append(Sample.take(host.process.pid))

    def figures(self) -> Results:
        first, last = self._samples
        took = last.at - first.at
        found: Results = {}
        for thread, (running, waiting, sleeps) in last.threads.items():
            before = first.threads.get(thread, (0.0, 0.0, 0))
            running, waiting = (running - before[0]) / took, (waiting - before[1]) / took
            if running + waiting < 0.01:
                continue
            found[f"thread {thread[1]} {thread[0]}"] = {
                "running": running, "waiting": waiting, "sleeping": max(1 - running - waiting, 0.0),
                "sleeps": (sleeps - before[2]) / took,
            }  # fmt: skip
        for name, seconds in (last.programs - first.programs).most_common(6):
            found[f"program {name}"] = {"running": seconds / took}
        return found


COLUMNS = [
    ("running", "on a core", ".0%"), ("waiting", "waiting for a core", ".0%"), ("sleeping", "sleeping", ".0%"),
    ("sleeps", "sleeps/s", ",.0f"),
]  # fmt: skip


def main() -> int:
    parsed = arguments(__doc__)
    count = parsed.settings.messages
    found: dict[str, Results] = {}
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt, tempfile.TemporaryDirectory() as folder:
        bench = Bench(kafka, database, mqtt, count)
        bench.pipeline([])  # creates the table, and warms up
        fill_topic(kafka, "lane", 4, count, messages)
        for lanes in (1, 2):
            watch = Watch()
            rate = bench.pipeline(TWO if lanes == 2 else [], watch=watch)["rows_per_second"]
            found[f"Kafka → TimescaleDB, lanes and writers: {lanes}, {rate:,.0f} rows/s"] = watch.figures()
        for lanes in (1, 2):
            watch = Watch()
            work = Lane(kafka, "lane", count, Path(folder), settings={"lanes": lanes}, watch=watch)
            rate = work.run(f"lanes-{lanes}", parsed.settings.build)["records_per_second"]
            found[f"Kafka → parse → thresholds, lanes: {lanes}, {rate:,.0f} records/s"] = watch.figures()
    for name, figures in found.items():
        print(f"\n{name}")
        table(figures, COLUMNS)
    print(f"\n{save(found, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
