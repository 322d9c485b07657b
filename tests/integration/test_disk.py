# SPDX-License-Identifier: Apache-2.0
"""Disks that fail under a complete host (row 36 of the faults): a preloaded library makes calls to the file system fail."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from pipeline_host import BUILD, PipelineHost, configuration, ndjson
from test_http import Client, Devices, reading, source, wait_listening

from services import Timescale, free_port, wait_until

SHIM = BUILD / "tests" / "disk" / "libdisk_faults.so"
FAILING_SYNCS = "fdatasync EIO -1 .spool\nfsync EIO -1 .spool\n"


class Faults:
    """The rules of the library: CALL ERROR TIMES PART, one a line (tests/disk/disk_faults.hpp)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faults"
        # A sanitizer's library must come first otherwise.
        options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": str(SHIM), "DISK_FAULTS": str(self._file), "ASAN_OPTIONS": options}

    def set(self, rules: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(rules)
        fresh.rename(self._file)

    def clear(self) -> None:
        self.set("")


def host_with(
    folder: Path, port: int, sink: dict[str, object], faults: Faults, *, fsync: str = "interval", **settings: object
) -> PipelineHost:
    posted = source(port, spool={"fsync": fsync}, retry_after="1s")
    config = configuration(folder, sources={"posted": posted}, sinks={"out": sink}, **settings)
    return PipelineHost(config, folder, environment=faults.environment)


def to_table(timescale: Timescale, database: str) -> dict[str, object]:
    return {
        "plugin": "timescale_sink", "from": "posted", "url": timescale.url(database), "table": "posted",
        "delivery": "exactly_once", "columns": {"time": "time", "id": "id", "value": "value"},
        "create": {"columns": {"id": "text", "value": "bytea"}}, "batch": {"delay": "20ms"},
    }  # fmt: skip


def stored(timescale: Timescale, database: str) -> list[int]:
    if not timescale.query("SELECT 1 FROM pg_tables WHERE tablename = 'posted'", database=database):
        return []  # no host has lived long enough to create the table
    rows = timescale.query("SELECT encode(value, 'escape') FROM posted", database=database)
    return sorted(json.loads(str(row[0]))["n"] for row in rows)


def refusal(host: PipelineHost) -> str:
    """Return why the source accepts nothing; empty: it accepts records."""
    status, text = host.get("/health/accepting")
    return "" if status == 200 else text


def cannot_store(host: PipelineHost) -> bool:
    why = refusal(host)
    return "cannot be stored in the spool: cannot " in why and "Input/output error" in why


@pytest.mark.parametrize("fsync", ["always", "interval"])
def test_36_acknowledged_records_are_stored_once_while_the_disk_fails(
    tmp_path: Path, timescale: Timescale, database: str, fsync: str
) -> None:
    """Clients send a record until it is acknowledged. A record that was refused must leave no trace."""
    port, faults = free_port(), Faults(tmp_path)
    with host_with(tmp_path, port, to_table(timescale, database), faults, fsync=fsync) as host:
        wait_listening(host)
        with Devices(port, batch=5, key=True, pace=0.005) as devices:
            for rules in (
                FAILING_SYNCS,
                "pwritev EIO -1 .spool\n",
                "pwritev short 7 .spool\npwritev EIO 5 .spool\nftruncate EIO 3 .spool\n",
                "fdatasync EIO 5 .spool\npwritev ENOSPC 9 .spool\n",
                FAILING_SYNCS,
            ):
                seen = devices.statuses[200]
                wait_until(lambda seen=seen: devices.statuses[200] > seen, "progress")  # type: ignore[misc]
                failed, faulty = devices.again, host.metric("pipeline_spool_faults_total")
                faults.set(rules)
                if "-1" in rules:
                    wait_until(lambda: cannot_store(host), "the reason why the source accepts nothing")
                    before = list(devices.refusals)  # each thread is refused after the requests that were in flight
                    wait_until(
                        lambda before=before: all(n > b for n, b in zip(devices.refusals, before, strict=True)),  # type: ignore[misc]
                        "a refusal for each thread",
                    )
                    seen = devices.statuses[200]
                    time.sleep(0.5)
                    assert devices.statuses[200] == seen, "nothing is acknowledged"
                else:
                    wait_until(lambda failed=failed: devices.again > failed, "a refused request")  # type: ignore[misc]
                    wait_until(
                        lambda faulty=faulty: host.metric("pipeline_spool_faults_total") > faulty,  # type: ignore[misc]
                        "the fault in the metrics",
                    )
                faults.clear()
                wait_until(lambda: not refusal(host), "the source accepts records again")
            acknowledged = sorted(devices.stop())
        wait_until(lambda: len(stored(timescale, database)) >= len(acknowledged), "every record")
        assert stored(timescale, database) == acknowledged, "each acknowledged record once, and no other one"
        assert host.metric("pipeline_spool_faults_total") >= 5
        assert host.metric("pipeline_spool_damaged_total") == 0
        messages = host.messages()
        assert any(m["level"] == "error" and "no record is acknowledged until" in m["message"] for m in messages)
        assert any("the spool stores records again after" in m["message"] for m in messages)
        assert host.stop() == 0
    print(f"{len(acknowledged):,} acknowledged, {devices.again:,} refused: lost 0, duplicated 0")


def test_36_a_host_that_is_killed_while_the_disk_fails_loses_nothing(
    tmp_path: Path, timescale: Timescale, database: str
) -> None:
    port, faults = free_port(), Faults(tmp_path)
    with host_with(tmp_path, port, to_table(timescale, database), faults) as host:
        wait_listening(host)
        with Devices(port, batch=5, key=True, pace=0.005) as devices:
            for _ in range(3):
                seen = devices.statuses[200]
                wait_until(lambda seen=seen: devices.statuses[200] > seen, "progress")  # type: ignore[misc]
                faults.set(FAILING_SYNCS)
                wait_until(lambda: cannot_store(host), "the source accepts nothing")
                host.kill()
                faults.clear()
                host.start()
                wait_listening(host)
            acknowledged = devices.stop()
        wait_until(lambda: acknowledged <= set(stored(timescale, database)), "every acknowledged record")
        rows = stored(timescale, database)
        # A request that was cut off by a kill may have been stored before.
        assert len(rows) - len(set(rows)) <= devices.again * 5
        assert host.metric("pipeline_spool_damaged_total") == 0
        assert host.stop() == 0


def fill_spool(folder: Path, port: int, faults: Faults, count: int) -> Path:
    """Leave records in the spool, and return its only file with records."""
    closed: dict[str, object] = {"plugin": "http_sink", "from": "posted", "url": "http://127.0.0.1:1/"}
    with host_with(folder, port, closed, faults, shutdown_timeout="1s") as host:
        wait_listening(host)
        body = "\n".join(json.dumps(reading(n)) for n in range(count))
        assert Client(port).send(body.encode(), Content_Type="application/x-ndjson")[0] == 200
        host.stop()
    (file,) = (folder / "state" / "spool" / "test" / "posted" / "0").glob("*.spool")
    return file


def to_file() -> dict[str, object]:
    return {"plugin": "file_sink", "from": "posted", "path": "out.ndjson"}


def numbers(folder: Path) -> list[int]:
    return sorted(json.loads(row["value"])["n"] for row in ndjson(folder / "out.ndjson"))


def test_36_flipped_bits_cost_the_records_that_they_are_in(tmp_path: Path) -> None:
    port, faults, count = free_port(), Faults(tmp_path), 10_000
    file = fill_spool(tmp_path, port, faults, count)
    damaged = bytearray(file.read_bytes())
    for k in range(1, 6):
        damaged[len(damaged) * k // 6] ^= 1 << k
    file.write_bytes(damaged)
    with host_with(tmp_path, port, to_file(), faults) as host:
        wait_until(lambda: len(numbers(tmp_path)) >= count - 5, "the other records")
        assert len(set(numbers(tmp_path))) == len(numbers(tmp_path)) == count - 5
        assert host.metric("pipeline_spool_damaged_total") == 5
        lost = [m for m in host.messages() if m["level"] == "error" and m["message"].startswith("LOST: record ")]
        assert len(lost) == 5
        assert all("is damaged; check the disk" in m["message"] for m in lost)
        assert len(list(file.parent.glob("*.damaged"))) == 5
        assert Client(port).send(json.dumps(reading(count)).encode())[0] == 200
        wait_until(lambda: count in numbers(tmp_path), "a new record")
        assert host.stop() == 0


def test_36_a_spool_file_that_cannot_be_opened_is_not_repaired(tmp_path: Path) -> None:
    port, faults, count = free_port(), Faults(tmp_path), 1_000
    file = fill_spool(tmp_path, port, faults, count)
    before = file.read_bytes()
    for rules in (f"open EACCES -1 {file.name}\n", "open EIO -1 /id\n", "open EACCES -1 /settled\n"):
        faults.set(rules)
        with host_with(tmp_path, port, to_file(), faults) as host:
            host.wait_for_log("cannot read ")
            assert host.get("/health/ready")[0] == 503
            assert refusal(host)
            assert file.read_bytes() == before
            if rules.startswith("open EACCES -1 /settled"):
                faults.clear()  # it recovers without a restart
                wait_until(lambda: len(numbers(tmp_path)) >= count, "every record")
                host.wait_ready()
            host.stop()
    assert numbers(tmp_path) == list(range(count))
    assert not list(file.parent.glob("*.damaged"))
