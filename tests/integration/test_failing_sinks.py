# SPDX-License-Identifier: Apache-2.0
"""A best-effort sink that does not work stops nothing: storage and alerts continue, and its rows are delivered later."""

from __future__ import annotations

import collections
import contextlib
import http.server
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Mosquitto, Timescale, free_port, wait_until

RECORDS, RATE = 8_000, 2_000
START = "2026-11-24T18:00:00Z"
SHORT = {"timeout": "500ms"}  # for a webhook that hangs. One that works may be slow, and must not receive rows twice.
RETRY = ("dead-letters", "retry", "--yes", "--sink", "hook", "--set", "sinks.hook.timeout=30s")
RULES = [{"name": "hot", "metric": "temperature", "above": 60, "clear_below": 50, "severity": "critical"}]


class Receiver:
    """A webhook that accepts everything, and keeps the rows that it receives."""

    def __init__(self, port: int) -> None:
        self.rows: list[dict[str, Any]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.rows += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def webhook(behaviour: str, port: int) -> Iterator[list[dict[str, Any]]]:
    """Run a webhook that `works`, that `hangs` (it accepts connections and never responds), or that `refuses`."""
    if behaviour == "works":
        with contextlib.closing(Receiver(port)) as receiver:
            yield receiver.rows
    elif behaviour == "hangs":
        with socket.create_server(("127.0.0.1", port), backlog=128):
            yield []
    else:
        yield []


def pipeline(
    folder: Path, broker: Mosquitto, port: int, *, devices: Mapping[str, object] = {},
    store: Mapping[str, object] = {"plugin": "sqlite_sink", "path": "store.db"}, **hook: object,
) -> Path:  # fmt: skip
    """Store simulated readings in a table, publish alerts over MQTT, and send all readings to a webhook."""
    return configuration(
        folder,
        sources={
            "devices": {"plugin": "simulator_source", "rate": RATE, "count": RECORDS, "start": START,
                        "faults": {"anomalies": 20}, **devices}
        },
        transforms={
            "parsed": {"plugin": "json_telemetry", "from": "devices"},
            "alerts": {"plugin": "threshold_alert", "from": "parsed", "max_age": "36500d", "rules": RULES},
        },
        sinks={
            "store": {"from": "parsed", "table": "readings", **store},
            "notify": {"plugin": "mqtt_sink", "from": "alerts", "url": broker.url(), "topic": f"{folder.name}/alerts",
                       "batch": {"rows": 10, "delay": "10ms"}},
            "audit": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"},
            "hook": {"plugin": "http_sink", "from": "parsed", "url": f"http://127.0.0.1:{port}/hook",
                     "batch": {"rows": 200, "delay": "20ms"}, "queue": {"max_bytes": "256KiB"},
                     "retry": {"initial": "100ms", "max": "1s", "give_up_after": "1s"}, **hook},
        },
    )  # fmt: skip


def stored(folder: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "store.db")) as db:
        return sorted(db.execute("SELECT user_id, device_id, time, temperature FROM readings"))


