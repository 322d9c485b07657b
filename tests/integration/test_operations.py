# SPDX-License-Identifier: Apache-2.0
"""What an operator sees and does: outages in metrics, probes and the log; reloads that repair; rotated secrets."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import confluent_kafka
import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson
from security import PASSWORD, USER
from services import Authority, Kafka, Mosquitto, Timescale, Tls, Worker, free_port, wait_until

OLD, NEW = "0ld-passw0rd", "n3w-passw0rd"
PATH = "/users/u/devices/{device}/telemetry"
Parts = dict[str, Any]


class Receiver:
    """An HTTP server that stores the rows of requests, or responds with 503."""

    def __init__(self) -> None:
        self.down = False
        self.rows: list[dict[str, Any]] = []
        outer, self._lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    if not outer.down:
                        outer.rows += rows
                    self.send_response(503 if outer.down else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_OPTIONS = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._worker = Worker(lambda: self._server.serve_forever(poll_interval=0.05))

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._worker.finish()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


class Poster:
    """Posts readings of a device to an http_source."""

    def __init__(self, port: int) -> None:
        self._port = port

    def post(self, *readings: dict[str, object], device: str = "d") -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            body = "\n".join(json.dumps(each) for each in readings)
            connection.request("POST", PATH.format(device=device), body, {"Content-Type": "application/x-ndjson"})
            return connection.getresponse().status

    def post_numbers(self, numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 1000):
            some = range(first, min(first + 1000, numbers.stop))
            assert self.post(*({"n": n, "time": 1_763_000_000_000 + n} for n in some)) == 200


def http_in(port: int, **more: object) -> Parts:
    path = PATH.replace("/u/", "/{user_id}/").format(device="{device_id}", user_id="{user_id}")
    return {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": path, **more}


def parsed(*metrics: str) -> Parts:
    ids = {"topic": PATH.replace("/u/", "/{user_id}/").format(device="{device_id}", user_id="{user_id}")}
    return {"plugin": "json_telemetry", "from": "in", "ids_from": ids, "metrics": list(metrics),
            "time_window": {"past": 0, "future": 0}}  # fmt: skip


def waiting(host: PipelineHost, probe: str = "ready") -> dict[str, str]:
    """Return the nodes that a probe names, with the reasons."""
    status, body = host.get(f"/health/{probe}")
    state = json.loads(body)
    assert (status == 200) == state[probe] == (not state["waiting"])
    return {each["node"]: each["reason"] for each in state["waiting"]}


def accepting(host: PipelineHost) -> bool:
    return host.get("/health/accepting")[0] == 200


def reload(host: PipelineHost, ok: bool = True) -> None:
    before = host.metric("pipeline_config_reloads_total")
    host.signal(signal.SIGHUP)
    wait_until(lambda: host.metric("pipeline_config_reloads_total") == before + 1, "the reload")
    assert host.metric("pipeline_config_reloads_total", result="ok" if ok else "failed") >= 1


def infos(host: PipelineHost, node: str, level: str = "info") -> list[str]:
    return [m["message"] for m in host.messages() if m["level"] == level and m.get("node") == node]


# ------------------------------------------------------------------------------------------------ a sink that is down


def test_an_outage_of_a_sink_shows_in_metrics_and_probes_and_its_end_in_the_log(
    tmp_path: Path, receiver: Receiver
) -> None:
    port, records = free_port(), 20_000
    out = {
        "plugin": "http_sink", "from": "posted", "url": receiver.url, "queue": {"max_bytes": "1MiB"},
        "retry": {"initial": "100ms", "max": "500ms"}, "batch": {"rows": 1000, "delay": "50ms"},
    }  # fmt: skip
    config = configuration(tmp_path, sources={"posted": http_in(port)}, sinks={"out": out})
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        poster = Poster(port)
        poster.post_numbers(range(100))
        wait_until(lambda: len(receiver.rows) == 100 and host.metric("pipeline_lag_records") == 0, "a quiet pipeline")
        receiver.down = True
        poster.post_numbers(range(100, 100 + records))
        wait_until(lambda: host.metric("pipeline_lag_records", node="posted") == records, "the whole lag")
        assert host.metric("pipeline_spool_bytes") > records * 20
        wait_until(lambda: host.metric("pipeline_queue_bytes", node="out") > 0, "a queue")
        wait_until(lambda: host.metric("pipeline_in_flight_batches", node="posted") > 0, "batches in flight")
        wait_until(lambda: "retrying: " in waiting(host).get("out", ""), "the sink's reason")
        wait_until(lambda: "503" in waiting(host).get("out", ""), "the server's response")
        assert waiting(host, "accepting") == {}, "the intake continues"

        receiver.down = False
        host.wait_ready()
        wait_until(lambda: len(receiver.rows) >= 100 + records, "all rows")
        wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
        wait_until(lambda: host.metric("pipeline_queue_bytes") == 0, "empty queues")
        assert {json.loads(row["value"])["n"] for row in receiver.rows} == set(range(100 + records))
        (line,) = [line for line in infos(host, "out") if "again after" in line]
        found = re.fullmatch(r"works again after [\d.]+ s and \d+ failed attempts?; ([\d,]+) records were waiting", line)
        assert found and int(found[1].replace(",", "")) >= 1000, line
        assert host.stop() == 0


def test_accepting_ends_where_the_spool_is_full(tmp_path: Path, receiver: Receiver) -> None:
    port = free_port()
    out = {"plugin": "http_sink", "from": "posted", "url": receiver.url, "queue": {"max_bytes": "64KiB"},
           "retry": {"initial": "100ms", "max": "200ms"}}  # fmt: skip
    source = http_in(port, spool={"max_bytes": "1MiB", "fsync": "never"})
    config = configuration(tmp_path, sources={"posted": source}, sinks={"out": out})
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        assert accepting(host)
        receiver.down = True
        poster = Poster(port)
        while poster.post(*({"text": "x" * 1000} for _ in range(100))) == 200:
            pass
        wait_until(lambda: not accepting(host), "the end of accepting")
        wait_until(lambda: "full" in waiting(host, "accepting").get("posted", ""), "the reason")
        wait_until(lambda: set(waiting(host)) == {"posted", "out"}, "both nodes to be named")
        receiver.down = False
        wait_until(lambda: accepting(host), "room in the spool")
        host.wait_ready()
        assert any(line.startswith("can receive records again after ") for line in infos(host, "posted"))
        assert host.stop() == 0


def test_the_lag_grows_while_a_blocked_lane_reads_nothing(kafka: Kafka, unique_name: str, tmp_path: Path,
                                                          receiver: Receiver) -> None:  # fmt: skip
    kafka.create_topic(unique_name, partitions=2)
    source = {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": unique_name, "start": "earliest",
              "instance": "dynamic"}  # fmt: skip
    out = {"plugin": "http_sink", "from": "in", "url": receiver.url, "queue": {"max_bytes": "64KiB"},
           "retry": {"initial": "100ms", "max": "500ms"}}  # fmt: skip
    config = configuration(tmp_path, sources={"in": source}, sinks={"out": out})
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        receiver.down = True
        kafka.produce(unique_name, [b"x" * 100] * 20_000)
        wait_until(lambda: host.metric("pipeline_lag_records") == 20_000, "the lag")
        wait_until(lambda: "out" in waiting(host), "the outage")
        kafka.produce(unique_name, [b"x" * 100] * 5_000)
        wait_until(lambda: host.metric("pipeline_lag_records") == 25_000, "the lag of records that nobody reads")
        receiver.down = False
        wait_until(lambda: len(receiver.rows) >= 25_000 and host.metric("pipeline_lag_records") == 0, "all records")
        assert host.stop() == 0


def test_a_write_that_is_refused_as_a_whole_for_one_reason_is_an_error(
    timescale: Timescale, database: str, tmp_path: Path
) -> None:
    timescale.execute("CREATE TABLE t (time timestamptz, n float8 CHECK (n < 0))", database=database)
    port = free_port()
    store = {"plugin": "timescale_sink", "from": "parsed", "url": timescale.url(database), "table": "t",
             "columns": {"time": "time", "n": "n"}, "batch": {"rows": 200, "delay": "1s"}}  # fmt: skip
    config = configuration(tmp_path, sources={"in": http_in(port)}, transforms={"parsed": parsed("n")},
                           sinks={"store": store})  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        Poster(port).post_numbers(range(200))
        wait_until(lambda: len(dead_letters(tmp_path)) == 200, "the dead letters")
        text = "every row of a write was refused for one reason"
        wait_until(lambda: any(text in line and "t_n_check" in line for line in infos(host, "store", "error")), "the error")
        assert host.stop() == 0


# ------------------------------------------------------------------------------------------------------------ reloads


@pytest.mark.parametrize("how", ["SIGHUP", "restart"])
def test_alerts_and_duplicates_survive_a_change_of_their_node(tmp_path: Path, how: str) -> None:
    port = free_port()

    def parts(rules: list[Parts], within: str) -> Parts:
        unique = {"plugin": "deduplicate", "from": "parsed", "by": ["n", "time"], "within": within}
        alerts = {"plugin": "threshold_alert", "from": "unique", "rules": rules}
        return {
            "sources": {"in": http_in(port)},
            "transforms": {"parsed": parsed("n"), "unique": unique, "alerts": alerts},
            "sinks": {"events": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"},
                      "rows": {"plugin": "file_sink", "from": "unique", "path": "rows.ndjson"}},
        }  # fmt: skip

    hot = {"name": "hot", "metric": "n", "above": 80}
    now = int(time.time() * 1000)
    config = configuration(tmp_path, **parts([hot], "10m"))
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        poster, events = Poster(port), tmp_path / "alerts.ndjson"
        assert poster.post({"n": 95, "time": now - 5000}) == 200
        wait_until(lambda: len(ndjson(events)) == 1, "the alert")
        configuration(tmp_path, **parts([hot, {"name": "cold", "metric": "n", "below": -40}], "20m"))
        if how == "SIGHUP":
            reload(host)
        else:
            assert host.stop() == 0
            host.start().wait_ready()
        wait_until(lambda: host.metric("pipeline_alerts_open", rule="hot") == 1, "the open alert")
        assert poster.post({"n": 95, "time": now - 5000}) == 200  # a duplicate
        assert poster.post({"n": 96, "time": now - 3000}) == 200
        wait_until(lambda: len(ndjson(tmp_path / "rows.ndjson")) == 2, "the second row")
        assert poster.post({"n": 20, "time": now - 1000}) == 200
        wait_until(lambda: len(ndjson(events)) == 2, "the end of the alert")
        fired, resolved = ndjson(events)
        assert (fired["state"], resolved["state"], fired["id"]) == ("firing", "resolved", resolved["id"])
        wait_until(lambda: host.metric("pipeline_alerts_open", rule="hot") == 0, "no open alert")
        assert [row["n"] for row in ndjson(tmp_path / "rows.ndjson")] == [95, 96, 20]
        assert host.stop() == 0


def test_a_rule_renamed_during_an_outage_resolves_each_alert_once(tmp_path: Path, receiver: Receiver) -> None:
    """Alerts of records that are still in flight have been sent already, and belong to the old rule."""
    port = free_port()

    def parts(rule: str) -> Parts:
        rules = [{"name": rule, "metric": "n", "above": 80}]
        rows = {"plugin": "http_sink", "from": "parsed", "url": receiver.url, "retry": {"initial": "50ms", "max": "200ms"}}
        return {
            "sources": {"in": http_in(port)},
            "transforms": {"parsed": parsed("n"), "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": rules}},
            "sinks": {"rows": rows, "events": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"}},
        }  # fmt: skip

    def events(state: str) -> list[tuple[str, str]]:
        return [(e["id"], e["rule"]) for e in ndjson(tmp_path / "alerts.ndjson") if e["state"] == state]

    now = int(time.time() * 1000)
    config = configuration(tmp_path, **parts("hot"))
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        poster = Poster(port)
        assert poster.post({"n": 95, "time": now - 9000}, device="a") == 200
        assert poster.post({"n": 95, "time": now - 9000}, device="b") == 200
        wait_until(lambda: len(events("firing")) == 2 and len(receiver.rows) == 2, "the first alerts")
        time.sleep(3)  # a snapshot is stored
        receiver.down = True
        assert poster.post({"n": 96, "time": now - 8000}, device="c") == 200
        assert poster.post({"n": 20, "time": now - 8000}, device="a") == 200
        wait_until(lambda: len(events("firing")) == 3 and len(events("resolved")) == 1, "alerts during the outage")
        wait_until(lambda: "rows" in waiting(host), "the outage")
        configuration(tmp_path, **parts("hotter"))
        reload(host)
        receiver.down = False
        host.wait_ready()
        wait_until(lambda: len(events("resolved")) >= 3, "the end of all alerts")
        wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
        assert host.stop() == 0
        assert sorted(events("resolved")) == sorted(events("firing"))
        assert {rule for _, rule in events("firing")} == {"hot"}
        assert len(receiver.rows) == 4, "no record was read again"


class Account:
    """A database user whose password changes."""

    def __init__(self, timescale: Timescale, database: str) -> None:
        self._timescale, self._database = timescale, database
        self.name = f"writer_{database}"[:60]
        self._sql(f"CREATE ROLE {self.name} LOGIN PASSWORD '{OLD}'")
        self._sql("CREATE TABLE t (time timestamptz NOT NULL, n float8)")
        self._sql(f"GRANT ALL ON SCHEMA public TO {self.name}")
        self._sql(f"GRANT ALL ON t TO {self.name}")

    def _sql(self, text: str) -> None:
        self._timescale.execute(text, database=self._database)

    def url(self, password: str) -> str:
        return re.sub(r"//[^/]*@|//", f"//{self.name}:{password}@", self._timescale.url(self._database), count=1)

    def begin(self) -> None:
        self._sql("TRUNCATE t")
        self.set_password(OLD)

    def set_password(self, password: str) -> None:
        self._sql(f"ALTER ROLE {self.name} PASSWORD '{password}'")

    def rotate(self) -> None:
        """Change the password, and end the connections that were made with the old one."""
        self.set_password(NEW)
        self._sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.name}'")

    def stored(self) -> list[int]:
        rows = self._timescale.query("SELECT n FROM t ORDER BY n", database=self._database)
        return [int(str(n).removesuffix(".0")) for (n,) in rows]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timescale]:
    """A server that asks for passwords."""
    with Timescale(password=PASSWORD) as server:
        yield server


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_rotated_password_is_repaired_by_sighup_or_by_its_file(
    secured: Timescale, unique_name: str, tmp_path: Path, delivery: str
) -> None:
    secured.create_database(unique_name)
    account, port, secret = Account(secured, unique_name), free_port(), tmp_path / "password"
    in_file = account.url(f"${{file:{secret}}}")

    def parts(url: str) -> Parts:
        store = {"plugin": "timescale_sink", "from": "parsed", "url": url, "table": "t", "columns": {"time": "time", "n": "n"},
                 "delivery": delivery, "retry": {"initial": "100ms", "max": "300ms"}}  # fmt: skip
        return {"sources": {"in": http_in(port)}, "transforms": {"parsed": parsed("n")}, "sinks": {"store": store}}

    for repair in ("SIGHUP", "file"):
        folder = tmp_path / repair
        account.begin()
        secret.write_text(f"{OLD}\n")
        config = configuration(folder, **parts(account.url(OLD) if repair == "SIGHUP" else in_file))
        with PipelineHost(config, folder) as host:
            host.wait_ready()
            poster = Poster(port)
            poster.post_numbers(range(500))
            wait_until(lambda: len(account.stored()) == 500, "the first rows")
            account.rotate()
            poster.post_numbers(range(500, 3000))
            wait_until(lambda: "password authentication failed" in waiting(host).get("store", ""), "the reason")
            assert accepting(host)
            if repair == "SIGHUP":
                configuration(folder, **parts(account.url(NEW)))
                reload(host)
            else:
                secret.write_text(f"{NEW}\n")
            host.wait_ready()
            wait_until(lambda: len(account.stored()) >= 3000, "all rows")
            wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
            assert account.stored() == list(range(3000))
            assert host.metric("pipeline_config_reloads_total", result="failed") == 0
            assert not dead_letters(folder)
            assert host.stop() == 0
            assert OLD not in host.log() and NEW not in host.log()


# ------------------------------------------------------------------------------------------------- sources, readiness


def test_a_broker_that_is_away_makes_the_source_not_ready(tmp_path: Path) -> None:
    with Mosquitto() as broker:
        config = configuration(
            tmp_path,
            sources={"in": {"plugin": "mqtt_source", "url": broker.url(), "topic": "t"}},
            sinks={"out": {"plugin": "file_sink", "from": "in", "path": "out.ndjson"}},
        )
        with PipelineHost(config, tmp_path) as host:
            host.wait_ready()
            broker.kill()
            wait_until(lambda: "in" in waiting(host), "the disconnected source")
            wait_until(lambda: "cannot reach" in waiting(host).get("in", ""), "the reason")
            assert "in" in waiting(host, "accepting")
            assert host.metric("pipeline_mqtt_source_connected") == 0
            broker.restart()
            host.wait_ready()
            assert accepting(host)
            wait_until(
                lambda: any(line.startswith("can receive records again after ") for line in infos(host, "in")),
                "the end of the outage",
            )
            assert host.stop() == 0


def test_a_consumer_that_cannot_join_is_not_ready_and_a_standby_is(
    kafka: Kafka, unique_name: str, tmp_path: Path
) -> None:
    kafka.create_topic(unique_name, partitions=1)
    kafka.produce(unique_name, [b"{}"] * 10)

    def host(name: str, group: str) -> PipelineHost:
        source = {"plugin": "kafka_source", "brokers": kafka.brokers, "topic": unique_name, "group": group,
                  "start": "earliest", "instance": "dynamic"}  # fmt: skip
        out = {"plugin": "file_sink", "from": "in", "path": "out.ndjson"}
        return PipelineHost(configuration(tmp_path / name, sources={"in": source}, sinks={"out": out}), tmp_path / name)

    eager = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.brokers, "group.id": f"{unique_name}-mixed", "session.timeout.ms": 60_000,
         "partition.assignment.strategy": "range"}
    )  # fmt: skip
    eager.subscribe([unique_name])
    # Its first polls may return errors. The host starts once it is a member.
    wait_until(lambda: (eager.poll(0.1), eager.assignment())[1], "the other member")
    with contextlib.closing(eager), host("mixed", f"{unique_name}-mixed") as refused:
        refused.wait_for_log("metrics and health")
        wait_until(lambda: (eager.poll(0), "Inconsistent group protocol" in refused.log())[1], "the refusal")
        wait_until(lambda: "join" in (why := waiting(refused).get("in", "")) and unique_name in why, "the reason")
        assert refused.stop() == 0
    with host("a", f"{unique_name}-two") as first, host("b", f"{unique_name}-two") as second:
        first.wait_ready()
        second.wait_ready()
        partitions = [h.metric("pipeline_kafka_assigned_partitions") for h in (first, second)]
        wait_until(lambda: sum(h.metric("pipeline_kafka_assigned_partitions") for h in (first, second)) == 1, "one owner")
        assert max(partitions) <= 1
        first.wait_ready()
        second.wait_ready()
        assert first.stop() == second.stop() == 0


def test_renewed_certificates_are_used_without_a_restart(unique_name: str, tmp_path: Path) -> None:
    """The broker's certificate comes from another authority; then the host's file of authorities is renewed, too."""
    old, new = Authority(tmp_path / "old", "old authority"), Authority(tmp_path / "new", "new authority")
    here = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}

    def renew() -> None:
        own = old.client(USER)
        for name, file in {"ca": old.ca, "cert": own.cert, "key": own.key}.items():
            shutil.copy(file, here[name])

    renew()
    with Kafka(tls=Tls(old, own=old.client(USER))) as kafka:
        kafka.create_topic(unique_name)
        tls = {name: str(file) for name, file in here.items()}
        options = {"brokers": kafka.secure_brokers, "tls": tls}
        source = {"plugin": "kafka_source", "topic": unique_name, "start": "earliest", "instance": "dynamic", **options}
        out = {"plugin": "file_sink", "from": "in", "path": "out.ndjson"}
        config = configuration(tmp_path / "host", sources={"in": source}, sinks={"out": out})
        with PipelineHost(config, tmp_path / "host") as host:
            host.wait_ready()
            kafka.produce(unique_name, [b"1"])
            wait_until(lambda: len(ndjson(tmp_path / "host" / "out.ndjson")) == 1, "the first record")
            reload(host)  # nothing changed
            renew()
            reload(host)  # the source is replaced, because its files are others
            assert any("source in: replace (files: " in m["message"] for m in host.messages())
            kafka.produce(unique_name, [b"2"])
            wait_until(lambda: len(ndjson(tmp_path / "host" / "out.ndjson")) == 2, "the second record")
            kafka.offer(new.server("127.0.0.1"))
            kafka.restart()
            wait_until(lambda: "certificate" in waiting(host).get("in", ""), "the reason")
            shutil.copy(new.ca, here["ca"])
            host.wait_ready()
            kafka.produce(unique_name, [b"3"])
            wait_until(lambda: len(ndjson(tmp_path / "host" / "out.ndjson")) == 3, "the third record")
            assert host.stop() == 0
