# SPDX-License-Identifier: Apache-2.0
"""200 devices against an oracle: no false alarm of silence and no missed one, through stop, backlog, blocked sink, cut
connection, partition move and kill -9; for Kafka (LogAppendTime, CreateTime, a producer with a wrong clock), MQTT and HTTP.

All kinds of sources run at the same time, each with its own host and database, through the same faults.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline_host import PipelineHost, configuration
from silence import MISSING_FOR, Down, Fleet, HttpTransport, KafkaTransport, MqttTransport, Silences, judge, wait

from services import Kafka, Mosquitto, Postgres, TcpProxy, free_port, wait_until

SEED = int(os.environ.get("FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
TABLES = """CREATE TABLE readings (time timestamptz, user_id text, device_id text, temperature float8);
CREATE TABLE alerts (arrived bigserial, id text, rule text, state text, severity text, metric text, value float8,
  threshold float8, message text, user_id text, device_id text, labels jsonb, since timestamptz, time timestamptz,
  stream text, position bigint)"""


class Site:
    """One kind of source: its fleet, its hosts and its database."""

    def __init__(self, name: str, source: dict[str, object], postgres: Postgres, directory: Path, fleet: Fleet) -> None:
        self.name, self.fleet, self._postgres, self._database = name, fleet, postgres, f"silence_{name}_{os.getpid()}"
        self._source, self._directory = source, directory / name
        self._directory.mkdir()
        self.is_kafka = source["plugin"] == "kafka_source"
        self.down = None if self.is_kafka else Down()
        postgres.create_database(self._database)
        postgres.execute(TABLES, database=self._database)
        self.host = self.new_host("one")

    def new_host(self, name: str) -> PipelineHost:
        """Return a host; a second one shares the partitions of a topic with the first."""
        instance: dict[str, object] = {"instance": name} if self.is_kafka else {}
        sink: dict[str, object] = {"plugin": "timescale_sink", "url": self._postgres.url(self._database),
                                   "batch": {"delay": "20ms"}, "retry": {"initial": "50ms", "max": "500ms"}}  # fmt: skip
        config = configuration(
            self._directory / name,
            delivery="exactly_once",
            sources={"in": {**self._source, **instance}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "in", "metrics": ["temperature"]},
                        "alerts": {"plugin": "threshold_alert", "from": "parsed",
                                   "rules": [{"name": "silent", "missing_for": f"{MISSING_FOR:g}s"}]}},
            sinks={"readings": {**sink, "from": "parsed", "table": "readings", "unmapped": "ignore", "queue": {"max_bytes": "64KiB"}},
                   "alert_rows": {**sink, "from": "alerts", "table": "alerts"}},
        )  # fmt: skip
        return PipelineHost(config, self._directory / name)

    def alerts(self) -> list[dict[str, Any]]:
        columns = ("id", "state", "device_id", "since", "time")
        rows = self._postgres.query(f"SELECT {', '.join(columns)} FROM alerts ORDER BY arrived", database=self._database)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def open(self) -> int:
        states = [a["state"] for a in self.alerts()]
        return states.count("firing") - states.count("resolved")

    @contextmanager
    def cannot_receive(self) -> Iterator[None]:
        begin = time.time()
        yield
        if self.down is not None:
            self.down.periods.append((begin - 0.5, time.time() + 0.5))

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Block the writes of readings, but not those of alerts."""
        with self._postgres.session(self._database) as session:
            session.execute("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            yield
            session.execute("ROLLBACK")

    def check(self) -> None:
        assert self.fleet.failure is None, f"{self.name}: {self.fleet.failure!r}"


class Stage:
    """All sites, and the faults that happen to them."""

    def __init__(self, sites: list[Site], proxies: list[TcpProxy]) -> None:
        self.sites, self._proxies = sites, proxies

    def start(self) -> None:
        for site in self.sites:
            site.host.start()
        for site in self.sites:
            site.host.wait_ready()

    def pass_time(self, seconds: float) -> None:
        wait(seconds, *(site.check for site in self.sites))

    def _all_down(self) -> ExitStack:
        stack = ExitStack()
        for site in self.sites:
            stack.enter_context(site.cannot_receive())
        return stack

    def stop_for_a_while(self) -> None:
        with self._all_down():
            for site in self.sites:
                assert site.host.stop() == 0
            self.pass_time(MISSING_FOR + 3)
            self.start()

    def block(self) -> None:
        with ExitStack() as stack:
            for site in self.sites:
                stack.enter_context(site.blocked())
            self.pass_time(MISSING_FOR + 4)

    def cut(self) -> None:
        with self._all_down():
            for proxy in self._proxies:
                proxy.refuse()
            self.pass_time(MISSING_FOR + 2)
            for proxy in self._proxies:
                proxy.refuse(False)
            for site in self.sites:
                site.host.wait_ready()

    def move_partitions(self) -> None:
        """Let a second host join each group, and then the first one leave."""
        kafka = [site for site in self.sites if site.is_kafka]
        for site in kafka:
            first, site.host = site.host, site.new_host("two" if site.host.directory.name == "one" else "one")
            site.host.start()
            site.host.wait_ready()
            self.pass_time(1)
            assert first.stop() == 0

    def kill(self) -> None:
        with self._all_down():
            for site in self.sites:
                site.host.kill()
            self.start()

    def finish(self) -> None:
        for site in self.sites:
            wait_until(lambda site=site: site.open() == 0, f"the end of all alerts of {site.name}")
        for site in self.sites:
            assert site.host.stop() == 0
        for site in self.sites:
            verdict = judge(site.fleet, site.alerts(), site.down)
            print(f"{site.name}: {verdict}")
            assert verdict.good, f"{site.name}: {verdict}"
            assert verdict.expected > 5, site.name


@contextmanager
def stage(kafka: Kafka, broker: TcpProxy, mosquitto: Mosquitto, postgres: Postgres, directory: Path) -> Iterator[Stage]:
    port = free_port()
    with TcpProxy(mosquitto.port) as proxy, ExitStack() as stack:
        sites = []
        for name, kind in (("log", "LogAppendTime"), ("create", "CreateTime"), ("misdated", "CreateTime")):
            kafka.create_topic(name, 4, {"message.timestamp.type": kind})
            fleet = stack.enter_context(Fleet(KafkaTransport(kafka, name, misdated=name == "misdated")))
            source = {"plugin": "kafka_source", "brokers": f"127.0.0.1:{broker.port}", "topic": name, "group": name,
                      "commit_interval": "200ms"}  # fmt: skip
            sites.append(Site(name, source, postgres, directory, fleet))
        mqtt = {"plugin": "mqtt_source", "url": f"mqtt://127.0.0.1:{proxy.port}", "topic": "silence/#", "client_id": "silence"}
        sites.append(Site("mqtt", mqtt, postgres, directory, stack.enter_context(Fleet(MqttTransport(mosquitto, "silence")))))
        web = {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/t"}
        sites.append(Site("http", web, postgres, directory, stack.enter_context(Fleet(HttpTransport(port)))))
        made = Stage(sites, [broker, proxy])
        try:
            made.start()
            yield made
        finally:
            for site in sites:
                site.host.__exit__(None, None, None)


def play(kafka: Kafka, broker: TcpProxy, mosquitto: Mosquitto, postgres: Postgres, directory: Path, rounds: int = 1) -> None:
    rng = random.Random(SEED)
    print(f"FAULT_SEED={SEED}")
    with stage(kafka, broker, mosquitto, postgres, directory) as made:
        with Silences([site.fleet for site in made.sites], rng):
            for _ in range(rounds):
                faults = [made.stop_for_a_while, made.block, made.cut, made.move_partitions, made.kill, made.kill]
                rng.shuffle(faults)
                for fault in faults:
                    made.pass_time(rng.uniform(2, 4))
                    fault()
        made.finish()


def test_no_false_alarm_and_no_missed_one(mosquitto: Mosquitto, postgres: Postgres, tmp_path: Path) -> None:
    port = free_port()
    with TcpProxy(port) as broker, Kafka(proxied=(port, broker.port)) as kafka:
        play(kafka, broker, mosquitto, postgres, tmp_path)
