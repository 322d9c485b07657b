# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: settings, the messages of a topic, runs of a pipeline without a database, and results.

A benchmark is a module with `measure(settings)`, which returns its results by name, and `show(results)`, which prints them as
a table. run.py runs several of them; each module is also a program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from services import Record  # noqa: E402

JVM = ["-XX:+UseG1GC"]  # the services' options for a quick start reduce throughput
START = 1_763_000_000_000
Result = dict[str, float]
Results = dict[str, Result]


@dataclass
class Settings:
    """`quick` runs everything once with few records, to see whether it works: its figures mean nothing."""

    build: Path = ROOT / "build" / "release"
    messages: int = 1_000_000
    rounds: int = 5
    quick: bool = False

    def few(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual


def arguments(doc: str | None, change: Callable[[argparse.ArgumentParser], object] = lambda _: None) -> argparse.Namespace:
    """Parse the options that all benchmarks have, and those that `change` adds. Select the build under test."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Settings.build)
    parser.add_argument("--messages", type=int, default=Settings.messages)
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--quick", action="store_true", help="few records and one round, to see whether everything works")
    change(parser)
    parsed = parser.parse_args()
    parsed.settings = Settings(parsed.build.resolve(), parsed.messages, parsed.rounds, parsed.quick)
    if parsed.quick:
        parsed.settings.messages, parsed.settings.rounds = min(parsed.messages, 20_000), 1
    os.environ["PIPELINE_BUILD_DIR"] = str(parsed.settings.build)
    return parsed


def program(doc: str | None, measure: Callable[[Settings], Results], show: Callable[[Results], None]) -> int:
    """Run one benchmark as a program."""
    parsed = arguments(doc)
    found = measure(parsed.settings)
    show(found)
    print(f"\n{save({Path(sys.argv[0]).stem: found}, parsed.settings)}")
    return 0


# Messages


def reading(n: int, devices: int = 90) -> str:
    """Return a message of about 125 bytes, the same as telemetry_message.hpp makes."""
    device = n % devices
    return (
        f'{{"user_id":"user-{device // 3}","device_id":"device-{device}","timestamp":{START + n},'
        f'"temperature":{20 + n % 400 / 16:g},"humidity":{40 + n % 32 / 8:g}}}'
    )


def messages(numbers: Iterable[int], devices: int = 90, headers: bool = True) -> Iterator[Record]:
    """Yield readings with the headers that the bridge adds, or without headers."""
    for n in numbers:
        device = n % devices
        added = []
        if headers:
            topic = f"users/user-{device // 3}/devices/device-{device}/telemetry"
            added = [("message_id", f"{n:032x}".encode()), ("mqtt_topic", topic.encode())]
        yield Record(reading(n, devices).encode(), f"device-{device}".encode(), headers=added)


def fill_topic(kafka: Any, topic: str, partitions: int, count: int, make: Callable[[range], Iterable[Record]]) -> None:
    """Create a topic with `count` records. Each partition has its records in order."""
    kafka.create_topic(topic, partitions, {"retention.ms": -1, "max.message.bytes": 10_000_000})
    for partition in range(partitions):
        kafka.produce(topic, make(range(partition, count, partitions)), partition=partition, timeout=1800)


# A pipeline from Kafka without a sink for the records

RULES = [
    {"name": "overheating", "metric": "temperature", "above": 80, "clear_below": 75},
    {"name": "freezing", "metric": "temperature", "below": -20, "clear_above": -15},
    {"name": "low_battery", "metric": "battery", "below": 10, "clear_above": 15},
]


@dataclass
class Lane:
    """Kafka → json_telemetry → threshold_alert. The alerts, of which there are none, go to a file."""

    kafka: Any
    topic: str
    count: int
    folder: Path
    rules: Sequence[Mapping[str, object]] = tuple(RULES)
    parse: Mapping[str, object] | None = None
    settings: Mapping[str, object] | None = None
    watch: Callable[[Any], object] = lambda host: None  # called after the first and after the last record

    def run(self, name: str, build: Path) -> Result:
        """Read the topic with a new group. The CPU time is that of all threads of the host, with its start."""
        from pipeline_host import PipelineHost, configuration

        directory = self.folder / name
        config = configuration(
            directory,
            sources={"telemetry": {"plugin": "kafka_source", "brokers": self.kafka.brokers, "topic": self.topic, "group": name}},
            transforms={
                "parsed": {"plugin": "json_telemetry", "from": "telemetry", **(self.parse or {})},
                "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": list(self.rules)},
            },
            sinks={"notify": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"}},
            **(self.settings or {}),
        )
        with PipelineHost(config, directory, build=build) as host:
            host.wait_ready()
            began, before, _ = self._passed(host, 0)
            self.watch(host)
            ended, parsed, cpu = self._passed(host, self.count - 1)
            self.watch(host)
            found = {
                "records_per_second": (parsed - before) / max(ended - began, 1e-9),
                "cpu_us_per_record": cpu / self.count * 1e6,
                "peak_memory_mib": host.peak_memory(),
            }
            assert host.stop() == 0, host.log()
        return found

    @staticmethod
    def _passed(host: Any, records: int) -> tuple[float, float, float]:
        """Wait until more than `records` records are parsed; return the time, their number and the CPU seconds."""
        while (parsed := host.metric("pipeline_records_out_total", node="parsed")) <= records:
            assert host.process.poll() is None, host.log()
            time.sleep(0.02)
        return time.monotonic(), parsed, host.cpu_seconds()


# Results


def straight_line(build: Path, brokers: str, topic: str, database: str = "-", connections: int = 1, rows: int = 10_000) -> Result:
    """Run the straight-line program, and return what it prints."""
    command = [build / "bin" / "straight_line", brokers, topic, database, str(connections), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"straight_line: {done.stderr}")
    found: Result = json.loads(done.stdout)
    return found


def medians(runs: Sequence[Result]) -> Result:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def alternating(cases: Mapping[str, Callable[[], Result]], rounds: int) -> Results:
    """Run all cases in each round, so that a change of the machine's load affects all of them. Return the medians, and the
    spread of the first figure: the largest difference from its median."""
    runs: dict[str, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            runs[name].append(case())
            shown = ", ".join(f"{key} {value:,.4g}" for key, value in runs[name][-1].items())
            print(f"round {number + 1} of {rounds}: {name}: {shown}", file=sys.stderr, flush=True)
    found = {}
    for name, all_of in runs.items():
        found[name] = medians(all_of)
        first = next(iter(all_of[0]))
        middle = found[name][first]
        found[name]["spread"] = max(abs(run[first] - middle) for run in all_of) / middle if middle else 0.0
    return found


def table(found: Results, columns: Sequence[tuple[str, str, str]]) -> None:
    """Print results. A column is a figure, its heading and its format."""
    width = max(40, *(len(name) + 2 for name in found)) if found else 40
    print(f"\n{'':<{width}}" + "".join(f"{heading:>{len(heading) + 3}}" for _, heading, _ in columns))
    for name, result in found.items():
        cells = [f"{format(result[key], form) if key in result else '':>{len(heading) + 3}}" for key, heading, form in columns]
        print(f"{name:<{width}}" + "".join(cells))


def machine() -> dict[str, Any]:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {"cpu": models[:1], "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit.stdout.strip()}


def save(found: Mapping[str, Results], settings: Settings, again: Path | None = None) -> Path:
    """Write the results of benchmarks, by name, to build/bench, with what is needed to repeat them. `again`: the file of an
    earlier call, which is replaced."""
    now = datetime.now(UTC)
    file = ROOT / (again or Path("build", "bench", f"{now:%Y%m%dT%H%M%SZ}.json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "time": now.isoformat(timespec="seconds"),
        "command": " ".join(["/usr/bin/python3", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "messages": settings.messages,
        "rounds": settings.rounds,
        "quick": settings.quick,
        "machine": machine(),
    }
    file.write_text(json.dumps({**about, "results": found}, indent=1) + "\n")
    return file.relative_to(ROOT)
