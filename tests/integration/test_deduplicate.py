# SPDX-License-Identifier: Apache-2.0
"""Duplicates in the topic are stored once, even if processes are killed; distinct readings with equal values are kept."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import Servers
from pipeline_host import SOURCE, PipelineHost

from services import KafkaError, Mosquitto, Record, wait_until

IOT = SOURCE / "configs" / "iot.yaml"
START = 1_763_000_000_000
DEVICES = 20


def message(n: int, **more: object) -> Record:
    """Return a record as the bridge writes it to the topic."""
    device = f"d{n % DEVICES}"
    value = json.dumps({"user_id": "u", "device_id": device, "time": START + n, "temperature": n % 40, "n": n} | more).encode()
    return Record(value, f"users/u/devices/{device}".encode(), headers=[("message_id", hashlib.md5(value).hexdigest().encode())])


def deduplicated(directory: Path) -> Path:
    """Return configs/iot.yaml with the additions that plugins/deduplicate/README.md describes."""
    before, alerts, behind = IOT.read_text().partition("  alerts:\n")
    assert alerts
    before = before.replace("    group: iot-backend\n", "    group: iot-backend\n    header_columns: [message_id]\n")
    before = before.replace("    from: telemetry\n", "    from: telemetry\n    keep: [message_id]\n")
    unique = "  unique: {plugin: deduplicate, from: parsed, by: [message_id, time], within: 10m, omit: [message_id]}\n"
    file = directory / "iot.yaml"
    file.write_text(before + unique + alerts + behind.replace("from: parsed", "from: unique"))
    return file


def host(servers: Servers, directory: Path, *sets: str) -> PipelineHost:
    directory.mkdir(exist_ok=True)
    return PipelineHost(deduplicated(directory), directory, environment=servers.environment, sets=[*servers.sets, *sets])


def numbers(servers: Servers) -> Counter[int]:
    """Return how often each reading is in the table."""
    return Counter(int(str(n)) for (n,) in servers.query("SELECT extra->>'n' FROM raw_telemetry"))


def settled(servers: Servers, pipeline: PipelineHost) -> None:
    """Wait until all records of the topic are processed."""
    ends = sum(servers.kafka.end_offsets(servers.topic).values())

    def through() -> bool:
        assert pipeline.process.poll() is None, pipeline.log()
        if not servers.query("SELECT 1 FROM pg_tables WHERE tablename = 'pipeline_positions'"):
            return False
        return int(str(servers.query("SELECT coalesce(sum(next), 0) FROM pipeline_positions")[0][0])) >= ends

    wait_until(through, "all records")


def is_reset(servers: Servers) -> bool:
    """Reset the group's offsets. Return False if the group still has members."""
    try:
        servers.kafka.reset_offsets(servers.group, servers.topic, "--to-earliest")
    except KafkaError:
        return False
    return True


def each_once(servers: Servers, count: int) -> None:
    found = numbers(servers)
    assert [n for n in range(count) if found[n] == 0] == [], "lost"
    assert {n: times for n, times in found.items() if times > 1} == {}, "stored more than once"
    assert len(found) == count


def test_duplicates_are_stored_once_and_counted(servers: Servers, tmp_path: Path) -> None:
    count = 5_000
    servers.kafka.produce(servers.topic, [message(n) for n in range(count)])
    servers.kafka.produce(servers.topic, [message(n) for n in range(0, count, 2)])
    with host(servers, tmp_path) as pipeline:
        settled(servers, pipeline)
        each_once(servers, count)
        assert pipeline.metric("pipeline_deduplicated_total") == count / 2
        assert pipeline.metric("pipeline_deduplicate_remembered") == count
        assert pipeline.stop() == 0
    (columns,) = servers.query("SELECT count(*) FROM information_schema.columns WHERE table_name = 'raw_telemetry' AND column_name = 'message_id'")
    assert columns == (0,), "the column is dropped before the sink"


