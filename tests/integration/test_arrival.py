# SPDX-License-Identifier: Apache-2.0
"""Silence by the arrival clock with real servers: blocked sinks, cut connections, a frozen broker, restarts."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_host import PipelineHost, configuration, ndjson

from services import Kafka, Mosquitto, Record, TcpProxy, Worker, free_port, wait_until

MISSING_FOR = 8.0  # longer than the fleet or the host may be delayed on a busy machine
LONGER = MISSING_FOR + 3  # than a device may be silent
DEVICES = [f"d{i}" for i in range(10)]


def reading(device: str) -> bytes:
    return json.dumps({"user_id": "u", "device_id": device, "time": time.time(), "temperature": 20}).encode()


class Store:
    """A server that the sink writes to, and that can refuse everything."""

    def __init__(self) -> None:
        self.blocked = False
        self.port = free_port()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(503 if store.blocked else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def block(self) -> Iterator[None]:
        self.blocked = True
        yield
        self.blocked = False


class Fleet:
    """Sends a reading of each device every 0.4 s, until the device is silenced."""

    def __init__(self, send: Callable[[Iterable[str]], object]) -> None:
        self._send = send
        self._devices = list(DEVICES)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._worker = Worker(self._run)

    def __enter__(self) -> Fleet:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.finish()

    def silence(self, *devices: str) -> None:
        with self._lock:
            self._devices = [d for d in self._devices if d not in devices]

    def _run(self) -> None:
        while not self._stop.wait(0.4):
            with self._lock:
                self._send(self._devices)


def host_of(directory: Path, sources: dict[str, dict[str, object]], store: Store) -> PipelineHost:
    """Return a host that watches the devices of each source for silence; all rows go to the store."""
    rules = [{"name": "silent", "missing_for": f"{MISSING_FOR:g}s"}]
    transforms: dict[str, object] = {}
    sinks: dict[str, object] = {}
    for name in sources:
        transforms[f"{name}_parsed"] = {"plugin": "json_telemetry", "from": name, "metrics": ["temperature"]}
        transforms[f"{name}_alerts"] = {"plugin": "threshold_alert", "from": f"{name}_parsed", "rules": rules}
        path = f"{name}.ndjson"
        sinks[f"{name}_file"] = {"plugin": "file_sink", "from": f"{name}_alerts", "path": path, "batch": {"delay": "10ms"}}
        sinks[f"{name}_store"] = {
            "plugin": "http_sink", "from": f"{name}_parsed", "url": f"http://127.0.0.1:{store.port}/",
            "queue": {"max_bytes": "4KiB"}, "batch": {"delay": "10ms"}, "retry": {"initial": "100ms", "max": "200ms"},
        }  # fmt: skip
    return PipelineHost(configuration(directory, sources=sources, transforms=transforms, sinks=sinks), directory)


def alerts(directory: Path, source: str) -> list[tuple[str, str]]:
    return [(row["state"], row["device_id"]) for row in ndjson(directory / f"{source}.ndjson")]


def wait_live(host: PipelineHost, source: str) -> None:
    """Wait until the source's arrival clock follows the wall clock."""
    lag = "pipeline_arrival_clock_lag_seconds"
    wait_until(lambda: lag in host.get("/metrics")[1] and host.metric(lag, node=source) < 2, f"a live stream of {source}")


def check(directory: Path, sources: Iterable[str], *expected: tuple[str, str]) -> None:
    for source in sources:
        wait_until(lambda source=source: len(alerts(directory, source)) >= len(expected), f"alerts of {source}")
        assert sorted(alerts(directory, source)) == sorted(expected), source


def silence_all_while_down(host: PipelineHost, fleets: Iterable[Fleet]) -> None:
    """Stop the host, then the devices except d0, which is silent already; start the host once they are silent, too."""
    assert host.stop() == 0
    for fleet in fleets:
        fleet.silence(*DEVICES)
    time.sleep(LONGER)
    host.start()


