# SPDX-License-Identifier: Apache-2.0
"""http_source, killed around the write to its spool: acknowledged records are delivered, and retries keep their ids."""

from __future__ import annotations

import collections
import http.client
import json
from pathlib import Path

import pytest
from pipeline_host import BUILD, PipelineHost, configuration, ndjson
from stage import FAULT_BUILD, ROUNDS

from services import free_port, wait_until

RECORDS = 3  # per request


def make_host(folder: Path, port: int, build: Path, point: str = "") -> PipelineHost:
    config = configuration(
        folder,
        sources={"posted": {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/{device}"}},
        sinks={"out": {"plugin": "file_sink", "from": "posted", "path": "out.ndjson", "fsync": "never"}},
    )
    return PipelineHost(config, folder, build=build, environment={"PIPELINE_FAILPOINT": point})


def post(port: int, request: int, key: bool) -> bool:
    """Post a request and return whether the response was 200. False: the connection broke."""
    numbers = [{"n": request * RECORDS + i} for i in range(RECORDS)]
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": f"r{request}"} if key else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/d1", json.dumps(numbers), headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.mark.parametrize("key", [False, True], ids=["by-content", "by-key"])
@pytest.mark.parametrize("point", ["spool.before", "spool.after"])
def test_13_http_source_is_killed_around_the_spool(tmp_path: Path, point: str, key: bool) -> None:
    port, sent = free_port(), 0
    for nth in range(20 if ROUNDS >= 3 else 3):
        at = nth * 5 + 1
        with make_host(tmp_path, port, FAULT_BUILD, f"{point}:{at}") as host:
            host.wait_for_log("listening on http")
            for _ in range(at - 1):
                assert post(port, sent, key)
                sent += 1
            assert not post(port, sent, key), "the host is killed before it responds"
            assert host.wait() == -9
        with make_host(tmp_path, port, BUILD) as host:
            host.wait_for_log("listening on http")
            assert post(port, sent, key), "the client sends it again"
            sent += 1
            wait_until(lambda: len(_ids(tmp_path)) == sent * RECORDS, "every acknowledged record")  # noqa: B023
            assert host.stop() == 0
        rows = ndjson(tmp_path / "out.ndjson")
        assert {json.loads(row["value"])["n"] for row in rows} == set(range(sent * RECORDS))
        pairs = collections.Counter((json.loads(row["value"])["n"], row["id"]) for row in rows)
        assert len(pairs) == sent * RECORDS, "a record keeps its id when it is sent again"
        last = [n for (number, _), n in pairs.items() if number >= (sent - 1) * RECORDS]
        assert set(last) == ({2} if point == "spool.after" else {1}), "in the spool before the kill, or not"


def _ids(folder: Path) -> set[str]:
    return {row["id"] for row in ndjson(folder / "out.ndjson")}
