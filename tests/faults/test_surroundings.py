# SPDX-License-Identifier: Apache-2.0
"""MQTT brokers, disks, clocks, memory, plugins and record times: rows 12, 14, 19 to 21 and 24 of README.md."""

from __future__ import annotations

import contextlib
import datetime
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_host import PLUGINS, PipelineHost, configuration, dead_letters, run
from stage import FIRST_TIME_MS, LONG, ROUNDS, Load, Stage

from services import Kafka, Mosquitto, Timescale, wait_until


# 12: alerts


def with_alerts(stage: Stage, broker: Mosquitto) -> PipelineHost:
    parts = stage.parts("host")
    rule = {"name": "hot", "metric": "temperature", "above": 40, "message": "{stream} {position} {state}"}
    parts["transforms"]["alerts"] = {"plugin": "threshold_alert", "from": "parsed", "rules": [rule]}
    parts["sinks"]["notify"] = {
        "plugin": "mqtt_sink", "from": "alerts", "url": broker.url(), "topic": "alerts/{device_id}", "client_id": "ours",
        "max_in_flight": 1000, "delivery": "at_least_once", "retry": {"initial": "50ms", "max": "500ms"},
    }  # fmt: skip
    return stage.host(transforms=parts["transforms"], sinks=parts["sinks"])


def alerts_due(stage: Stage) -> set[str]:
    """Return the expected alerts: one for each readable record at which a device turns from cold to hot or back."""
    due, hot = set(), set[str]()
    for (partition, offset), number in sorted(stage.accepted.good.items(), key=lambda item: item[1]):
        device = stage.load.device(number)
        if (stage.load.temperature(number) > 40) != (device in hot):
            hot ^= {device}
            due.add(f"{stage.name}/{partition} {offset} {'firing' if device in hot else 'resolved'}")
    return due


@pytest.mark.parametrize("what", ["broker restarted", "session taken over", "host killed"])
def test_12_alerts_arrive(stage: Stage, what: str) -> None:
    settings = {"max_inflight_messages": "0", "autosave_on_changes": "false"}  # it saves at an orderly stop
    with Mosquitto(persistence=True, settings=settings) as broker:
        with (
            broker.subscribe("alerts/#", client_id="listener", clean=False) as listener,
            with_alerts(stage, broker) as host,
        ):
            for _ in range(2 + ROUNDS):
                seen = len(listener.messages)
                stage.load.produce(5000)
                wait_until(lambda seen=seen: len(listener.messages) > seen, "alerts")
                if what == "broker restarted":
                    broker.restart()
                elif what == "session taken over":
                    with broker.subscribe("other/#", client_id="ours"):
                        time.sleep(stage.rng.uniform(0, 0.5))
                else:
                    host.kill()
                    host.start()
            stage.wait_for_all()
            due = alerts_due(stage)

            def received() -> dict[str, set[str]]:
                ids: dict[str, set[str]] = {}
                for message in listener.messages:
                    alert = json.loads(message.payload)
                    ids.setdefault(alert["message"], set()).add(alert["id"] + alert["state"])
                return ids

            wait_until(lambda: due <= received().keys(), "every alert")
            ids = received()
            assert ids.keys() == due
            assert all(len(those) == 1 for those in ids.values()), "a repeated alert has the same id"
            assert len(due) > 5000
            print(f"{len(due)} alerts, {len(listener.messages)} messages")
            stage.finish(host)


# 14: dead letters


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def test_14_disk_of_the_dead_letters_is_full(
    kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random
) -> None:
    stage = Stage(kafka, timescale, unique_name, tmp_path, rng, broken_every=3)
    disk = tmp_path / "host" / "dead-letters"
    with small_disk(disk, "256k"), stage.host(memory_limit="16MiB") as host:
        stage.load.produce(30_000)
        host.wait_for_log("No space left")
        host.wait_ready(False)
        stage.load.produce(1000)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        stage.finish(host)


def test_14_last_dead_letter_is_torn(kafka: Kafka, timescale: Timescale, unique_name: str, tmp_path: Path, rng: random.Random) -> None:
    """Append a part of a line, of a record that is not settled, as after a loss of power."""
    stage = Stage(kafka, timescale, unique_name, tmp_path, rng, broken_every=5)
    stage.load.produce(2000)
    with stage.host() as host:
        stage.wait_for_all()
        host.kill()
        file = host.directory / "dead-letters" / "test.ndjson"
        line = file.read_bytes().splitlines()[-1]
        whole = len(dead_letters(host.directory))
        with file.open("ab") as letters:
            letters.write(line[: rng.randint(1, len(line) - 1)])
        stage.load.produce(2000)
        host.start()
        stage.wait_for_all()
        assert host.metric("pipeline_file_sink_repaired_bytes_total") > 0
        stage.finish(host)
    assert len(dead_letters(host.directory)) == len(stage.accepted.broken) > whole


# 19: clocks