def test_records_without_an_id_and_equal_values_at_different_times_are_all_stored(servers: Servers, tmp_path: Path) -> None:
    same = [message(n, temperature=20) for n in range(0, 10 * DEVICES, DEVICES)]  # one device, one value, ten times
    servers.kafka.produce(servers.topic, same)
    without_id = [Record(r.value, r.key) for r in same]
    servers.kafka.produce(servers.topic, without_id)
    with host(servers, tmp_path) as pipeline:
        settled(servers, pipeline)
        assert servers.stored() == 20
        assert pipeline.metric("pipeline_deduplicated_total") == 0
        assert pipeline.metric("pipeline_deduplicate_unidentified_total", reason="null") == 10
        assert pipeline.stop() == 0


def test_messages_without_their_own_time_are_all_stored(servers: Servers, tmp_path: Path) -> None:
    """Two messages of the same millisecond are kept, because `by` names the record's own time, which they do not have."""
    value = b'{"user_id":"u","device_id":"d","temperature":20}'
    timeless = Record(value, b"k", headers=[("message_id", b"same")], timestamp_ms=int(time.time() * 1000))
    servers.kafka.produce(servers.topic, [timeless] * 5)
    servers.kafka.produce(servers.topic, [message(1), message(1)])
    config = tmp_path / "iot.yaml"
    text = deduplicated(tmp_path).read_text().replace(
        "    keep: [message_id]\n",
        "    keep: [message_id]\n    time: {missing: message_time}\n"
        "    columns: [{name: own_time, type: time, from: [time, timestamp, ts]}]\n",
    )
    text = text.replace("by: [message_id, time]", "by: [message_id, own_time]").replace("omit: [message_id]", "omit: [message_id, own_time]")
    config.write_text(text)
    with PipelineHost(config, tmp_path, environment=servers.environment, sets=servers.sets) as pipeline:
        settled(servers, pipeline)
        assert servers.stored() == 6
        assert pipeline.metric("pipeline_deduplicated_total") == 1
        assert pipeline.stop() == 0


