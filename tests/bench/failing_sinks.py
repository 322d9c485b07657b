#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a sink that does not work costs the other sinks of its pipeline.

    /usr/bin/python3 tests/bench/failing_sinks.py
    /usr/bin/python3 tests/bench/failing_sinks.py --rounds 20 --messages 1000000 --seconds 20
    /usr/bin/python3 tests/bench/failing_sinks.py --input parsed      each record is for the webhook, not only alerts

Hosts whose sinks work and hosts with a failing sink read the same topic at the same time, so that other load on the machine
affects them alike; they take turns in starting first. The webhook accepts connections and never responds. It is given up after
a second, so that a run contains the time before and after that. The figures of a round are compared with each other, and the
ratios are averaged (interval: 95 %).

- Throughput: configs/iot.yaml with a full topic, without and with the webhook; rows that each host has stored from its first row
  to the end of the faster host. The CPU time is that of each host from its start to its end, for each row.
- Latency: the time from a reading to its alert at an MQTT client, at 2,000 readings a second; all sinks work, with the webhook,
  and with a database that is down.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "bench"), str(ROOT / "tests" / "integration")]

from bench import JVM, PARTITIONS, messages  # noqa: E402
from pairs import interval  # noqa: E402
from services import Kafka, Mosquitto, TcpProxy, Timescale, wait_until  # noqa: E402

RATE = 2000
WORKS, WEBHOOK, DATABASE = "all sinks work", "dead webhook", "database down"
TOPIC = "full"
# The messages of bench.py have 20 to 45 °C: an alert that fires and is resolved for each 400 of them.
RULES = ["transforms.alerts.rules[0].above=44.9", "transforms.alerts.rules[0].clear_below=44"]
Run = dict[str, float]


class Bench:
    """The servers, with a topic of messages."""

    def __init__(self, kafka: Kafka, mosquitto: Mosquitto, database: Timescale, count: int, hook: dict[str, Any]) -> None:
        self._kafka, self._mosquitto, self._database, self._count, self._hook = kafka, mosquitto, database, count, hook
        self._runs = 0
        kafka.create_topic(TOPIC, PARTITIONS, {"retention.ms": -1})
        for partition in range(PARTITIONS):
            kafka.produce(TOPIC, messages(range(partition, count, PARTITIONS)), partition=partition)

    def _names(self, kinds: list[str]) -> dict[str, str]:
        """Return a name for each host: of its database and its group."""
        self._runs += 1
        return {kind: f"run_{self._runs}_{number}" for number, kind in enumerate(kinds)}

    def throughput(self, turned: bool) -> dict[str, Run]:
        from pipeline_host import SOURCE, PipelineHost

        kinds = [WEBHOOK, WORKS] if turned else [WORKS, WEBHOOK]
        names = self._names(kinds)
        hosts: dict[str, PipelineHost] = {}
        with ExitStack() as stack:
            for kind, name in names.items():
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                sets = [f"sources.telemetry.group={name}", f"sources.telemetry.topic={TOPIC}", *RULES]
                sets += ["sinks.hook=" + json.dumps(self._hook)] if kind == WEBHOOK else []
                environment = {
                    "KAFKA_BROKERS": self._kafka.brokers, "MQTT_URL": self._mosquitto.url(),
                    "DATABASE_URL": self._database.create_database(name),
                }  # fmt: skip
                config = SOURCE / "configs" / "iot.yaml"
                hosts[kind] = stack.enter_context(PipelineHost(config, folder, environment=environment, sets=sets))

            def state(host: PipelineHost) -> tuple[float, float, float]:
                """Return the time, the rows that the host has stored, and its CPU time."""
                return time.monotonic(), host.metric("pipeline_records_out_total", node="store"), host.cpu_seconds()

            first: dict[str, tuple[float, float, float]] = {}
            ends: list[dict[str, tuple[float, float, float]]] = []  # when the faster host has stored everything, and the other
            while len(ends) < len(hosts):
                time.sleep(0.02)
                now = {kind: state(host) for kind, host in hosts.items()}
                first = {kind: of for kind, of in now.items() if of[1] > 0} | first
                if sum(of[1] == self._count for of in now.values()) > len(ends):
                    ends.append(now)
            for host in hosts.values():
                host.kill()
        for name in names.values():
            self._database.drop_database(name)
        found = {}
        for kind in kinds:
            took, rows, _ = (then - now for now, then in zip(first[kind], ends[0][kind], strict=True))
            done = next(end[kind] for end in ends if end[kind][1] == self._count)
            found[kind] = {"rows/s": rows / took, "us/row": done[2] / self._count * 1e6}
        return found

    def latency(self, seconds: float, turned: bool) -> dict[str, Run]:
        from pipeline_host import PipelineHost
        from sink_outage import TABLE, Alerts, Load, percentile, pipeline

        kinds = [WORKS, WEBHOOK, DATABASE][:: -1 if turned else 1]
        names = self._names(kinds)
        topic = f"steady_{self._runs}"
        self._kafka.create_topic(topic, PARTITIONS)
        hosts: dict[str, PipelineHost] = {}
        alerts: dict[str, Alerts] = {}
        with ExitStack() as stack:
            proxy = stack.enter_context(TcpProxy(self._database.port))
            for kind, name in names.items():
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = self._database.create_database(name)
                self._database.execute(TABLE, database=name)
                if kind == DATABASE:
                    url = url.replace(f":{self._database.port}/", f":{proxy.port}/")
                sinks = {"hook": self._hook} if kind == WEBHOOK else {}
                config = pipeline(folder, self._kafka, self._mosquitto, topic, url, group=name, further_sinks=sinks)
                alerts[kind] = stack.enter_context(Alerts(self._mosquitto, name))
                hosts[kind] = stack.enter_context(PipelineHost(config, folder))
                owned = hosts[kind]
                wait_until(lambda h=owned: h.metric("pipeline_kafka_assigned_partitions") == PARTITIONS, "the partitions")  # type: ignore[misc]
            load = stack.enter_context(Load(self._kafka, topic, RATE, hot_per_second=100))
            wait_until(lambda: min(len(a.arrived) for a in alerts.values()) > 200, "alerts")
            proxy.refuse()
            wait_until(lambda: hosts[DATABASE].metric("pipeline_queue_disk_batches", node="store") > 0, "a queue on disk")
            began = time.time()
            time.sleep(seconds)
            ended = time.time()
            due = {device for device, sent in list(load.hot.items()) if sent < ended}
            wait_until(lambda: all(due <= a.arrived.keys() for a in alerts.values()), "the alerts")
            assert hosts[WEBHOOK].metric("pipeline_given_up_total", node="hook") > 0
            load.stop()
            took = {kind: a.latencies(load, began, ended) for kind, a in alerts.items()}
            for host in hosts.values():
                host.kill()
        self._kafka.delete_topic(topic)
        for name in names.values():
            self._database.drop_database(name)
        return {kind: {p: percentile(each, int(p[1:])) * 1000 for p in ("p50", "p99")} for kind, each in took.items()}