def delivered(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((row["user_id"], row["device_id"], row["time"], row["temperature"]) for row in rows)


def health(host: PipelineHost) -> tuple[int, dict[str, str]]:
    status, body = host.get("/health/ready")
    return status, {one["node"]: one["reason"] for one in json.loads(body).get("degraded", [])}


def run_to_end(host: PipelineHost) -> float:
    """Return for how many seconds the host ran after it had started to read."""
    host.wait_for_log("metrics and health")
    began = time.monotonic()
    assert host.wait() == 0
    return time.monotonic() - began


def test_a_webhook_that_does_not_work_affects_neither_storage_nor_alerts(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A webhook that works, one that hangs, and one that refuses connections: the rest takes as long, and is complete."""
    took = {}
    for behaviour in ("works", "hangs", "refuses"):
        folder, port = tmp_path / behaviour, free_port()
        config = pipeline(folder, mosquitto, port, on_failure="dead_letters", **(SHORT if behaviour == "hangs" else {}))
        with mosquitto.subscribe(f"{behaviour}/alerts") as alerts, webhook(behaviour, port) as rows:
            with PipelineHost(config, folder) as host:
                took[behaviour] = run_to_end(host)
                log = host.log()
            readings = stored(folder)
            assert len(readings) == RECORDS, log
            published = ndjson(folder / "alerts.ndjson")
            assert len(published) > 10
            received = alerts.wait_for(len(published))
            assert sorted(json.loads(m.payload)["id"] for m in received) == sorted(row["id"] for row in published)

            letters = dead_letters(folder)
            assert delivered(rows) == (readings if behaviour == "works" else [])
            assert len(letters) == (0 if behaviour == "works" else RECORDS)
            assert {one["node"] for one in letters} <= {"hook"}
            if behaviour == "works":
                continue
            assert "retry.give_up_after); its rows go to the dead letters until it works again" in log
            assert f"{RECORDS:,} rejected (hook {RECORDS:,})" in log

        # Delivered later, exactly once, to this sink and to no other.
        with webhook("works", port) as rows, mosquitto.subscribe(f"{behaviour}/alerts") as alerts:
            done = run(*RETRY, str(config), cwd=folder)
            assert done.returncode == 0, done.stderr
            assert f"hook: {RECORDS:,} rows delivered, 0 rejected again" in done.stdout
            assert delivered(rows) == readings
            again = run(*RETRY, str(config), cwd=folder)
            assert again.stdout == "test: 0 records to retry\n"
            assert delivered(rows) == readings
            assert alerts.messages == []
        assert stored(folder) == readings
        assert ndjson(folder / "alerts.ndjson") == published
        assert dead_letters(folder) == []
    # Once per outage, the others may wait until the webhook is given up. Everything else is noise of the machine.
    print(f"seconds: {took}")
    assert max(took["hangs"], took["refuses"]) < 2 * took["works"] + 30, took


def test_an_hour_without_a_response(tmp_path: Path, mosquitto: Mosquitto, timescale: Timescale, database: str) -> None:
    """An hour of 10 records a second, in 15 seconds: all times of the sink are as much shorter as the records are faster.
    So there are as many records, attempts and time-outs as in an hour with the times in the comments."""
    records, speed = 36_000, 240
    timescale.execute(
        "CREATE TABLE readings (seq bigserial, time timestamptz, user_id text, device_id text, temperature float8)",
        database=database,
    )
    port = free_port()
    config = pipeline(
        tmp_path, mosquitto, port,
        devices={"rate": 10 * speed, "step": "100ms", "count": records},
        store={"plugin": "timescale_sink", "url": timescale.url(database), "delivery": "exactly_once", "unmapped": "ignore"},
        on_failure="dead_letters", timeout=f"{30_000 // speed}ms",
        retry={"initial": "4ms", "max": f"{30_000 // speed}ms", "give_up_after": f"{60_000 // speed}ms"},  # 1s, 30s, 60s
    )  # fmt: skip

    def numbers(times: list[str]) -> list[int]:
        """Return the numbers of records, from their times."""
        start = datetime.fromisoformat(START)
        return sorted(round((datetime.fromisoformat(each) - start).total_seconds() * 10) for each in times)

    def stored() -> list[tuple[Any, ...]]:
        """Return all rows in the order in which they were written."""
        return timescale.query("SELECT time, user_id, device_id, temperature FROM readings ORDER BY seq", database=database)

    with webhook("hangs", port), mosquitto.subscribe(f"{tmp_path.name}/alerts") as alerts:
        with PipelineHost(config, tmp_path) as host:
            wait_until(lambda: host.metric("pipeline_circuit_open", node="hook") == 1, "the webhook is given up")
            # The attempts continue, each with a time-out.
            for part in range(1, 4):
                wait_until(lambda p=part: host.metric("pipeline_records_out_total", node="store") > records * p / 4, "rows")  # type: ignore[misc]
                assert health(host)[0] == 200
                assert health(host)[1].keys() == {"hook"}
            assert host.wait() == 0
            log = host.log()
        published = sorted(row["id"] for row in ndjson(tmp_path / "alerts.ndjson"))
        assert sorted(json.loads(m.payload)["id"] for m in alerts.wait_for(len(published))) == published
    assert len(published) > 50
    assert log.count("(gave up after ") == 1, "given up once"
    assert "of its rows went to the dead letters so far; next attempt in " in log
    assert f"{records:,} rejected (hook {records:,})" in log
    rows = stored()
    assert numbers([str(row[0]) for row in rows]) == list(range(records))
    letters = [one for file in (tmp_path / "dead-letters").glob("*.ndjson*") for one in ndjson(file)]
    assert {one["node"] for one in letters} == {"hook"}
    assert numbers([one["record"]["time"] for one in letters]) == list(range(records))

    # Delivered later, exactly once, with the values that are in the table, and to no other sink.
    with webhook("works", port) as received, mosquitto.subscribe(f"{tmp_path.name}/alerts") as alerts:
        done = run(*RETRY, str(config), cwd=tmp_path)
        assert f"hook: {records:,} rows delivered, 0 rejected again" in done.stdout, done.stderr
        assert done.returncode == 0
        assert numbers([row["time"] for row in received]) == list(range(records))
        values = collections.Counter((row["user_id"], row["device_id"], row["temperature"]) for row in received)
        assert values == collections.Counter(row[1:] for row in rows)
        assert alerts.messages == []
    assert stored() == rows
    assert dead_letters(tmp_path) == []


def test_a_retry_of_a_sink_that_still_does_not_work_keeps_its_dead_letters(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """A retry gives up, too. Delivered rows leave the dead letters, and the others stay, once."""
    port = free_port()
    config = pipeline(tmp_path, mosquitto, port, on_failure="dead_letters")
    small = ["--set", "sources.devices.count=600", "--set", "sources.devices.rate=0", "--set", "http.listen=off"]
    done = run("run", str(config), *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = dead_letters(tmp_path)
    assert len(before) == 600
    done = run(*RETRY, str(config), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "hook: 0 rows delivered, 600 rejected again" in done.stdout

    def rows(letters: list[dict[str, Any]]) -> list[str]:
        return sorted(json.dumps(one["record"], sort_keys=True) for one in letters)

    assert rows(dead_letters(tmp_path)) == rows(before)
    with webhook("works", port) as received:
        done = run(*RETRY, str(config), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert delivered(received) == stored(tmp_path)


def test_a_webhook_that_comes_back_receives_its_rows_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    port = free_port()
    config = pipeline(tmp_path, mosquitto, port, on_failure="dead_letters")
    with PipelineHost(config, tmp_path, sets=["sources.devices.rate=500", "sources.devices.count=0"]) as host:
        wait_until(lambda: host.metric("pipeline_given_up_total", node="hook") > 100, "rows that were given up")
        assert host.metric("pipeline_circuit_open", node="hook") == 1
        wait_until(lambda: health(host)[0] == 200, "ready")
        assert health(host)[1]["hook"].startswith("gave up, rows go to the dead letters: ")
        with webhook("works", port) as rows:
            wait_until(lambda: len(rows) > 500, "rows at the webhook")
            wait_until(lambda: health(host) == (200, {}), "the end of the outage")
            assert host.metric("pipeline_circuit_open", node="hook") == 0
            host.wait_for_log("rows went to the dead letters meanwhile")
            assert host.stop() == 0
            letters = [one["record"] for one in dead_letters(tmp_path)]
            assert collections.Counter(delivered(rows) + delivered(letters)) == collections.Counter(stored(tmp_path))


def test_a_webhook_that_hangs_with_when_full_loses_only_its_own_rows(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Without on_failure, when_full alone keeps a sink from stopping the others. Each dropped row is counted."""
    port = free_port()
    config = pipeline(tmp_path, mosquitto, port, when_full="drop_oldest", retry={"initial": "100ms", "max": "500ms"},
                      queue={"max_bytes": "128KiB"}, **SHORT)
    with webhook("hangs", port), PipelineHost(config, tmp_path) as host:
        wait_until(lambda: host.metric("pipeline_records_out_total", node="store") == RECORDS, "all rows in the store")
        wait_until(lambda: host.metric("pipeline_dropped_total", node="hook") > RECORDS / 2, "dropped rows")
        assert "dropped" in health(host)[1]["hook"]
        wait_until(lambda: health(host)[0] == 503, "not ready: the sink itself is not best-effort")
        host.kill()
    assert "the queue is full (128 KiB): its oldest rows are dropped (when_full: drop_oldest)" in host.log()
    assert dead_letters(tmp_path) == []
