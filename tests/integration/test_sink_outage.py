# SPDX-License-Identifier: Apache-2.0
"""A database that is down stops nobody else: the queue of its sink continues on disk (`queue.disk`)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_host import PipelineHost
from sink_outage import TABLE, Alerts, Load, check_exact, pipeline, queue_files, stored
from test_disk import Faults

from services import Kafka, Mosquitto, TcpProxy, Timescale, wait_until

QUIET = 5.0  # seconds of load before an outage


@pytest.fixture
def topic(kafka: Kafka, unique_name: str) -> Iterator[str]:
    kafka.create_topic(unique_name, 6)
    yield unique_name
    kafka.delete_topic(unique_name)


def flow(host: PipelineHost, load: Load) -> None:
    """Wait until the pipeline has read what was sent, and little is in flight."""
    host.wait_ready()
    wait_until(lambda: load.sent > 1000 and host.metric("pipeline_lag_records") < 2000, "a steady flow")


def play(
    kafka: Kafka, mosquitto: Mosquitto, server: Timescale, topic: str, folder: Path, rate: int, outage: float
) -> None:
    """Stop the database for a while. Alerts leave as before, memory stays bounded, and nothing is lost or stored twice."""
    database = server.create_database(topic).rpartition("/")[2].partition("?")[0]
    server.execute(TABLE, database=database)
    config = pipeline(folder, kafka, mosquitto, topic, server.url(database))
    with Alerts(mosquitto, topic) as alerts, PipelineHost(config, folder) as host, Load(kafka, topic, rate) as load:
        flow(host, load)
        begin = time.time()
        time.sleep(QUIET)
        before = alerts.p99(load, begin, begin + QUIET - 1)
        server.terminate()
        down = time.time()
        wait_until(lambda: host.metric("pipeline_queue_disk_bytes", node="store") > 0, "a queue on disk")
        most = 0.0
        while time.time() < down + outage:
            time.sleep(min(2.0, outage / 5))
            most = max(most, host.metric("pipeline_memory_bytes"))
            assert host.get("/health/ready")[0] == 503
        time.sleep(1)
        due = list(load.hot)
        wait_until(lambda: set(due) <= set(alerts.arrived), "the alerts, while the database is down")
        during = alerts.p99(load, down, down + outage - 1)
        waiting = load.sent
        lag = host.metric("pipeline_lag_records")
        assert lag > rate * outage * 0.8, "what is on disk is not settled"
        assert host.metric("pipeline_queue_disk_batches", node="store") > 0
        server.start()
        wait_until(lambda: stored(server, database) >= waiting, "the backlog", timeout=60 + outage)
        drained = time.time() - down - outage
        sent = load.stop()
        wait_until(lambda: stored(server, database) >= sent, "the rest")
        wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
        check_exact(server, database, sent)
        wait_until(lambda: not queue_files(folder), "no file of the queue")
        assert host.metric("pipeline_queue_disk_bytes") == 0
        assert set(load.hot) == set(alerts.arrived)
        assert max(len(ids) for ids in alerts.ids.values()) == 1
        peak = host.peak_memory()
        print(
            f"p99 of alerts: {before * 1000:.0f} ms before, {during * 1000:.0f} ms during the outage; "
            f"{sent:,} records, {lag:,.0f} waiting when the server started, stored within {drained:.1f} s "
            f"({lag / drained:,.0f} a second); records in memory at most {most / 2**20:.0f} MiB; peak memory of the "
            f"process {peak:.0f} MiB"
        )
        assert during < max(5 * before, 5.0)
        assert drained < outage / 2 + 10, "the backlog drains several times faster than it grew"
        assert most < 48 * 2**20, "of the half of memory_limit that is for records, some is left"
        assert peak < 128
        assert host.stop() == 0


def test_alerts_leave_while_the_database_is_down(
    kafka: Kafka, mosquitto: Mosquitto, topic: str, tmp_path: Path
) -> None:
    with Timescale(fsync=False) as server:
        play(kafka, mosquitto, server, topic, tmp_path, rate=2000, outage=60)


@pytest.mark.parametrize("fault", ["kill", "reload", "full_disk", "damage"])
def test_during_an_outage(
    kafka: Kafka, mosquitto: Mosquitto, timescale: Timescale, database: str, topic: str, tmp_path: Path, fault: str
) -> None:
    """What happens while the queue is on disk: the host is killed; it is given another address of the database; the disk
    is full; a file is damaged."""
    timescale.execute(TABLE, database=database)
    direct = timescale.url(database)
    faults = Faults(tmp_path)
    with TcpProxy(timescale.port) as proxy:
        proxied = direct.replace(f":{timescale.port}/", f":{proxy.port}/")
        assert proxied != direct
        config = pipeline(tmp_path, kafka, mosquitto, topic, proxied)
        host = PipelineHost(config, tmp_path, environment=faults.environment)
        with Alerts(mosquitto, topic) as alerts, host, Load(kafka, topic, 1500) as load:
            flow(host, load)
            if fault == "full_disk":
                faults.set("open ENOSPC -1 .queue\n")
            proxy.refuse()
            if fault == "full_disk":
                host.wait_for_log("the queue continues in memory alone")
                assert "No space left on device" in host.log()
                faults.clear()
                host.wait_for_log("the queue can be extended on disk again after")
            wait_until(lambda: host.metric("pipeline_queue_disk_batches", node="store") > 20, "batches on disk")
            assert queue_files(tmp_path)
            began = time.time()
            time.sleep(3)
            if fault == "kill":
                host.kill()
                assert queue_files(tmp_path)
                proxy.refuse(False)
                host.start()
                host.wait_for_log("of queues on disk that an earlier run left")
            elif fault == "reload":
                due = [device for device, sent in list(load.hot.items()) if sent < began + 1.5]
                wait_until(lambda: set(due) <= set(alerts.arrived), "the alerts, while the database is down")
                pipeline(tmp_path, kafka, mosquitto, topic, direct)
                host.signal(signal.SIGHUP)
                host.wait_for_log("reload: takes over ")
            else:
                if fault == "damage":
                    for file in queue_files(tmp_path):
                        damage(file)
                proxy.refuse(False)
                if fault == "damage":
                    host.wait_for_log("is damaged: the checksum of ")
            sent = load.stop()
            wait_until(lambda: stored(timescale, database) >= sent, "every record")
            wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
            check_exact(timescale, database, sent)
            wait_until(lambda: not queue_files(tmp_path), "no file of the queue")
            wait_until(lambda: set(load.hot) == set(alerts.arrived), "every alert")
            assert max(len(ids) for ids in alerts.ids.values()) == 1, "an alert that is repeated has the same id"
            assert fault != "kill" or alerts.repeated > 0, "the host that is killed has sent alerts during the outage"
            assert host.stop() == 0


def damage(file: Path) -> None:
    """Change bytes that are in use."""
    fd = os.open(file, os.O_WRONLY)
    try:
        for at in range(1000, min(os.fstat(fd).st_size, 500_000), 5_000):
            os.pwrite(fd, b"damage", at)
    finally:
        os.close(fd)