def test_kafka(tmp_path: Path) -> None:
    port = free_port()
    with TcpProxy(port) as proxy, Kafka(proxied=(port, proxy.port)) as kafka:
        store = Store()
        kinds = {"log": "LogAppendTime", "create": "CreateTime", "wrong": "CreateTime"}  # wrong: an hour behind
        for name, kind in kinds.items():
            kafka.create_topic(name, config={"message.timestamp.type": kind})
        sources: dict[str, dict[str, object]] = {
            name: {"plugin": "kafka_source", "brokers": f"127.0.0.1:{proxy.port}", "topic": name, "group": name}
            for name in kinds
        }

        def send(devices: Iterable[str]) -> None:
            for name in kinds:
                at = int((time.time() - 3600) * 1000) if name == "wrong" else None
                kafka.produce(name, [Record(reading(d), key=d.encode(), timestamp_ms=at) for d in devices])

        with host_of(tmp_path, sources, store) as host, Fleet(send) as fleet:
            host.wait_ready()
            for name in kinds:
                wait_live(host, name)

            with store.block():
                time.sleep(LONGER)
                assert host.metric("pipeline_arrival_clock_lag_seconds", node="log") > MISSING_FOR
            for name in kinds:
                wait_live(host, name)

            proxy.refuse()
            time.sleep(LONGER)
            wait_until(lambda: "can be reached" in host.get("/health/ready")[1], "the report that no broker can be reached")
            assert host.get("/health/ready")[0] == 503
            proxy.refuse(False)
            host.wait_ready()
            for name in kinds:
                wait_live(host, name)

            kafka.pause()
            time.sleep(LONGER)
            kafka.resume()
            for name in kinds:
                wait_live(host, name)
            time.sleep(1)
            check(tmp_path, kinds)

            fleet.silence("d0")
            check(tmp_path, kinds, ("firing", "d0"))
            silence_all_while_down(host, [fleet])
            check(tmp_path, kinds, *(("firing", d) for d in DEVICES))
            assert host.stop() == 0
        store.close()


def test_push_sources(tmp_path: Path, mosquitto: Mosquitto) -> None:
    store = Store()
    port = free_port()
    with TcpProxy(mosquitto.port) as proxy:
        sources: dict[str, dict[str, object]] = {
            "mqtt": {"plugin": "mqtt_source", "url": f"mqtt://127.0.0.1:{proxy.port}", "topic": "arrival/#"},
            "http": {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/t"},
        }

        def publish(devices: Iterable[str]) -> None:
            mosquitto.publish_all([(f"arrival/{d}", reading(d)) for d in devices])

        def post(devices: Iterable[str]) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                body = b"\n".join(reading(d) for d in devices)
                connection.request("POST", "/t", body, {"Content-Type": "application/x-ndjson"})
                connection.getresponse().read()
            except OSError:
                pass  # the host is down
            finally:
                connection.close()

        with host_of(tmp_path, sources, store) as host, Fleet(publish) as mqtt, Fleet(post) as web:
            host.wait_ready()
            for name in sources:
                wait_live(host, name)

            with store.block():
                time.sleep(LONGER)
                assert host.metric("pipeline_arrival_clock_lag_seconds", node="http") > MISSING_FOR
            for name in sources:
                wait_live(host, name)

            proxy.refuse()
            host.wait_ready(False)
            time.sleep(LONGER)
            proxy.refuse(False)
            host.wait_ready()
            for name in sources:
                wait_live(host, name)
            time.sleep(1)
            check(tmp_path, sources)

            mqtt.silence("d0"), web.silence("d0")
            check(tmp_path, sources, ("firing", "d0"))
            silence_all_while_down(host, [mqtt, web])
            check(tmp_path, sources, *(("firing", d) for d in DEVICES))
            assert host.stop() == 0
    store.close()
