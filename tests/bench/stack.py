#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The default pipelines on private servers under the load tester, and the CPU time and memory of each.

    /usr/bin/python3 tests/bench/stack.py -- --users 30 --devices-per-user 3 --rate 200 --duration 5m --verify
    /usr/bin/python3 tests/bench/stack.py -- --find-limit

The servers are Mosquitto, Kafka and TimescaleDB behind PgBouncer; configs/bridge.yaml and configs/iot.yaml are unchanged. The
arguments after `--` go to load-tester, whose exit code is returned.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]


def main() -> int:
    own, tester = sys.argv[1:], []
    if "--" in own:
        own, tester = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="BRIDGE|IOT:PATH=VALUE", help="over a configuration")
    arguments = parser.parse_args(own)
    os.environ["PIPELINE_BUILD_DIR"] = str(arguments.build.resolve())
    from pipeline_host import PipelineHost

    from services import Kafka, Mosquitto, PgBouncer, Timescale

    def sets(of: str) -> list[str]:
        return [item.partition(":")[2] for item in arguments.set if item.lower().startswith(of + ":")]

    with (
        tempfile.TemporaryDirectory() as folder,
        Kafka(java_options=["-XX:+UseG1GC"]) as kafka,
        Timescale() as timescale,
        PgBouncer(timescale) as pgbouncer,
        Mosquitto() as mosquitto,
    ):
        for topic in ("iot-stream", "iot-dead-letters"):
            kafka.create_topic(topic, arguments.partitions)
        timescale.create_database("stack")
        environment = {
            "KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": pgbouncer.url("stack"), "MQTT_URL": mosquitto.url()
        }  # fmt: skip
        for name in ("bridge", "iot"):
            (Path(folder) / name).mkdir()
        with (
            PipelineHost(ROOT / "configs/bridge.yaml", Path(folder) / "bridge", environment=environment, sets=sets("bridge")) as bridge,
            PipelineHost(ROOT / "configs/iot.yaml", Path(folder) / "iot", environment=environment, sets=sets("iot")) as iot,
        ):  # fmt: skip
            for host in (bridge, iot):
                host.wait_ready()
            idle = {name: host.cpu_seconds() for name, host in (("bridge", bridge), ("iot", iot))}
            code = subprocess.run(
                [str(arguments.build / "bin/load-tester"), *tester], env={**os.environ, **environment}, check=False
            ).returncode
            messages = bridge.metric("pipeline_mqtt_source_messages_total")
            print(f"\n{messages:,.0f} messages; CPU time and memory of each process, without the start:")
            for name, host in (("bridge", bridge), ("iot", iot)):
                used = host.cpu_seconds() - idle[name]
                print(f"  {name:7} {used / max(messages, 1) * 1e6:8.1f} µs per message, {used:.1f} s; at most {host.peak_memory():.0f} MiB")
            for host in (bridge, iot):
                host.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
