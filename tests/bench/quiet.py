#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""CPU time of configs/iot.yaml when it is idle and at low rates, by thread, and how often each thread wakes up.

    /usr/bin/python3 tests/bench/quiet.py
    /usr/bin/python3 tests/bench/quiet.py --seconds 30 --rates 0 1000 --set sinks.store.batch.delay=5ms

The benchmark starts its own servers. The messages carry the headers that the bridge adds, and the producer gathers them for
10 ms, as the bridge does. CPU time is that of the host alone,
as the kernel accounts it for each thread, so other load on the machine changes it little. A wake-up is a voluntary context
switch: a wait of the thread that ended.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka
from common import ROOT, Result, Results, Settings, arguments, medians, messages, save, table

from services import Kafka, Mosquitto, Timescale

TOPIC, PARTITIONS = "iot-stream", 4
DELAYS = {"default delay, 100 ms": [], "delay: 5ms": ["sinks.store.batch.delay=5ms"]}
Usage = dict[str, tuple[float, int]]  # by name of the thread: CPU seconds, wake-ups


def usage(process: int) -> Usage:
    found: dict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for task in Path(f"/proc/{process}/task").iterdir():
        name = (task / "comm").read_text().strip()
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        switches = next(int(x.split()[1]) for x in (task / "status").read_text().splitlines() if x.startswith("voluntary"))
        found[name] = (found[name][0] + seconds, found[name][1] + switches)
    return dict(found)


def spent(before: Usage, after: Usage, seconds: float) -> Results:
    """Return the CPU time as a percentage of one core, and the wake-ups a second, of each thread and in total."""
    result = {}
    for name, (cpu, wakes) in after.items():
        old_cpu, old_wakes = before.get(name, (0.0, 0))
        result[name] = {"cpu_percent": (cpu - old_cpu) / seconds * 100, "wakeups": (wakes - old_wakes) / seconds}
    total = {key: sum(values[key] for values in result.values()) for key in ("cpu_percent", "wakeups")}
    return {"all threads": total, **result}


def at_rates(folder: Path, rates: Sequence[int], seconds: float, sets: Sequence[str]) -> dict[int, Results]:
    from pipeline_host import PipelineHost

    results: dict[int, Results] = {}
    with Kafka() as kafka, Timescale() as timescale, Mosquitto() as mosquitto:
        kafka.create_topic(TOPIC, PARTITIONS)
        timescale.create_database("quiet")
        environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": timescale.url("quiet"), "MQTT_URL": mosquitto.url()}
        producer = confluent_kafka.Producer({"bootstrap.servers": kafka.brokers, "linger.ms": 10})

        def produce(numbers: range) -> None:
            for record in messages(numbers):
                producer.produce(TOPIC, record.value, record.key, headers=list(record.headers))
            producer.poll(0)

        folder.mkdir()
        with PipelineHost(ROOT / "configs/iot.yaml", folder, environment=environment, sets=sets) as host:
            host.wait_ready()
            number = 0
            for rate in rates:
                produce(range(number, number + 10))  # everything is connected, and warm
                producer.flush(60)
                number += 10
                time.sleep(3)
                began, before, first = time.monotonic(), usage(host.process.pid), number
                while (passed := time.monotonic() - began) < seconds:
                    due = first + int(passed * rate)
                    produce(range(number, due))
                    number = due
                    time.sleep(0.005 if rate else 0.1)
                results[rate] = spent(before, usage(host.process.pid), passed)
                print(f"{(number - first) / passed:,.0f} records/s were produced for {passed:.0f} s", file=sys.stderr)
            producer.flush(60)
            host.stop()
    return results


def show_threads(results: dict[int, Results]) -> None:
    for rate, threads in results.items():
        print(f"\n{rate} records/s{'':<22}{'% of a core':>12}{'wake-ups/s':>12}")
        for name, values in sorted(threads.items(), key=lambda item: -item[1]["cpu_percent"]):
            print(f"  {name:<32}{values['cpu_percent']:>12.3f}{values['wakeups']:>12.1f}")


def measure(settings: Settings, rates: Sequence[int] = (0, 200, 1_000, 10_000), seconds: float = 20) -> Results:
    """Measure each rate with each delay. The threads are left out of the results."""
    if settings.quick:
        rates, seconds = rates[:2], 1
    runs: dict[str, list[Result]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(settings.rounds):
            for number, (delay, sets) in enumerate(DELAYS.items()):
                for rate, threads in at_rates(Path(folder) / f"{turn}-{number}", rates, seconds, sets).items():
                    runs[f"{rate:,} records/s, {delay}"].append(threads["all threads"])
    return {name: medians(all_of) for name, all_of in runs.items()}


SIZE = "20 seconds at each rate"  # below the table in docs/performance.md
COLUMNS = [("cpu_percent", "% of a core", ".3f"), ("wakeups", "wake-ups/s", ".1f")]


def show(found: Results) -> None:
    table(found, COLUMNS)


def main() -> int:
    def options(parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=20)
        parser.add_argument("--rates", type=int, nargs="*", default=[0, 200, 1000])
        parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="over the configuration")

    parsed = arguments(__doc__, options)
    with tempfile.TemporaryDirectory() as folder:
        results = at_rates(Path(folder) / "host", parsed.rates, parsed.seconds, parsed.set)
    show_threads(results)
    print(f"\n{save({f'quiet, {rate} records/s': threads for rate, threads in results.items()}, parsed.settings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
