# SPDX-License-Identifier: Apache-2.0
"""http_source and http_sink in complete hosts: kills, rejections, broken connections, TLS, and both in sequence."""

from __future__ import annotations

import collections
import contextlib
import functools
import gzip
import http.client
import http.server
import json
import os
import random
import re
import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, dead_letters, ndjson, run

from services import Timescale, Worker, free_port, wait_until

PATH = "/users/{user_id}/devices/{device_id}/telemetry"
TOKEN = "open-sesame"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    seed = os.environ.get("FAULT_SEED", str(time.time_ns()))
    print(f"FAULT_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


def source(port: int, **more: object) -> dict[str, object]:
    return {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": PATH, **more}


def to_file(**more: object) -> dict[str, object]:
    return {"plugin": "file_sink", "from": "posted", "path": "out.ndjson", "fsync": "never", **more}


def host_with(folder: Path, port: int, *, sink: dict[str, object] | None = None, sets: list[str] | None = None,
              **options: object) -> PipelineHost:
    config = configuration(folder, sources={"posted": source(port, **options)}, sinks={"out": sink or to_file()})
    return PipelineHost(config, folder, sets=sets or [])


def wait_listening(host: PipelineHost) -> None:
    host.wait_for_log("listening on http")


class Client:
    """A client with one connection, which it opens on demand."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._make: Callable[[], http.client.HTTPConnection] = (
            (lambda: http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=tls))
            if tls
            else (lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=60))
        )
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes, path: str = "/users/u/devices/d/telemetry", method: str = "POST",
             **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Send a request and return status, body and headers. Raise OSError or HTTPException if the connection breaks."""
        self._connection = self._connection or self._make()
        try:
            named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
            self._connection.request(method, path, body, named)
            response = self._connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else {}, dict(response.getheaders())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


class Devices:
    """Posts numbered readings, each until the response is 200, and records the acknowledged ones and the retries."""

    def __init__(self, port: int, *, batch: int = 20, key: bool = False, threads: int = 3, tls: ssl.SSLContext | None = None,
                 pace: float = 0) -> None:
        self._port, self._batch, self._key, self._tls, self._pace = port, batch, key, tls, pace
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._workers = [Worker(functools.partial(self._run, k)) for k in range(threads)]
        self._lock = threading.Lock()
        self.acknowledged: set[int] = set()
        self.again = 0
        self.statuses: dict[int, int] = collections.Counter()
        self.refusals = [0] * threads  # by thread

    def __enter__(self) -> Devices:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:  # the test has failed, perhaps because no request is accepted any more
            self._abandon.set()
        self.stop()

    def stop(self) -> set[int]:
        """Stop when the last request of each thread is acknowledged, and return the acknowledged readings."""
        self._stop.set()
        for worker in self._workers:
            worker.finish()
        return self.acknowledged

    def _run(self, k: int) -> None:
        client = Client(self._port, self._tls)
        first = k * 10_000_000
        while not self._stop.is_set():
            numbers = range(first, first + self._batch)
            body = "\n".join(json.dumps(reading(n)) for n in numbers).encode()
            headers = {"Content_Type": "application/x-ndjson"} | ({"Idempotency_Key": f"{k}/{first}"} if self._key else {})
            while not self._abandon.is_set():
                try:
                    status = client.send(body, f"/users/u/devices/d{k}/telemetry", **headers)[0]
                except (OSError, http.client.HTTPException):
                    status = 0
                with self._lock:
                    self.statuses[status] += 1
                    if status == 200:
                        self.acknowledged.update(numbers)
                        break
                    self.again += 1
                    self.refusals[k] += 1
                time.sleep(0.02)
            first += self._batch
            if self._pace:
                time.sleep(self._pace)
        client.close()


def reading(n: int) -> dict[str, object]:
    return {"time": 1_763_000_000_000 + n % 10_000_000, "temperature": n % 40, "n": n}


def numbers_in(file: Path) -> dict[int, int]:
    return collections.Counter(json.loads(row["value"])["n"] for row in ndjson(file))


# ------------------------------------------------------------------------------------------------------- http_source


def test_records_arrive_unchanged(tmp_path: Path) -> None:
    port = free_port()
    with host_with(tmp_path, port, headers={"tenant": "X-Tenant"}) as host:
        wait_listening(host)
        client = Client(port)
        sent = [
            (b'{"a": 1.50}', "application/json", [b'{"a": 1.50}']),
            (b' [ {"b":2} ,[3], "\\u00e4" ] ', "application/json", [b'{"b":2}', b"[3]", b'"\\u00e4"']),
            (b'{"c":4}\r\n\n{"c":5}', "application/x-ndjson", [b'{"c":4}', b'{"c":5}']),
            (b"any text", "text/plain", [b"any text"]),
        ]
        for body, kind, records in sent:
            status, response, _ = client.send(body, Content_Type=kind, X_Tenant="acme")
            assert (status, response) == (200, {"taken": len(records)})
        assert client.send(gzip.compress(b"[6,7]"), Content_Encoding="gzip")[1] == {"taken": 2}
        assert client.send(b"8", "/users/M%C3%BCller/devices/a%2Fb/telemetry", "PUT")[0] == 200
        wanted = [record.decode() for _, _, records in sent for record in records] + ["6", "7", "8"]
        wait_until(lambda: len(ndjson(tmp_path / "out.ndjson")) == len(wanted), "all records in the file")
        rows = ndjson(tmp_path / "out.ndjson")
        assert [row["value"] for row in rows] == wanted
        assert all(re.fullmatch("[0-9a-f]{32}", row["id"]) and row["remote"] == "127.0.0.1" for row in rows)
        assert rows[0]["tenant"] == "acme" and "tenant" not in rows[-1]
        assert (rows[-1]["user_id"], rows[-1]["device_id"]) == ("Müller", "a/b")
        assert rows[-1]["topic"] == "/users/M%C3%BCller/devices/a%2Fb/telemetry"
        wait_until(lambda: host.metric("pipeline_http_source_records_total") == len(wanted), "the counted records")
        wait_until(lambda: host.metric("pipeline_http_source_requests_total", status="200") == 6, "the counted requests")
        assert host.stop() == 0


def test_rejected_requests_get_a_status_and_are_not_stored(tmp_path: Path) -> None:
    port = free_port()
    with host_with(tmp_path, port, token=TOKEN, max_body="10KB") as host:
        wait_listening(host)
        client = Client(port)
        right = {"Authorization": f"Bearer {TOKEN}"}
        status, response, headers = client.send(b"1")
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert client.send(b"1", Authorization="Bearer wrong")[0] == 401
        assert client.send(b"1", "/elsewhere", **right)[0] == 404
        status, _, headers = client.send(b"", method="GET", **right)
        assert (status, headers["Allow"]) == (405, "POST, PUT, OPTIONS")
        assert client.send(b"a=b", Content_Type="application/x-www-form-urlencoded", **right)[0] == 415
        assert client.send(b"1", Content_Encoding="br", **right)[0] == 415
        assert client.send(b"1" * 20_000, **right)[0] == 413
        assert client.send(gzip.compress(b'"' + b"x" * 50_000_000 + b'"'), Content_Encoding="gzip", **right)[0] == 413
        assert client.send(b"no gzip", Content_Encoding="gzip", **right)[0] == 400
        status, response, _ = client.send(b'[{"a":1},\n{"a":}]', **right)
        assert (status, response["taken"], response["line"], response["column"]) == (400, 0, 2, 6)
        for broken in (b"", b"{", b"{} {}", b"\xff", b"[1,", b'{"a":1,}', b"nul"):
            assert client.send(broken, **right)[0] == 400, broken
        assert client.send(b"1", **right)[0] == 200
        wait_until(lambda: ndjson(tmp_path / "out.ndjson"), "the one good record")
        assert [row["value"] for row in ndjson(tmp_path / "out.ndjson")] == ["1"]
        assert TOKEN not in host.log()
        assert host.stop() == 0


def test_bytes_that_are_not_http_do_not_affect_other_clients(tmp_path: Path, rng: random.Random) -> None:
    port = free_port()
    with host_with(tmp_path, port, timeout="2s") as host:
        wait_listening(host)
        good = b'POST /users/u/devices/d/telemetry HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n{"n":1}'
        for _ in range(200):
            bytes_ = bytearray(good)
            for _ in range(rng.randint(1, 5)):
                bytes_[rng.randrange(len(bytes_))] = rng.randrange(256)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
                raw.sendall(bytes_[: rng.randint(1, len(bytes_))])
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass
        assert Client(port).send(b'{"n":2}')[0] == 200
        assert host.stop() == 0


def test_slow_clients_do_not_delay_others(tmp_path: Path) -> None:
    port = free_port()
    with host_with(tmp_path, port, timeout="8s", max_connections=50) as host:
        wait_listening(host)
        slow = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(40)]
        for raw in slow:
            raw.sendall(b"POST /users/u/devices/d/telemetry HTTP/1.1\r\nHost: h\r\n")
        client = Client(port)
        for n in range(100):
            assert client.send(json.dumps(reading(n)).encode())[0] == 200
            assert n > 0 or not select.select(slow, [], [], 0)[0], "others are served before the slow clients time out"
        assert all(raw.recv(100).startswith(b"HTTP/1.1 408") for raw in slow)
        timed_out = lambda: host.metric("pipeline_http_source_requests_total", status="408")  # noqa: E731
        wait_until(lambda: timed_out() == len(slow), "the counted time-outs")
        for raw in slow:
            raw.close()
        assert host.stop() == 0


@pytest.mark.parametrize("key", [False, True], ids=["by-content", "by-key"])
def test_a_killed_host_loses_no_acknowledged_record(
    tmp_path: Path, timescale: Timescale, database: str, rng: random.Random, key: bool
) -> None:
    port = free_port()
    store = {
        "plugin": "timescale_sink", "from": "posted", "url": timescale.url(database), "table": "posted",
        "delivery": "exactly_once", "columns": {"time": "time", "id": "id", "value": "value", "device_id": "device_id"},
        "create": {"columns": {"id": "text", "value": "bytea"}}, "batch": {"delay": "20ms"},
    }  # fmt: skip

    def stored() -> int:
        if not timescale.query("SELECT 1 FROM pg_tables WHERE tablename = 'posted'", database=database):
            return 0
        return int(str(timescale.query("SELECT count(*) FROM posted", database=database)[0][0]))

    with host_with(tmp_path, port, sink=store) as host:
        wait_listening(host)
        with Devices(port, key=key, pace=0.01) as devices:
            for _ in range(6):
                seen = stored()
                wait_until(lambda seen=seen: stored() > seen, "progress")  # type: ignore[misc]
                time.sleep(rng.uniform(0, 0.3))
                host.kill()
                host.start()
            acknowledged = devices.stop()

        def all_there() -> bool:
            rows = timescale.query("SELECT encode(value, 'escape') FROM posted", database=database)
            return acknowledged <= {json.loads(str(row[0]))["n"] for row in rows}

        wait_until(all_there, "every acknowledged record in the table")
        assert host.stop() == 0
    rows = [(json.loads(str(v))["n"], i) for v, i in
            timescale.query("SELECT encode(value, 'escape'), id FROM posted", database=database)]  # fmt: skip
    assert len({n for n, _ in rows}) == len(set(rows)) == len({i for _, i in rows}), "each record has one id"
    twice = len(rows) - len(set(rows))
    assert twice <= devices.again * 20, "only records that were sent twice are stored twice"
    print(f"{len(acknowledged):,} acknowledged, {len(rows):,} stored, {twice:,} duplicates: lost 0")


def test_each_record_of_the_spool_is_stored_once_if_the_host_is_killed(
    tmp_path: Path, timescale: Timescale, database: str, rng: random.Random
) -> None:
    """The client never sends a record again, so no record may be stored twice."""
    port = free_port()
    store = {
        "plugin": "timescale_sink", "from": "posted", "url": timescale.url(database), "table": "posted",
        "delivery": "exactly_once", "columns": {"time": "time", "id": "id", "value": "value"},
        "create": {"columns": {"id": "text", "value": "bytea"}}, "batch": {"rows": 100, "delay": "5ms"},
    }  # fmt: skip
    count = 20_000
    with host_with(tmp_path, port, sink=store, max_records=count) as host:
        wait_listening(host)
        for part in range(4):
            body = "\n".join(json.dumps(reading(n)) for n in range(part * count // 4, (part + 1) * count // 4))
            assert Client(port).send(body.encode(), Content_Type="application/x-ndjson")[0] == 200
            host.kill()
            host.start()
            time.sleep(rng.uniform(0, 0.5))
            host.kill()
            host.start()
            wait_listening(host)

        def stored() -> object:
            if not timescale.query("SELECT 1 FROM pg_tables WHERE tablename = 'posted'", database=database):
                return None  # every host so far was killed before it created the table
            return timescale.query("SELECT count(*), count(DISTINCT id) FROM posted", database=database)[0]

        wait_until(lambda: stored() == (count, count), "each record once")
        assert host.stop() == 0


def test_a_full_spool_is_reported_and_drained_when_the_sink_recovers(tmp_path: Path) -> None:
    port, there = free_port(), free_port()
    sink = {"plugin": "http_sink", "from": "posted", "url": f"http://127.0.0.1:{there}/", "payload": "{value}",
            "idempotency_key": False, "retry": {"max": "200ms"}}  # fmt: skip
    # The queue of the sink holds records, too; with a small queue the spool fills.
    with Receiver(port=there) as receiver, host_with(
        tmp_path, port, sink=sink, spool={"max_bytes": "1MiB"}, sets=["memory_limit=32MiB"]
    ) as host:
        wait_listening(host)
        receiver.respond_with(lambda request: (503, {}, b"not now"))
        client = Client(port)
        sent, status, headers = 0, 200, {}
        big = "x" * 10_000
        while status == 200:
            assert sent < 5000, "the spool never filled up"
            status, _, headers = client.send(json.dumps({"n": sent, "big": big}).encode())
            sent += status == 200
        assert (status, headers["Retry-After"]) == (429, "2")
        refused = lambda: host.metric("pipeline_http_source_requests_total", status="429")  # noqa: E731
        wait_until(lambda: refused() == 1, "the counted refusal")
        receiver.respond_with(None)

        def accepted() -> bool:
            return client.send(json.dumps({"n": sent, "big": ""}).encode())[0] == 200

        wait_until(accepted, "room in the spool")
        wait_until(lambda: sent in receiver.numbers(), "all records at the receiver")
        assert set(receiver.numbers()) == set(range(sent + 1))
        host.wait_for_log("there is room in the spool again")
        assert host.stop() == 0


def test_a_stop_completes_open_requests_and_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    with host_with(tmp_path, port) as host:
        wait_listening(host)
        with Devices(port) as devices:
            for _ in range(3):
                seen = len(devices.acknowledged)
                wait_until(lambda seen=seen: len(devices.acknowledged) > seen + 200, "progress")  # type: ignore[misc]
                assert host.stop() == 0
                host.start()
            acknowledged = devices.stop()
        wait_until(lambda: acknowledged <= numbers_in(tmp_path / "out.ndjson").keys(), "every acknowledged record")
        assert host.stop() == 0


def test_several_lanes_share_the_port(tmp_path: Path) -> None:
    port = free_port()
    with host_with(tmp_path, port, lanes=3) as host:
        wait_until(lambda: host.log().count("listening on http") == 3, "three lanes listening")
        with Devices(port, threads=8) as devices:
            wait_until(lambda: len(devices.acknowledged) > 5000, "records")
            acknowledged = devices.stop()
        wait_until(lambda: acknowledged <= numbers_in(tmp_path / "out.ndjson").keys(), "every acknowledged record")
        streams = {row["id"] for row in ndjson(tmp_path / "out.ndjson")}
        assert len(streams) == len(acknowledged)
        assert host.stop() == 0
    assert len(list((tmp_path / "state").rglob("*.spool"))) >= 3


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, host_with(tmp_path, taken.getsockname()[1]) as host:
        host.wait_for_log("another program listens there")


def test_two_sources_cannot_listen_on_one_address(tmp_path: Path) -> None:
    port = free_port()
    sources = {"one": source(port), "two": source(port, path="/other", lanes=2)}
    sinks = {f"{name}_out": {"plugin": "file_sink", "from": name, "path": f"{name}.ndjson"} for name in sources}
    found = run("validate", str(configuration(tmp_path, sources=sources, sinks=sinks)))
    assert found.returncode == 2
    assert f"the HTTP address 127.0.0.1:{port} is used twice: by test/one and by test/two" in found.stderr


# --------------------------------------------------------------------------------------------------------- http_sink


class Request:
    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.method, self.path = handler.command, handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        length = int(self.headers.get("content-length", 0))
        self.body = handler.rfile.read(length)
        if len(self.body) < length:
            raise ConnectionError("the sender was killed in the middle of the body")
        if self.headers.get("content-encoding") == "gzip":
            self.body = gzip.decompress(self.body)

    def rows(self) -> list[Any]:
        if self.headers.get("content-type") == "application/x-ndjson":
            return [json.loads(line) for line in self.body.splitlines()]
        rows = json.loads(self.body)
        return rows if isinstance(rows, list) else [rows]


Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """An HTTP server with configurable responses that keeps the requests to which it has responded with 2xx."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _respond(self) -> None:
                receiver._serve(self)

            do_POST = do_PUT = do_OPTIONS = _respond

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # cut connections are expected
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._lock = threading.Lock()
        self._how: Callable[[Request], Answer | None] | None = None
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.port = self._server.server_address[1]
        self._worker = Worker(lambda: self._server.serve_forever(poll_interval=0.05))

    def __enter__(self) -> Receiver:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._worker.finish()

    def respond_with(self, how: Callable[[Request], Answer | None] | None) -> None:
        """Set the responses; the connection is cut where the function returns None."""
        self._how = how

    def numbers(self) -> dict[int, int]:
        with self._lock:
            return collections.Counter(row["n"] for request in self.taken for row in request.rows())

    def _serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        request = Request(handler)
        with self._lock:
            self.requests.append(request)
            how = self._how
        response = how(request) if how else (204, {}, b"")
        if response is None:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, body = response
        if 200 <= status < 300 and request.method != "OPTIONS":
            with self._lock:
                self.taken.append(request)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(body)


def sender(folder: Path, url: str, rows: int, **options: object) -> PipelineHost:
    """Configure a host that sends the rows of a file, n = 0, 1, ..."""
    folder.mkdir(exist_ok=True)
    (folder / "in.ndjson").write_text("".join(f'{{"n":{n}}}\n' for n in range(rows)))
    config = configuration(
        folder,
        sources={"file": {"plugin": "file_source", "path": "in.ndjson", "follow": True}},
        sinks={
            "api": {
                "plugin": "http_sink", "from": "file", "url": url, "payload": "{value}",
                "batch": {"rows": 500, "delay": "20ms"}, "retry": {"initial": "50ms", "max": "500ms"}, **options,
            }
        },
    )  # fmt: skip
    return PipelineHost(config, folder)


@pytest.mark.parametrize("how", ["json_array", "ndjson", "json"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_each_row_arrives_once(tmp_path: Path, how: str, compression: str) -> None:
    rows = 300 if how == "json" else 5000
    with Receiver() as receiver, sender(
        tmp_path, f"http://127.0.0.1:{receiver.port}/in", rows, format=how, compression=compression, token=TOKEN
    ) as host:
        wait_until(lambda: len(receiver.numbers()) == rows, "all rows")
        assert all(n == 1 for n in receiver.numbers().values())
        assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in receiver.requests)
        keys = {request.headers["idempotency-key"] for request in receiver.requests}
        assert len(keys) == len(receiver.requests)
        wait_until(lambda: host.metric("pipeline_http_sink_rows_total") == rows, "the counted rows")
        assert host.metric("pipeline_http_sink_connects_total") == 1, "the connection is reused"
        assert host.stop() == 0


def test_retryable_responses_are_retried(tmp_path: Path, rng: random.Random) -> None:
    rows = 5000

    def next_response(request: Request) -> Answer | None:
        return rng.choice([
            None, (500, {}, b"oops"), (503, {"Retry-After": "1"}, b""), (429, {}, b"slow down"), (401, {}, b"unauthorized"),
            (301, {"Location": "http://127.0.0.1:1/"}, b""), (204, {}, b""), (204, {}, b""), (204, {}, b""),
        ])  # fmt: skip

    with Receiver() as receiver:
        receiver.respond_with(next_response)
        with sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", rows) as host:
            wait_until(lambda: len(receiver.numbers()) == rows, "all rows")
            assert all(n == 1 for n in receiver.numbers().values()), "acknowledged requests are not sent again"
            assert not dead_letters(tmp_path)
            assert host.stop() == 0
        # Retries are the same request with the same key.
        bodies: dict[str, set[bytes]] = collections.defaultdict(set)
        for request in receiver.requests:
            bodies[request.headers["idempotency-key"]].add(request.body)
        assert all(len(different) == 1 for different in bodies.values())
        assert len(bodies) < len(receiver.requests)


def test_rejected_rows_become_dead_letters_with_the_servers_response(tmp_path: Path) -> None:
    rows, bad = 2000, {7, 512, 513, 1999}

    def reject_some(request: Request) -> Answer:
        found = [row["n"] for row in request.rows() if row["n"] in bad]
        return (422, {}, f"value {found[0]} is not allowed".encode()) if found else (200, {}, b"{}")

    with Receiver() as receiver:
        receiver.respond_with(reject_some)
        with sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", rows) as host:
            wait_until(lambda: len(dead_letters(tmp_path)) == len(bad), "the dead letters")
            wait_until(lambda: len(receiver.numbers()) == rows - len(bad), "the good rows at the receiver")
            assert all(n == 1 for n in receiver.numbers().values())
            assert host.stop() == 0
        letters = dead_letters(tmp_path)
        assert {json.loads(letter["value"])["n"] for letter in letters} == bad
        for letter in letters:
            assert f"status 422: value {json.loads(letter['value'])['n']} is not allowed" in letter["reason"]


def test_a_rejected_row_does_not_wait_for_the_rest_of_its_write(tmp_path: Path) -> None:
    rows, bad = 50, {3, 30}

    def respond(request: Request) -> Answer:
        (n,) = (row["n"] for row in request.rows())
        if n in bad:
            return 422, {}, b"not allowed"
        held = n == rows - 1 and len(dead_letters(tmp_path)) < len(bad)
        return (503, {}, b"later") if held else (204, {}, b"")

    with Receiver() as receiver:
        receiver.respond_with(respond)
        with sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", rows, format="json") as host:
            wait_until(lambda: len(receiver.numbers()) == rows - len(bad), "the good rows")
            assert all(n == 1 for n in receiver.numbers().values())
            wait_until(lambda: host.metric("pipeline_rejected_total", node="api") == len(bad), "the counted rejects")
            assert host.stop() == 0
        assert {json.loads(letter["value"])["n"] for letter in dead_letters(tmp_path)} == bad


def test_requests_that_are_too_large_are_split(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.respond_with(lambda r: (413, {}, b"") if len(r.body) > 1000 else (204, {}, b""))
        with sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", 3000) as host:
            wait_until(lambda: len(receiver.numbers()) == 3000, "all rows")
            assert all(n == 1 for n in receiver.numbers().values())
            host.wait_for_log("too large (413)")
            assert host.stop() == 0
        assert not dead_letters(tmp_path)


def test_a_server_that_stops_and_starts_again(tmp_path: Path) -> None:
    port = free_port()
    with sender(tmp_path, f"http://127.0.0.1:{port}/in", 1000) as host:
        host.wait_for_log("Failed to connect")
        host.wait_ready(False)
        with Receiver(port=port) as receiver:
            wait_until(lambda: len(receiver.numbers()) == 1000, "all rows")
            host.wait_ready()
            assert host.stop() == 0


def test_a_killed_sender_sends_all_rows_and_row_ids_identify_duplicates(tmp_path: Path, rng: random.Random) -> None:
    rows = 20_000
    with Receiver() as receiver:
        def row_ids() -> dict[str, int]:
            return collections.Counter(row["row_id"] for request in list(receiver.taken) for row in request.rows())

        host = sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", rows, batch={"rows": 200, "delay": "5ms"})
        text = json.loads((tmp_path / "pipeline.yaml").read_text())
        del text["sinks"]["api"]["payload"]
        text["sinks"]["api"]["id_field"] = "row_id"
        (tmp_path / "pipeline.yaml").write_text(json.dumps(text))
        receiver.respond_with(lambda _: (time.sleep(0.01), (200, {}, b""))[1])
        with host:
            for _ in range(5):
                seen = len(receiver.taken)
                wait_until(lambda seen=seen: len(receiver.taken) > seen + 3, "progress")  # type: ignore[misc]
                time.sleep(rng.uniform(0, 0.05))
                host.kill()
                host.start()
            wait_until(lambda: len(row_ids()) >= rows, "every row")
            assert len(row_ids()) == rows, "a row has the same id in all requests"
            assert host.stop() == 0


def test_validate_asks_the_server(tmp_path: Path) -> None:
    with Receiver() as receiver:
        sender(tmp_path, f"http://127.0.0.1:{receiver.port}/in", 1, token=TOKEN)
        checked = run("validate", "--connect", "pipeline.yaml", cwd=tmp_path)
        assert checked.returncode == 0, checked.stderr
        receiver.respond_with(lambda _: (401, {}, f"not {TOKEN}".encode()))
        checked = run("validate", "--connect", "pipeline.yaml", cwd=tmp_path)
        assert checked.returncode != 0 and "`token`" in checked.stderr
        assert TOKEN not in checked.stderr
        assert {request.method for request in receiver.requests} == {"OPTIONS"}
    checked = run("validate", "--connect", "pipeline.yaml", cwd=tmp_path)
    assert checked.returncode != 0 and "127.0.0.1" in checked.stderr


# ------------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("killed", ["sender", "receiver", "both"])
def test_from_host_to_host_nothing_is_lost_if_either_is_killed(tmp_path: Path, rng: random.Random, killed: str) -> None:
    """Devices -> http_source -> http_sink -> http_source -> file: the ids in the file are derived from path and bytes."""
    first, second = free_port(), free_port()
    near, far = tmp_path / "near", tmp_path / "far"
    sink = {
        "plugin": "http_sink", "from": "posted", "url": f"http://127.0.0.1:{second}/users/{{user_id}}/devices/{{device_id}}/telemetry",
        "payload": "{value}", "format": "ndjson", "idempotency_key": False, "token": TOKEN, "compression": "gzip",
        "batch": {"rows": 200, "delay": "10ms"}, "retry": {"initial": "50ms", "max": "300ms"},
    }  # fmt: skip
    with host_with(far, second, token=TOKEN) as receiver, host_with(near, first, sink=sink) as host:
        wait_listening(receiver)
        wait_listening(host)
        out = far / "out.ndjson"
        with Devices(first) as devices:
            for _ in range(4):
                seen = out.stat().st_size if out.exists() else 0
                wait_until(lambda seen=seen: out.exists() and out.stat().st_size > seen, "progress")  # type: ignore[misc]
                time.sleep(rng.uniform(0, 0.2))
                for process in {"sender": [host], "receiver": [receiver], "both": [host, receiver]}[killed]:
                    process.kill()
                    process.start()
            acknowledged = devices.stop()
        wait_until(lambda: acknowledged <= numbers_in(out).keys(), "every acknowledged record in the file")
        assert host.stop() == receiver.stop() == 0
    ids = {(json.loads(row["value"])["n"], row["id"]) for row in ndjson(out)}
    assert len({n for n, _ in ids}) == len(ids), "duplicates have the same id"
    assert not dead_letters(near)


class Certificates:
    """A certificate authority, a server certificate and a client certificate, made with openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.ca = self._authority("ca")
        self.server = self._signed("server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.client = self._signed("client", "extendedKeyUsage=clientAuth")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def _authority(self, name: str) -> str:
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip
        return str(self.folder / f"{name}.pem")

    def _signed(self, name: str, extension: str) -> tuple[str, str]:
        (self.folder / f"{name}.ext").write_text(extension)
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                      "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    def context(self, with_certificate: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if with_certificate:
            context.load_cert_chain(*self.client)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificates]:
    yield Certificates(tmp_path_factory.mktemp("certificates") / "pem")


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    port = free_port()
    tls = {"cert": certificates.server[0], "key": certificates.server[1]}
    with host_with(tmp_path, port, tls=tls) as host:
        host.wait_for_log("listening on https://")
        with Devices(port, tls=certificates.context(with_certificate=False)) as devices:
            wait_until(lambda: len(devices.acknowledged) > 1000, "records over TLS")
            acknowledged = devices.stop()
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(port, ssl.create_default_context()).send(b"1")
        with pytest.raises((OSError, http.client.HTTPException)):
            Client(port).send(b"1")
        wait_until(lambda: acknowledged <= numbers_in(tmp_path / "out.ndjson").keys(), "every acknowledged record")
        assert host.stop() == 0


def test_clients_without_a_certificate_are_rejected(tmp_path: Path, certificates: Certificates) -> None:
    port = free_port()
    tls = {"cert": certificates.server[0], "key": certificates.server[1], "ca": certificates.ca}
    near, far = tmp_path / "near", tmp_path / "far"
    sink = {"tls": {"ca": certificates.ca, "cert": certificates.client[0], "key": certificates.client[1]},
            "format": "ndjson"}  # fmt: skip
    url = f"https://127.0.0.1:{port}/users/u/devices/d/telemetry"
    with host_with(far, port, tls=tls) as receiver:
        receiver.wait_for_log("listening on https://")
        with pytest.raises(OSError):
            Client(port, certificates.context(with_certificate=False)).send(b"1")
        assert Client(port, certificates.context()).send(b'{"n":-1}')[0] == 200
        with sender(near, url, 1000, **sink) as host:
            wait_until(lambda: len(numbers_in(far / "out.ndjson")) == 1001, "all rows by mutual TLS")
            assert host.stop() == 0
        # Without its certificate the sink cannot connect and logs the reason.
        del sink["tls"]["cert"], sink["tls"]["key"]  # type: ignore[attr-defined]
        with sender(tmp_path / "nobody", url, 10, **sink) as host:
            host.wait_for_log("certificate")
        with sender(tmp_path / "stranger", url, 10, tls={"cert": certificates.client[0], "key": certificates.client[1]}) as host:
            host.wait_for_log("SSL certificate problem")
        assert receiver.stop() == 0


def test_a_renewed_certificate_needs_no_restart(tmp_path: Path, certificates: Certificates) -> None:
    port = free_port()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    old, new = certificates.client, certificates.server  # the client certificate names no host, so clients reject it

    def put(pair: tuple[str, str]) -> None:
        key.write_bytes(Path(pair[1]).read_bytes())
        cert.write_bytes(Path(pair[0]).read_bytes())

    put(old)
    with host_with(tmp_path, port, tls={"cert": str(cert), "key": str(key)}) as host:
        host.wait_for_log("listening on https://")
        context = certificates.context(with_certificate=False)
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(port, context).send(b"1")
        put(new)

        def works() -> bool:
            with contextlib.suppress(ssl.SSLError):
                return Client(port, context).send(b"1")[0] == 200
            return False

        wait_until(works, "the new certificate")
        assert host.stop() == 0