def test_duplicates_are_dropped_while_the_host_is_killed_repeatedly(servers: Servers, tmp_path: Path) -> None:
    """Duplicates arrive of records before and after a kill, before and after snapshots (every two seconds), and repeatedly."""
    rng = random.Random(7)
    sent, kills = 0, 12
    with host(servers, tmp_path) as pipeline:
        pipeline.wait_ready()
        for _ in range(kills):
            fresh = range(sent, sent + 1_500)
            again = rng.sample(range(fresh.stop), 500)
            sent = fresh.stop
            batch = [message(n) for n in fresh]
            batch[len(batch) // 2 :] += [message(n) for n in again]
            servers.kafka.produce(servers.topic, batch)
            servers.kafka.produce(servers.topic, [message(n) for n in rng.sample(range(sent), 300)])
            time.sleep(rng.uniform(0, 1.5))
            pipeline.kill()
            if rng.random() < 0.5:
                servers.kafka.produce(servers.topic, [message(n) for n in rng.sample(range(sent), 300)])
            pipeline.start()
        settled(servers, pipeline)
        each_once(servers, sent)
        ends = sum(servers.kafka.end_offsets(servers.topic).values())
        print(f"{kills} kills, {sent:,} messages, {ends - sent:,} duplicates: each stored once")
        assert pipeline.stop() == 0


def test_records_after_an_offset_reset_are_stored_again_once(servers: Servers, tmp_path: Path) -> None:
    count = 2_000
    servers.kafka.produce(servers.topic, [message(n) for n in range(count)])
    servers.kafka.produce(servers.topic, [message(n) for n in range(count)])
    dynamic = "sources.telemetry.instance=dynamic"
    with host(servers, tmp_path, dynamic) as pipeline:
        settled(servers, pipeline)
        each_once(servers, count)
        time.sleep(2.5)  # a snapshot
        assert pipeline.stop() == 0
    servers.query("DELETE FROM raw_telemetry RETURNING 1")
    wait_until(lambda: is_reset(servers), "the group to be empty")
    with host(servers, tmp_path, dynamic) as pipeline:
        pipeline.wait_for_log("the group's offset was reset")
        wait_until(lambda: servers.stored() >= count, "all records stored again")
        settled(servers, pipeline)
        each_once(servers, count)
        pipeline.kill()
        # A crash after the reset changes nothing.
        pipeline.start()
        settled(servers, pipeline)
        servers.kafka.produce(servers.topic, [message(n) for n in range(count + 100)])
        settled(servers, pipeline)
        each_once(servers, count + 100)
        assert pipeline.stop() == 0


def test_streams_move_between_hosts_with_their_state(servers: Servers, tmp_path: Path) -> None:
    rng = random.Random(11)
    sent = 0

    def produce() -> None:
        nonlocal sent
        fresh = range(sent, sent + 1_000)
        sent = fresh.stop
        servers.kafka.produce(servers.topic, [message(n) for n in fresh])
        servers.kafka.produce(servers.topic, [message(n) for n in rng.sample(range(sent), 400)])

    dynamic = "sources.telemetry.instance=dynamic"
    with host(servers, tmp_path / "one", dynamic) as one:
        one.wait_ready()
        produce()
        for turn in range(3):
            with host(servers, tmp_path / f"two{turn}", dynamic) as two:
                two.wait_ready()
                wait_until(lambda two=two: two.metric("pipeline_kafka_assigned_partitions") > 0, "a share of the partitions")
                produce()
                time.sleep(rng.uniform(0, 3))
                if turn == 1:
                    two.kill()
                else:
                    assert two.stop() == 0
            produce()
        settled(servers, one)
        each_once(servers, sent)
        assert one.stop() == 0


def test_duplicates_of_a_killed_bridge_are_dropped(servers: Servers, tmp_path: Path) -> None:
    """Devices send messages again, which are then in the topic twice."""
    rng = random.Random(3)
    bridge_sets = [f"sinks.topic.topic={servers.topic}", f"dead_letters.topic={servers.topic}"]
    (tmp_path / "bridge").mkdir()
    with (
        Mosquitto(persistence=True, settings={"max_queued_messages": "0"}) as broker,
        PipelineHost(
            SOURCE / "configs/bridge.yaml", tmp_path / "bridge", sets=bridge_sets,
            environment={**servers.environment, "MQTT_URL": broker.url()},
        ) as bridge,
        host(servers, tmp_path / "iot") as pipeline,
    ):  # fmt: skip
        bridge.wait_for_log("connected to MQTT broker")
        sent = 0
        for _ in range(10):
            fresh = range(sent, sent + 1_000)
            broker.publish_all([("users/u/devices/d%d/telemetry" % (n % DEVICES), message(n).value) for n in fresh])
            again = rng.sample(fresh, 50)  # the device received no acknowledgement
            broker.publish_all([("users/u/devices/d%d/telemetry" % (n % DEVICES), message(n).value) for n in again])
            sent = fresh.stop
            time.sleep(rng.uniform(0, 0.3))
            bridge.kill()
            bridge.start()

        def all_there() -> bool:
            return servers.stored() > 0 and len(numbers(servers)) >= sent

        wait_until(all_there, "every message in the table")
        settled(servers, pipeline)
        in_topic = len(servers.kafka.consume(servers.topic))  # offsets include the ends of transactions
        dropped = pipeline.metric("pipeline_deduplicated_total")
        print(f"{sent:,} messages, {in_topic - sent:,} duplicates in the topic, {dropped:,.0f} dropped")
        each_once(servers, sent)
        assert in_topic - sent >= 500 and dropped == in_topic - sent
        assert (bridge.stop(), pipeline.stop()) == (0, 0)


@pytest.mark.parametrize("state", ["kept", "lost"])
def test_state_is_kept_in_the_state_directory_if_no_sink_keeps_it(servers: Servers, tmp_path: Path, state: str) -> None:
    servers.kafka.produce(servers.topic, [message(n) for n in range(500)])
    sets = ["sinks.store.delivery=at_least_once", "sources.telemetry.instance=dynamic"]
    with host(servers, tmp_path, *sets) as pipeline:
        wait_until(lambda: servers.stored() == 500, "the first records")
        assert pipeline.stop() == 0
    if state == "lost":
        for file in (tmp_path / "state").rglob("*.state*"):
            file.unlink()
    servers.kafka.produce(servers.topic, [message(n) for n in range(600)])
    expected = 600 if state == "kept" else 1_100
    with host(servers, tmp_path, *sets) as pipeline:
        wait_until(lambda: servers.stored() >= expected, "the rest")
        assert pipeline.stop() == 0
    assert servers.stored() == expected
