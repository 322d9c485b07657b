# SPDX-License-Identifier: Apache-2.0
"""One topic, read by 1, 2 and 3 hosts of a group that start and stop under load: each record is stored once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from conftest import Servers
from pipeline_host import PipelineHost
from test_default_pipeline import host, message

from services import Worker, wait_until

PARTITIONS = 6
QUICK = "sources.telemetry.properties={session.timeout.ms: 6000, heartbeat.interval.ms: 300}"


class Load:
    """Produces messages until the end of the `with` block."""

    def __init__(self, servers: Servers) -> None:
        self._servers, self._stop = servers, threading.Event()
        self.sent = 0
        self._worker = Worker(self._run)

    def __enter__(self) -> Load:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.finish()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._servers.kafka.produce(self._servers.topic, [message(self.sent + n) for n in range(500)])
            self.sent += 500
            self._stop.wait(0.1)


def test_partitions_move_when_hosts_start_and_stop(servers: Servers, tmp_path: Path) -> None:
    servers.kafka.delete_topic(servers.topic)
    servers.kafka.create_topic(servers.topic, PARTITIONS)
    hosts: list[PipelineHost] = []

    def add() -> None:
        directory = tmp_path / f"host-{len(hosts)}"
        directory.mkdir()
        hosts.append(host(servers, directory, f"sources.telemetry.instance=host-{len(hosts)}", QUICK).start())
        hosts[-1].wait_ready()

    def shares() -> list[int]:
        return sorted(
            int(h.metric("pipeline_kafka_assigned_partitions")) for h in hosts if h.process.poll() is None
        )

    def settle_to(expected: list[int], what: str) -> None:
        began = time.monotonic()
        wait_until(lambda: shares() == expected, f"{expected} partitions {what}")
        stored = servers.stored()
        wait_until(lambda: servers.stored() > stored, f"progress {what}")
        print(f"{what}: {expected} after {time.monotonic() - began:.1f} s")

    def each_host_stores() -> None:
        def taken() -> list[float]:
            return [h.metric("pipeline_timescale_rows_total") for h in hosts if h.process.poll() is None]

        before = taken()
        wait_until(lambda: all(now > then for now, then in zip(taken(), before, strict=True)), "rows from each host")

    with Load(servers) as load:
        try:
            add()
            settle_to([6], "with one host")
            add()
            settle_to([3, 3], "with two")
            add()
            settle_to([2, 2, 2], "with three")
            each_host_stores()
            hosts[0].kill()
            settle_to([3, 3], "after one was killed")
            each_host_stores()
            hosts[0].start()
            hosts[0].wait_ready()
            settle_to([2, 2, 2], "after it started again")
            assert hosts[1].stop() == 0
            settle_to([3, 3], "after one was stopped")
            assert hosts[2].stop() == 0
            settle_to([6], "after another was stopped")
        except BaseException:
            for h in hosts:
                print(h.log()[-3000:])
                h.kill()
            raise
    try:
        wait_until(lambda: servers.stored() >= load.sent, "all records")
        assert servers.query("SELECT count(*), count(DISTINCT (device_id, time)) FROM raw_telemetry") == [
            (load.sent, load.sent)
        ]
        assert hosts[0].stop() == 0
    finally:
        hosts[0].kill()

