#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""MQTT to Kafka by configs/bridge.yaml (QoS 1, spool, exactly once), beside a bare Paho subscriber.

    /usr/bin/python3 tests/bench/mqtt.py

Each round publishes 100,000 messages for a session without a connection, so that the broker queues them. Then the client
connects and receives them. The bare subscriber (paho_subscriber.cpp) uses the same library and throws the messages away.
"received" is the rate at which the bridge stores messages in its spool and acknowledges them; "in the topic" is the rate up to the last
message in Kafka. The broker sends at most 1,000 messages before it waits for an acknowledgement.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from common import JVM, ROOT, Result, Results, Settings, alternating, program, table

from services import Kafka, Mosquitto, wait_until

FILTER = "users/+/devices/+/telemetry"
PARTITIONS = 4


class Broker:
    def __init__(self, build: Path, mqtt: Mosquitto, messages: int) -> None:
        self.build, self.url, self.messages = build, mqtt.url(), messages

    def publish(self) -> None:
        """Publish with load-tester, as fast as the broker acknowledges."""
        environment = {**os.environ, "MQTT_URL": self.url}
        command = ["load-tester", "--rate", "0", "--count", str(self.messages), "--connections", "10", "--json", "--quiet"]
        done = subprocess.run(
            [self.build / "bin" / command[0], *command[1:]], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"load-tester: exit code {done.returncode}: {done.stdout}{done.stderr}")

    def subscriber(self, messages: int) -> Result:
        url = self.url.replace("mqtt://", "tcp://")
        command = [self.build / "bin" / "paho_subscriber", url, FILTER, "bare-subscriber", "1", str(messages)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"paho_subscriber: {done.stderr}")
        return json.loads(done.stdout) if messages else {}


def bare(settings: Settings, messages: int) -> Result:
    with Mosquitto(settings={"max_inflight_messages": "1000"}) as mqtt:
        broker = Broker(settings.build, mqtt, messages)
        broker.subscriber(0)
        broker.publish()
        found = broker.subscriber(messages)
    return {name: found[name] for name in ("messages_per_second", "cpu_us_per_message")}


def bridge(settings: Settings, messages: int, kafka: Kafka, folder: Path, topic: str) -> Result:
    from pipeline_host import PipelineHost

    kafka.create_topic(topic, PARTITIONS)
    folder.mkdir()
    with Mosquitto(settings={"max_inflight_messages": "1000"}) as mqtt:
        broker = Broker(settings.build, mqtt, messages)
        environment = {"MQTT_URL": mqtt.url(), "KAFKA_BROKERS": kafka.brokers}
        sets = [f"name={topic}", f"sinks.topic.topic={topic}"]
        host = PipelineHost(ROOT / "configs/bridge.yaml", folder, environment=environment, sets=sets)
        with host:
            host.wait_ready()
            assert host.stop() == 0, host.log()
        broker.publish()
        with host:
            def received_after(number: int) -> tuple[float, float, float]:
                """Wait until more messages are in the spool; return the time, their number and the CPU seconds."""
                while (received := host.metric("pipeline_mqtt_source_messages_total")) <= number:
                    assert host.process.poll() is None, host.log()
                    time.sleep(0.02)
                return time.monotonic(), received, host.cpu_seconds()

            began, first, cpu = received_after(0)
            ended, last, _ = received_after(messages - 1)
            wait_until(lambda: host.metric("pipeline_records_out_total", node="topic") >= messages, "all messages in the topic", 300)
            copied = time.monotonic()
            result = {
                "messages_per_second": (last - first) / max(ended - began, 1e-3),
                "in_the_topic_per_second": (messages - first) / max(copied - began, 1e-3),
                "cpu_us_per_message": (host.cpu_seconds() - cpu) / max(messages - first, 1) * 1e6,
                "peak_memory_mib": host.peak_memory(),
            }
            assert host.stop() == 0, host.log()
    assert len(kafka.consume(topic, at_least=messages, timeout=300)) == messages
    kafka.delete_topic(topic)
    return result


def measure(settings: Settings) -> Results:
    messages = settings.few(100_000, 2_000)
    numbers = count()
    with Kafka(java_options=JVM) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.create_topic("iot-dead-letters", 1)

        def one() -> Result:
            name = f"bridge{next(numbers)}"
            return bridge(settings, messages, kafka, Path(folder) / name, name)

        found = alternating({"bare subscriber": lambda: bare(settings, messages), "configs/bridge.yaml": one}, settings.rounds)
    ours, limit = found["configs/bridge.yaml"], found["bare subscriber"]
    ours["of_bare"] = ours["messages_per_second"] / limit["messages_per_second"]
    ours["cpu_of_bare"] = ours["cpu_us_per_message"] / max(limit["cpu_us_per_message"], 1e-9)
    return found


SIZE = "100,000 messages"  # below the table in docs/performance.md
COLUMNS = [
    ("messages_per_second", "received/s", ",.0f"), ("of_bare", "of bare", ".0%"),
    ("in_the_topic_per_second", "in the topic/s", ",.0f"), ("cpu_us_per_message", "CPU µs/message", ".2f"),
    ("cpu_of_bare", "of bare", ".2f"), ("peak_memory_mib", "peak MiB", ".0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def show(found: Results) -> None:
    table(found, COLUMNS)


if __name__ == "__main__":
    sys.exit(program(__doc__, measure, show))
