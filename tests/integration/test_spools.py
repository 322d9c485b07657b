# SPDX-License-Identifier: Apache-2.0
"""Spools whose source was renamed or removed: they are reported, and `spools adopt` moves their records to a source."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pipeline_host import PipelineHost, configuration, ndjson, run

from services import Mosquitto, Timescale, free_port, wait_until

Node = dict[str, object]
STRANDED = 501
# A sink that accepts nothing: what arrives stays in the spool.
CLOSED = {"plugin": "http_sink", "url": "http://127.0.0.1:1/", "retry": {"initial": "100ms", "max": "1s"}}


def http_source() -> Node:
    return {"plugin": "http_source", "listen": f"127.0.0.1:{free_port()}", "path": "/t"}


def post(to: Node, first: int, count: int) -> None:
    body = "\n".join(json.dumps({"n": n}) for n in range(first, first + count)).encode()
    request = urllib.request.Request(
        f"http://{to['listen']}/t", body, {"Content-Type": "application/x-ndjson"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        assert response.status == 200


def config_of(directory: Path, name: str, source: Node, sink: Node | None = None, **more: object) -> Path:
    sink = sink or {"plugin": "file_sink", "path": "out.ndjson"}
    parts: dict[str, Any] = {"shutdown_timeout": "1s", **more}
    return configuration(directory, sources={name: source}, sinks={"out": {"from": name, **sink}}, **parts)


def strand(directory: Path, source: Node, **more: object) -> None:
    """Leave records in the spool of a source `before`, by a sink that is down."""
    config = config_of(directory, "before", source, CLOSED, **more)
    with PipelineHost(config, directory) as host:
        host.wait_for_log("listening on")
        post(source, 0, STRANDED)
        wait_until(lambda: host.metric("pipeline_in_flight_batches", node="before") > 0, "records in flight")
        assert host.stop() == 3


def numbers(directory: Path) -> list[int]:
    return sorted(json.loads(row["value"])["n"] for row in ndjson(directory / "out.ndjson"))


UNCLAIMED = "pipeline_unclaimed_spool_records"


def test_a_renamed_source_strands_records_until_they_are_adopted(tmp_path: Path) -> None:
    source = http_source()
    strand(tmp_path, source)
    config = config_of(tmp_path, "after", source)
    folder = "state/spool/test/before/0"

    checked = run("validate", str(config), cwd=tmp_path)
    assert checked.returncode == 0
    assert f"warning: {STRANDED} records of the source test/before are in the spool {folder}" in checked.stderr
    assert "spools adopt" in checked.stderr
    listed = run("spools", "list", str(config), "--format", "ndjson", cwd=tmp_path)
    assert listed.returncode == 0
    (spool,) = (json.loads(line) for line in listed.stdout.splitlines())
    assert (spool["folder"], spool["unsettled"], spool["plugin"]) == (folder, STRANDED, "http_source")
    assert "read_by" not in spool
    assert "NO SOURCE READS IT" in run("spools", "list", str(config), cwd=tmp_path).stdout

    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        assert any(m["level"] == "warn" and folder in m["message"] for m in host.messages())
        assert host.metric(UNCLAIMED, pipeline="test", node="before") == STRANDED
        dry = run("spools", "adopt", str(config), "--dry-run", cwd=tmp_path)
        assert (dry.returncode, (tmp_path / folder).exists()) == (0, True)
        assert f"{folder}: {STRANDED} unsettled records of test/before, for test/after" in dry.stdout
        assert run("spools", "adopt", str(config), cwd=tmp_path).returncode == 2  # not confirmed
        post(source, STRANDED, 10)
        wait_until(lambda: len(numbers(tmp_path)) == 10, "its own records")
        # The running host reads an adopted spool without a restart.
        adopted = run("spools", "adopt", str(config), "--yes", cwd=tmp_path)
        assert adopted.returncode == 0, adopted.stderr
        wait_until(lambda: len(numbers(tmp_path)) >= STRANDED + 10, "the adopted records")
        wait_until(lambda: host.metric(UNCLAIMED) == 0, "no unclaimed record")
        assert host.stop() == 0
    assert numbers(tmp_path) == list(range(STRANDED + 10))
    assert "no source reads it" not in run("validate", str(config), cwd=tmp_path).stderr
    again = run("spools", "adopt", str(config), "--yes", cwd=tmp_path)
    assert (again.returncode, "every spool" in again.stderr) == (0, True)
    with PipelineHost(config, tmp_path) as host:  # nothing is read a second time
        host.wait_ready()
        post(source, STRANDED + 10, 1)
        wait_until(lambda: len(numbers(tmp_path)) >= STRANDED + 11, "the last record")
        assert host.stop() == 0
    assert numbers(tmp_path) == list(range(STRANDED + 11))


def test_a_reload_that_renames_a_source_reports_its_spool(tmp_path: Path) -> None:
    source, other = http_source(), http_source()
    config = config_of(tmp_path, "before", source, CLOSED)
    with PipelineHost(config, tmp_path) as host:
        host.wait_for_log("listening on")
        assert host.metric(UNCLAIMED) == 0
        config_of(tmp_path, "after", other)
        # A running source was renamed in the file: its spool is reported although it is still open.
        post(source, 0, 5)
        assert "5 records of the source test/before" in run("validate", str(config), cwd=tmp_path).stderr
        assert run("spools", "adopt", str(config), "--yes", cwd=tmp_path).returncode == 1  # in use
        assert (tmp_path / "state/spool/test/before/0").exists()
        host.kill()
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        assert host.metric(UNCLAIMED) == 5
        config_of(tmp_path, "before", source)  # renamed back
        host.signal(signal.SIGHUP)
        host.wait_for_log("configuration reloaded")
        wait_until(lambda: numbers(tmp_path) == list(range(5)), "the records")
        wait_until(lambda: host.metric(UNCLAIMED) == 0, "no unclaimed record")
        assert host.stop() == 0


def test_a_renamed_pipeline_and_the_choice_of_a_source(tmp_path: Path) -> None:
    source = http_source()
    strand(tmp_path, source, lanes=2)
    sources: dict[str, Node] = {
        "one": http_source(), "two": http_source(),
        "mqtt": {"plugin": "mqtt_source", "url": "mqtt://127.0.0.1:1", "topic": "t"},
    }  # fmt: skip
    sinks = {f"{name}_out": {"plugin": "file_sink", "from": name, "path": "out.ndjson"} for name in ("one", "two", "mqtt")}
    del sinks["mqtt_out"]
    sinks["two_out"]["path"] = "two.ndjson"
    sinks["mqtt_out"] = {"plugin": "file_sink", "from": "mqtt", "path": "mqtt.ndjson"}
    config = configuration(tmp_path, sources=sources, sinks=sinks)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"name": "renamed"}))
    unclear = run("spools", "adopt", str(config), "--yes", cwd=tmp_path)
    assert unclear.returncode == 2
    assert "choose one with --source, and --pipeline: renamed/one, renamed/two" in unclear.stderr
    unfit = run("spools", "adopt", str(config), "--yes", "--source", "mqtt", cwd=tmp_path)
    assert (unfit.returncode, "no source 'mqtt' that can read" in unfit.stderr) == (2, True)
    assert run("spools", "adopt", str(config), "--spool", "state", "--yes", cwd=tmp_path).returncode == 2
    adopted = run("spools", "adopt", str(config), "--yes", "--source", "one", cwd=tmp_path)
    assert adopted.returncode == 0, adopted.stderr
    config = configuration(tmp_path, sources={"one": sources["one"]}, sinks={"one_out": sinks["one_out"]})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"name": "renamed"}))
    with PipelineHost(config, tmp_path) as host:
        wait_until(lambda: len(numbers(tmp_path)) >= STRANDED, "all records")
        assert host.stop() == 0
    assert numbers(tmp_path) == list(range(STRANDED))


def test_records_of_another_plugin_are_not_misread(tmp_path: Path) -> None:
    source = http_source()
    strand(tmp_path, source)
    config = config_of(tmp_path, "before", {"plugin": "mqtt_source", "url": "mqtt://127.0.0.1:1", "topic": "t"})
    assert "holds" not in run("validate", str(config), cwd=tmp_path).stdout
    assert f"{STRANDED} records of the source test/before" in run("validate", str(config), cwd=tmp_path).stderr
    with PipelineHost(config, tmp_path) as host:
        assert host.wait() == 1
        assert "holds records of http_source" in host.log()
    with PipelineHost(config_of(tmp_path, "before", source), tmp_path) as host:
        wait_until(lambda: len(numbers(tmp_path)) >= STRANDED, "all records")
        assert host.stop() == 0
    assert numbers(tmp_path) == list(range(STRANDED))


def test_an_adopted_spool_of_mqtt_source(mosquitto: Mosquitto, unique_name: str, tmp_path: Path) -> None:
    source: Node = {"plugin": "mqtt_source", "url": mosquitto.url(), "topic": f"{unique_name}/#"}
    with PipelineHost(config_of(tmp_path, "before", source, CLOSED), tmp_path) as host:
        host.wait_for_log("connected to")
        mosquitto.publish_all([(f"{unique_name}/t", json.dumps({"n": n}).encode()) for n in range(100)])
        wait_until(lambda: host.metric("pipeline_mqtt_source_messages_total") == 100, "all messages")
        wait_until(lambda: host.metric("pipeline_in_flight_batches", node="before") > 0, "records in flight")
        assert host.stop() == 3
    config = config_of(tmp_path, "after", source)
    assert run("spools", "adopt", str(config), "--yes", cwd=tmp_path).returncode == 0
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        # The broker keeps a session for the old client id.
        assert any(m["level"] == "warn" and "test-before-0-" in m["message"] for m in host.messages())
        mosquitto.publish(f"{unique_name}/t", json.dumps({"n": 100}))
        wait_until(lambda: len(numbers(tmp_path)) >= 101, "all messages")
        assert host.stop() == 0
    assert numbers(tmp_path) == list(range(101))


@pytest.mark.parametrize("renamed", ["source", "pipeline"])
def test_adopted_records_are_stored_once_after_a_kill(
    timescale: Timescale, database: str, tmp_path: Path, renamed: str
) -> None:
    timescale.execute("CREATE TABLE t (value text, time timestamptz, topic text, id text, remote text)", database=database)
    sink: Node = {"plugin": "timescale_sink", "url": timescale.url(database), "table": "t"}
    source = http_source()

    def config_named(pipeline: str, name: str) -> Path:
        config = config_of(tmp_path, name, source, sink, delivery="exactly_once")
        config.write_text(json.dumps(json.loads(config.read_text()) | {"name": pipeline}))
        return config

    def stored() -> tuple[int, int]:
        ((rows, distinct),) = timescale.query("SELECT count(*), count(DISTINCT value) FROM t", database=database)
        return int(str(rows)), int(str(distinct))

    with PipelineHost(config_named("test", "before"), tmp_path) as host:
        host.wait_for_log("listening on")
        post(source, 0, 300)
        wait_until(lambda: stored()[0] == 300, "300 rows")
        host.kill()
    # After a kill the spool may not know what the database has.
    settled = tmp_path / "state/spool/test/before/0/settled"
    settled.write_text("100\n")
    config = config_named("test", "after") if renamed == "source" else config_named("other", "before")
    adopted = run("spools", "adopt", str(config), "--yes", cwd=tmp_path)
    assert adopted.returncode == 0, adopted.stderr
    moved = re.search(r"moved to (\S+)", adopted.stdout)
    assert moved and (tmp_path / moved[1] / "id").exists()
    with PipelineHost(config, tmp_path) as host:
        host.wait_ready()
        post(source, 300, 50)
        wait_until(lambda: stored()[0] >= 350, "350 rows")
        assert host.stop() == 0
    assert stored() == (350, 350)
