# SPDX-License-Identifier: Apache-2.0
"""The host's verbs and signals with real servers: retry at a webhook and a database, alerts in position stores, reload."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Kafka, Timescale, processes, wait_until


class Webhook:
    """A webhook that refuses requests, or accepts them and keeps their bodies."""

    def __init__(self) -> None:
        self.status = 422
        self.received: list[Any] = []
        self.keys: list[str] = []
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.keys.append(self.headers.get("Idempotency-Key", ""))
                if webhook.status == 200:
                    webhook.received.append(json.loads(body))
                self.send_response(webhook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with contextlib.closing(Webhook()) as running:
        yield running


def reading(device: int, temperature: float) -> str:
    return json.dumps({"user_id": "u", "device_id": f"d{device}", "timestamp": "2026-11-24T18:00:00Z", "temperature": temperature})


RULES = [{"name": "hot", "metric": "temperature", "above": 80, "severity": "critical"}]


def pipeline(folder: Path, store: dict[str, object], **sinks: object) -> Path:
    return configuration(
        folder,
        sources={"lines": {"plugin": "file_source", "path": "in.ndjson"}},
        transforms={
            "parsed": {"plugin": "json_telemetry", "from": "lines"},
            "alerts": {"plugin": "threshold_alert", "from": "parsed", "max_age": "36500d", "rules": RULES},
        },
        sinks={
            "store": {"from": "parsed", **store},
            "notify": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"},
            **sinks,
        },
    )


def to_table(timescale: Timescale, database: str, **more: object) -> dict[str, object]:
    return {"plugin": "timescale_sink", "url": timescale.url(database), "table": "readings", "create": {}, **more}


def test_two_sources_of_one_group_cannot_share_a_topic(tmp_path: Path) -> None:
    """Each of them would receive a part of the partitions only. Another group, or another topic, is all right."""

    def validate(**second: object) -> str:
        kafka: dict[str, object] = {"plugin": "kafka_source", "brokers": "127.0.0.1:1", "group": "g"}
        config = configuration(
            tmp_path,
            sources={"one": {**kafka, "topic": "t"}, "two": {**kafka, **second}},
            sinks={"out": {"plugin": "console_sink", "from": ["one", "two"]}},
        )
        done = run("validate", str(config), cwd=tmp_path)
        assert done.returncode == (2 if "is used twice" in done.stderr else 0), done.stderr
        return done.stderr

    used = "the Kafka topic 't' in the group 'g' at 127.0.0.1:1 is used twice: by test/one and by test/two"
    assert used in validate(topic="t")
    assert used in validate(topics=["u", "t"])
    assert "is used twice" not in validate(topic="u")
    assert "is used twice" not in validate(topic="t", group="h")
    assert "is used twice" not in validate(topic="t", brokers="127.0.0.1:2")


def test_an_alert_that_a_webhook_refused_is_delivered_to_the_webhook_alone(
    tmp_path: Path, timescale: Timescale, database: str, webhook: Webhook
) -> None:
    """Three alerts are refused. A retry delivers them with the same body and key, and stores no row of theirs again."""
    config = pipeline(
        tmp_path, to_table(timescale, database, delivery="exactly_once"),
        notify={"plugin": "http_sink", "from": "alerts", "url": webhook.url, "format": "json"},
    )  # fmt: skip
    (tmp_path / "in.ndjson").write_text("".join(reading(n, t) + "\n" for n, t in enumerate((90, 20, 95, 85))))
    done = run("run", str(config), "--set", "http.listen=off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 rejected (notify 3)" in done.stderr
    refused = dead_letters(tmp_path)
    assert [one["node"] for one in refused] == ["notify"] * 3
    first_keys = set(webhook.keys)
    positions = "SELECT stream, next, epoch FROM pipeline_positions"
    before = timescale.query(positions, database=database)

    def stored() -> list[Any]:
        return timescale.query("SELECT device_id FROM readings ORDER BY 1", database=database)

    assert len(stored()) == 4
    again = run("dead-letters", "retry", str(config), "--yes", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    assert "notify: 0 rows delivered, 3 rejected again" in again.stdout
    assert len(dead_letters(tmp_path)) == 3

    webhook.status = 200
    webhook.keys.clear()
    done = run("dead-letters", "retry", str(config), "--yes", "--sink", "notify", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "notify: 3 rows delivered, 0 rejected again" in done.stdout
    assert sorted(body["device_id"] for body in webhook.received) == ["d0", "d2", "d3"]
    for body in webhook.received:
        (letter,) = (one for one in refused if one["record"]["id"] == body["id"])
        assert body == {key: value for key, value in letter["record"].items() if key != "$kinds"}
    assert set(webhook.keys) == first_keys
    assert dead_letters(tmp_path) == []
    assert len(ndjson(tmp_path / "dead-letters/test.retried.ndjson")) == 3
    assert len(stored()) == 4
    assert timescale.query(positions, database=database) == before

    nothing = run("dead-letters", "retry", str(config), "--yes", "--sink", "notify", cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (0, "test: 0 records to retry\n")
    assert len(webhook.received) == 3


def test_rows_of_one_message_that_a_table_refused(tmp_path: Path, timescale: Timescale, database: str) -> None:
    """Each of several rows of one record has its dead letter, and is stored once with its exact values."""
    config = pipeline(tmp_path, to_table(timescale, database, delivery="exactly_once"))
    values = [20.5, 61, 1e-7, 72.25, 40, 99]
    (tmp_path / "in.ndjson").write_text("[" + ",".join(reading(n, t) for n, t in enumerate(values)) + "]\n")

    def query(sql: str) -> list[Any]:
        return timescale.query(sql, database=database)

    query("CREATE TABLE readings (time timestamptz, user_id text, device_id text, temperature double precision "
          "CHECK (temperature < 50), extra jsonb)")  # fmt: skip
    done = run("run", str(config), "--set", "http.listen=off", "--set", "sinks.store.unmapped=ignore", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(dead_letters(tmp_path)) == 3
    assert len({one["position"] for one in dead_letters(tmp_path)}) == 1
    query("ALTER TABLE readings DROP CONSTRAINT readings_temperature_check")
    done = run("dead-letters", "retry", str(config), "--yes", "--set", "sinks.store.unmapped=ignore", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "store: 3 rows delivered, 0 rejected again" in done.stdout
    rows = query("SELECT device_id, temperature, time = '2026-11-24T18:00:00Z' FROM readings ORDER BY 1")
    assert [(d, float(str(t)), at) for d, t, at in rows] == [(f"d{n}", t, True) for n, t in enumerate(values)]
    assert dead_letters(tmp_path) == []


def open_alerts(config: Path, *sets: str) -> list[dict[str, Any]]:
    listed = run("alerts", str(config), "--json", *[f"--set={item}" for item in sets], cwd=config.parent)
    assert listed.returncode == 0, listed.stderr
    alerts: list[dict[str, Any]] = json.loads(listed.stdout)
    return alerts


@pytest.mark.parametrize("store", ["timescale", "kafka"])
def test_open_alerts_in_a_position_store(
    tmp_path: Path, timescale: Timescale, kafka: Kafka, database: str, store: str
) -> None:
    """The state is in the sink's own transactions; `alerts` reads it there, and creates nothing."""
    if store == "kafka":
        kafka.create_topic(database, partitions=1)
        sink: dict[str, object] = {"plugin": "kafka_sink", "brokers": kafka.brokers, "topic": database,
                                   "positions_topic": f"{database}_positions", "delivery": "exactly_once"}  # fmt: skip
    else:
        sink = to_table(timescale, database, delivery="exactly_once")
    config = pipeline(tmp_path, sink)
    (tmp_path / "in.ndjson").write_text("".join(reading(n, t) + "\n" for n, t in enumerate((90, 20, 95))))
    assert open_alerts(config, "http.listen=off") == []
    if store == "timescale":
        assert timescale.query("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pipeline%'", database=database) == [(0,)]
    done = run("run", str(config), "--set", "http.listen=off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fired = {row["id"]: row["device_id"] for row in ndjson(tmp_path / "alerts.ndjson")}
    assert sorted(fired.values()) == ["d0", "d2"]
    assert {a["id"]: a["device_id"] for a in open_alerts(config, "http.listen=off")} == fired
    if store == "kafka":
        kafka.delete_topic(database)


def test_alerts_of_a_store_that_is_down(tmp_path: Path) -> None:
    config = pipeline(tmp_path, {"plugin": "timescale_sink", "url": "postgresql://127.0.0.1:1/x", "table": "t",
                                 "delivery": "exactly_once"})  # fmt: skip
    listed = run("alerts", str(config), "--set", "http.listen=off", cwd=tmp_path)
    assert listed.returncode == 1
    assert "127.0.0.1:1" in listed.stderr
    assert listed.stdout == ""


def reload_log(host: PipelineHost, reloads: int) -> list[str]:
    """Reload once more, and return what the host logged about it."""
    seen = len(host.messages())
    host.signal(signal.SIGHUP)
    wait_until(lambda: host.metric("pipeline_config_reloads_total") == reloads, f"reload {reloads}")
    wait_until(lambda: any("reloaded" in m["message"] for m in host.messages()[seen:]), "the result of the reload")
    return [m["message"] for m in host.messages()[seen:]]


def test_each_reload_reports_its_result(tmp_path: Path) -> None:
    """What was kept, replaced, added, removed and ignored; never suppressed as a repetition."""
    def write(**parts: object) -> Path:
        return configuration(
            tmp_path, **{
                "http": {"listen": "127.0.0.1:0"},
                "sources": {"devices": {"plugin": "simulator_source", "rate": 50}},
                "transforms": {"parsed": {"plugin": "json_telemetry", "from": "devices"}},
                "sinks": {"out": {"plugin": "file_sink", "from": "parsed", "path": "out.ndjson"}},
                **parts,
            },
        )  # fmt: skip

    config = write()
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        for reloads in (1, 2, 3):
            messages = reload_log(host, reloads)
            assert messages.count("configuration reloaded") == 1
            assert messages.count("reload: nothing changed") == 1
        two = {"out": {"plugin": "file_sink", "from": "parsed", "path": "other.ndjson"},
               "more": {"plugin": "file_sink", "from": "devices", "path": "more.ndjson"}}  # fmt: skip
        write(sinks=two, log={"level": "debug"})
        messages = reload_log(host, 4)
        assert "reload: sink out: replace (options: path)" in messages
        assert "reload: sink more: add" in messages
        assert "reload: keep: devices, parsed, dead_letters" in messages
        assert any(m.startswith("reload: log.level changed from info to debug: ignored; restart") for m in messages)
        write(http={"listen": "127.0.0.1:1"})
        messages = reload_log(host, 5)
        assert "reload: sink more: remove" in messages
        assert "configuration reloaded" in messages
        config.write_text("name: [")
        for reloads in (6, 7):
            messages = reload_log(host, reloads)
            assert "configuration not reloaded: the old configuration stays in effect" in messages
            assert any(m.startswith(str(config)) for m in messages)
        assert host.stop() == 0


def test_a_changed_address_is_reported_as_ignored(tmp_path: Path) -> None:
    parts = {
        "sources": {"devices": {"plugin": "simulator_source", "rate": 50}},
        "sinks": {"out": {"plugin": "file_sink", "from": "devices", "path": "out.ndjson"}},
    }
    config = configuration(tmp_path, http={"listen": "127.0.0.1:0"}, **parts)
    host = PipelineHost(config, tmp_path)
    host._command.remove("--set=http.listen=127.0.0.1:0")  # the file decides
    with host:
        host.wait_ready()
        configuration(tmp_path, http={"listen": "127.0.0.1:9"}, **parts)
        messages = reload_log(host, 1)
        ignored = "reload: http.listen changed from 127.0.0.1:0 to 127.0.0.1:9: ignored; restart the host to apply it"
        assert ignored in messages
        assert host.get("/health/live")[0] == 200
        assert ignored in reload_log(host, 2)
        assert host.stop() == 0


def start_time(pid: int) -> float:
    """Return when a process started, in seconds since 1970."""
    since_boot = processes.start_time(pid) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot


def test_metrics_of_the_process(tmp_path: Path) -> None:
    config = configuration(
        tmp_path, sources={"devices": {"plugin": "simulator_source", "rate": 50}},
        sinks={"out": {"plugin": "file_sink", "from": "devices", "path": "out.ndjson"}},
    )  # fmt: skip
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        pid = host.process.pid
        assert host.metric("process_open_fds") >= 3
        assert host.metric("process_max_fds") > host.metric("process_open_fds")
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        assert 0.5 < host.metric("process_resident_memory_bytes") / resident < 2
        assert host.metric("process_virtual_memory_bytes") > resident
        assert abs(host.metric("process_start_time_seconds") - start_time(pid)) < 5
        threads = lambda: len(list(Path(f"/proc/{pid}/task").iterdir()))  # noqa: E731
        wait_until(lambda: host.metric("process_threads") == threads(), "the number of threads")
        assert host.metric("process_cpu_seconds_total") > 0
        assert host.stop() == 0