def compare(what: str, base: list[float], other: list[float], unit: str) -> None:
    low, mean, high = interval([b / a for a, b in zip(base, other, strict=True)])
    figures = f"{statistics.median(base):>14,.2f}{statistics.median(other):>14,.2f} {unit}"
    print(f"{what:<42}{figures:<36}{mean:>7.3f}  [{low:.3f}, {high:.3f}]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--input", choices=["alerts", "parsed"], default="alerts")
    arguments = parser.parse_args()
    os.environ["PIPELINE_BUILD_DIR"] = str(arguments.build.resolve())

    rounds: list[tuple[dict[str, Run], dict[str, Run]]] = []
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as silent, Kafka(java_options=JVM) as kafka,
        Timescale() as database, Mosquitto() as mosquitto,
    ):  # fmt: skip
        hook = {
            "plugin": "http_sink", "from": arguments.input, "url": f"http://127.0.0.1:{silent.getsockname()[1]}/",
            "timeout": "1s", "queue": {"disk": "1GiB"}, "retry": {"max": "10s", "give_up_after": "1s"},
            "on_failure": "dead_letters",
        }  # fmt: skip
        bench = Bench(kafka, mosquitto, database, arguments.messages, hook)
        for number in range(arguments.rounds):
            turned = number % 2 == 1
            rounds.append((bench.throughput(turned), bench.latency(arguments.seconds, turned)))
            for found in rounds[-1]:
                for kind, run in sorted(found.items()):
                    figures = ", ".join(f"{key} {value:,.4g}" for key, value in run.items())
                    print(f"round {number + 1}, {kind}: {figures}", file=sys.stderr, flush=True)

    print(f"\n{'':<42}{WORKS:>14}{'failing sink':>14}{'':>8}{'ratio':>7}")
    for figure, text, unit in (("rows/s", "rows stored", "/s"), ("us/row", "CPU of the host, each row", "µs")):
        base, other = ([full[kind][figure] for full, _ in rounds] for kind in (WORKS, WEBHOOK))
        compare(f"{WEBHOOK}: {text}", base, other, unit)
    for kind in (WEBHOOK, DATABASE):
        for figure in ("p50", "p99"):
            compare(
                f"{kind}: alerts, {figure}", [steady[WORKS][figure] for _, steady in rounds],
                [steady[kind][figure] for _, steady in rounds], "ms",
            )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