def test_19_clock_steps(stage: Stage, tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    offset = tmp_path / "offset"
    offset.write_text("+0")
    clock = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
             "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    moved = False
    with stage.host(environment=clock) as host:
        for seconds in [-3600, 86_400, 0, -3600, 86_400]:
            stage.load.produce(2000)
            stage.wait_for_progress(0)
            offset.write_text(f"{seconds:+}")
            stage.load.produce(2000)
            stage.wait_for_all()
            if seconds == -3600 and not moved:  # the log suppresses repeated messages
                moved = abs(clock_of(host) - time.time() - seconds) < 600
        assert moved
        # Kill the host: with libfaketime, librdkafka may take a day to close, because it compares times of two clocks, of
        # which only one was moved.
        host.kill()
    with stage.host() as host:
        stage.load.produce(2000)
        stage.finish(host)


def clock_of(host: PipelineHost) -> float:
    """Return the time of the host's clock, from the log message of a reload."""
    logged = len(host.messages())
    host.signal(signal.SIGHUP)
    wait_until(lambda: len(host.messages()) > logged, "a line in the log")
    return datetime.datetime.fromisoformat(host.messages()[-1]["time"]).timestamp()


# 20: plugins; core/engine/engine_test.cpp tests faults of loaded plugins


@pytest.fixture
def bad_plugins(tmp_path: Path) -> Path:
    """A folder with a file that is not a library, a truncated plugin, and a library that is not a plugin."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "text.so").write_text("not a library")
    (folder / "torn.so").write_bytes((PLUGINS / "file_sink.so").read_bytes()[:5000])
    shutil.copy(next(Path("/usr/lib").glob("*/libpq.so.5")), folder / "stranger.so")
    return folder


def test_20_invalid_plugins_do_not_affect_others(stage: Stage, bad_plugins: Path) -> None:
    with stage.host(environment={"PIPELINE_PLUGIN_PATH": str(bad_plugins)}) as host:
        stage.load.produce(2000)
        stage.finish(host)


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("stranger", ["unknown plugin 'stranger'", "stranger.so was not loaded: it does not export pl_plugin_v1"]),
        ("torn", ["unknown plugin 'torn'", "torn.so was not loaded: the file is truncated"]),
        ("text", ["unknown plugin 'text'", "text.so was not loaded: it is not a shared library"]),
        ("kafka_snik", ["unknown plugin 'kafka_snik'", "kafka_sink"]),
    ],
)
def test_20_an_invalid_plugin_is_reported(tmp_path: Path, bad_plugins: Path, plugin: str, words: list[str]) -> None:
    config = configuration(
        tmp_path / "host",
        sources={"in": {"plugin": "file_source", "path": "in"}},
        sinks={"out": {"plugin": plugin, "from": "in"}},
    )
    done = run("run", str(config), cwd=tmp_path, environment={"PIPELINE_PLUGIN_PATH": str(bad_plugins)})
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr


# 21: memory


def test_21_backlog_in_little_memory(stage: Stage) -> None:
    total = 10_000_000 if ROUNDS >= LONG else 250_000 * ROUNDS
    each = total // 4
    for partition in range(4):
        numbers = range(partition, total, 4)
        stage.kafka.produce(stage.name, map(stage.load.message, numbers), partition=partition, timeout=1200)
    with stage.host(memory_limit="48MiB") as host:
        wait_until(lambda: stage.progress() == 4 * each, "all records", 1200)
        peak = host.peak_memory()
        assert host.stop() == 0
    found = stage.sql('SELECT count(*), count(DISTINCT n), max("offset") FROM stored')
    print(f"{total:,} records, peak memory {peak:.0f} MiB")
    assert found == [(total, total, each - 1)]
    assert peak < 128


# 24: time


class WrongTimes(Load):
    """Produces one record in ten with a time that is years off."""

    def message(self, number: int) -> bytes:
        good = super().message(number)
        if number % 10:
            return good
        wrong = random.Random(number).choice([range(100_000_000, 1_300_000_000), range(4_000_000_000, 9_000_000_000)])
        seconds = random.Random(number).randrange(wrong.start, wrong.stop)
        return good.replace(b'"timestamp":%d' % (FIRST_TIME_MS + number), b'"timestamp":%d000' % seconds)

    def produce(self, count: int) -> None:
        super().produce(count)
        wrong = {place for place, number in self.accepted.good.items() if number % 10 == 0}
        self.accepted.drop(wrong)
        self.accepted.broken |= wrong


def test_24_wrong_times_create_no_chunks(stage: Stage) -> None:
    stage.load = WrongTimes(stage.kafka, stage.name)
    stage.load.produce(20_000)
    with stage.host() as host:
        stage.finish(host)
    assert stage.sql("SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'stored'")[0][0] < 5
    wrong = [letter for letter in stage.dead_letters() if "time_window" in letter["reason"]]
    assert len(wrong) > 1900
