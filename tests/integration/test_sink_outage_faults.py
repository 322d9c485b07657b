# SPDX-License-Identifier: Apache-2.0
"""What happens beside a host while its database is down and its queue is on disk: a rebalance, a full file system."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pipeline_host import PipelineHost
from sink_outage import TABLE, Alerts, Load, check_exact, pipeline, queue_files, stored
from test_dead_letter_flood import small_disk
from test_sink_outage import flow

from services import Kafka, Mosquitto, TcpProxy, Timescale, wait_until

PARTITIONS = 6


@pytest.fixture
def topic(kafka: Kafka, unique_name: str) -> Iterator[str]:
    kafka.create_topic(unique_name, PARTITIONS)
    yield unique_name
    kafka.delete_topic(unique_name)


def through(proxy: TcpProxy, server: Timescale, database: str) -> str:
    """Create the table, and return the database's address at the proxy."""
    server.execute(TABLE, database=database)
    url = server.url(database).replace(f":{server.port}/", f":{proxy.port}/")
    assert url != server.url(database)
    return url


def wait_for_alerts(alerts: Alerts, load: Load) -> None:
    """Wait for the alerts of all readings that were sent until now."""
    due = list(load.hot)
    wait_until(lambda: set(due) <= alerts.arrived.keys(), "the alerts, while the database is down")


def partitions(host: PipelineHost) -> int:
    return int(host.metric("pipeline_kafka_assigned_partitions"))


def test_a_rebalance_during_an_outage(
    kafka: Kafka, mosquitto: Mosquitto, timescale: Timescale, database: str, topic: str, tmp_path: Path
) -> None:
    """Two hosts share a topic, and have their queues on disk. One is killed, and a third one joins."""
    with TcpProxy(timescale.port) as proxy, ExitStack() as stack:
        url = through(proxy, timescale, database)
        stays, dies, joins = (
            PipelineHost(pipeline(tmp_path / name, kafka, mosquitto, topic, url), tmp_path / name)
            for name in ("stays", "dies", "joins")
        )
        alerts = stack.enter_context(Alerts(mosquitto, topic))
        stack.enter_context(stays)
        stack.enter_context(dies)
        wait_until(lambda: [partitions(stays), partitions(dies)] == [3, 3], "three partitions each")
        load = stack.enter_context(Load(kafka, topic, 1500))
        wait_until(lambda: stored(timescale, database) > 1000, "a steady flow")
        proxy.refuse()
        for host in (stays, dies):
            wait_until(lambda h=host: h.metric("pipeline_queue_disk_batches", node="store") > 20, "batches on disk")  # type: ignore[misc]
        wait_for_alerts(alerts, load)
        assert alerts.repeated == 0
        dies.kill()
        stack.enter_context(joins)
        wait_until(
            lambda: partitions(joins) > 0 and partitions(stays) + partitions(joins) == PARTITIONS,
            "the partitions of the killed host at the others",
        )
        moved = time.time()
        # A new owner must claim its partitions in the database first. The others are not held up by that.
        wait_until(
            lambda: any(sent > moved and device in alerts.arrived for device, sent in list(load.hot.items())),
            "alerts from the partitions that the host has kept",
        )
        assert [host.get("/health/ready")[0] for host in (stays, joins)] == [503, 503]
        proxy.refuse(False)
        sent = load.stop()
        wait_until(lambda: stored(timescale, database) >= sent, "every record")
        for host in (stays, joins):
            wait_until(lambda h=host: h.metric("pipeline_lag_records") == 0, "no lag")  # type: ignore[misc]
            wait_until(lambda h=host: not queue_files(h.directory), "no file of the queue")  # type: ignore[misc]
        check_exact(timescale, database, sent)
        wait_until(lambda: set(load.hot) == alerts.arrived.keys(), "every alert")
        assert alerts.repeated > 0, "the alerts of the killed host are repeated"
        assert max(len(ids) for ids in alerts.ids.values()) == 1, "an alert that is repeated has the same id"
        assert [host.stop() for host in (stays, joins)] == [0, 0]


def test_a_file_system_that_is_full_during_an_outage(
    kafka: Kafka, mosquitto: Mosquitto, timescale: Timescale, database: str, topic: str, tmp_path: Path
) -> None:
    """The source pauses as it would without `queue.disk`, memory stays bounded, and it continues when there is space."""
    state = tmp_path / "state"
    with small_disk(state, "48m"), TcpProxy(timescale.port) as proxy:
        url = through(proxy, timescale, database)
        config = pipeline(tmp_path, kafka, mosquitto, topic, url, disk="32MiB")  # in files of 8 MiB
        other = state / "of another program"
        subprocess.run(["fallocate", "-l", "30MiB", other], check=True)
        with Alerts(mosquitto, topic) as alerts, PipelineHost(config, tmp_path) as host, Load(kafka, topic, 3000) as load:
            flow(host, load)
            proxy.refuse()
            host.wait_for_log("stay free for spools and state; the queue continues in memory alone")
            wait_until(lambda: paused(host, load), "the source pauses")
            assert host.get("/health/ready")[0] == 503
            assert host.metric("pipeline_queue_disk_batches", node="store") > 0, "what was on disk before stays there"
            assert host.metric("pipeline_memory_bytes") < 64 * 2**20, "half of memory_limit is for records"
            other.unlink()
            host.wait_for_log("the queue can be extended on disk again after")
            wait_for_alerts(alerts, load)  # also of the records that had to wait in the topic
            proxy.refuse(False)
            sent = load.stop()
            wait_until(lambda: stored(timescale, database) >= sent, "every record")
            wait_until(lambda: host.metric("pipeline_lag_records") == 0, "no lag")
            check_exact(timescale, database, sent)
            wait_until(lambda: not queue_files(tmp_path), "no file of the queue")
            wait_until(lambda: set(load.hot) == alerts.arrived.keys(), "every alert")
            assert (alerts.repeated, host.peak_memory() < 128) == (0, True)
            assert host.stop() == 0


def paused(host: PipelineHost, load: Load) -> bool:
    """Return whether no record was read while a second's records were sent."""
    read, sent = host.metric("pipeline_records_out_total", node="in"), load.sent
    time.sleep(1)
    return load.sent > sent and host.metric("pipeline_records_out_total", node="in") == read
