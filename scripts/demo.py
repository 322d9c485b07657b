#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Run the complete system on private servers on free loopback ports. Simulated devices publish over MQTT, the bridge
copies the messages to Kafka, and the default pipeline writes them to the database and publishes alerts over MQTT. The
load tester reports which messages arrived.

    make demo                    runs for a minute; Ctrl-C ends the demo earlier
    make demo DEMO_SECONDS=600   runs longer

All servers are stopped at the end. Logs and dead letters stay in the folder that the last line names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from services import Mosquitto, MqttMessage, Postgres, ServiceError, wait_until  # noqa: E402


def show(text: str) -> None:
    print(text, flush=True)


def has_timescale() -> bool:
    return any(Path("/usr/share/postgresql").glob("*/extension/timescaledb.control"))


def database() -> Postgres:
    """Start TimescaleDB if it is installed, otherwise PostgreSQL. The sink supports both."""
    settings = {"shared_preload_libraries": "timescaledb"} if has_timescale() else {}
    server = Postgres(settings=settings).start()
    if has_timescale():
        server.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return server


@contextlib.contextmanager
def process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent, env=environment)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def broker_address(file: Path, broker: subprocess.Popen[bytes]) -> str:
    def address() -> str:
        if broker.poll() is not None:
            raise ServiceError(f"the Kafka broker of the demo exited: see {file.parent / 'broker.log'}")
        return file.read_text().strip() if file.exists() else ""

    return wait_until(address, "the Kafka broker of the demo to start")


def show_alerts(messages: list[MqttMessage]) -> None:
    show("\nThe last alerts that arrived over MQTT:\n")
    for message in messages[-5:]:
        alert = json.loads(message.payload)
        show(f"  {alert['state']:<9} {alert['severity']:<8} {alert.get('message', alert['rule'])}  ({message.topic})")


QUERY = """SELECT device_id, count(*) AS readings, round(avg(temperature)::numeric, 1) AS avg_temp,
       round(max(temperature)::numeric, 1) AS max_temp
  FROM raw_telemetry GROUP BY device_id ORDER BY max_temp DESC LIMIT 5"""


def show_query(server: Postgres) -> None:
    show(f"\nThe records in the database:\n\n  {QUERY}\n")
    show(f"  {'device_id':<14}{'readings':>9}{'avg_temp':>10}{'max_temp':>10}")
    for device, readings, average, highest in server.query(QUERY):
        show(f"  {device!s:<14}{readings!s:>9}{average!s:>10}{highest!s:>10}")


def run(build: Path, seconds: float, folder: Path) -> int:
    environment = dict(os.environ)
    with contextlib.ExitStack() as running:
        show("Starting Mosquitto, PostgreSQL and a Kafka-compatible broker on free loopback ports ...")
        mqtt = running.enter_context(Mosquitto())
        server = database()
        running.callback(server.stop)
        ports = folder / "broker.address"
        ports.unlink(missing_ok=True)
        command = [str(build / "bin" / "pipeline-demo-broker"), "--topic", "iot-stream:4", "--topic", "iot-dead-letters:1", "--port-file", str(ports)]
        broker = running.enter_context(process(command, folder / "broker.log", environment))
        environment |= {
            "KAFKA_BROKERS": broker_address(ports, broker),
            "DATABASE_URL": server.url(),
            "MQTT_URL": mqtt.url(),
        }
        for name in ("KAFKA_BROKERS", "DATABASE_URL", "MQTT_URL"):
            show(f"  {name}={environment[name]}")
        host, configs = str(build / "bin" / "pipeline-host"), ROOT / "configs"
        alerts = running.enter_context(mqtt.subscribe("users/+/devices/+/alerts"))
        # The demo broker does not support compacted topics, in which the bridge stores its positions.
        more = {"iot": [], "bridge": ["--set", "sinks.topic.delivery=at_least_once"]}
        for name, sets in more.items():
            command = [host, "run", str(configs / f"{name}.yaml"), "--set", "http.listen=127.0.0.1:0", *sets]
            running.enter_context(process(command, folder / f"{name}.log", environment))
        wait_until(lambda: "connected to" in (folder / "bridge.log").read_text(), "the bridge to subscribe")
        show(f"\nRunning pipeline-host with configs/bridge.yaml and with configs/iot.yaml. Logs: {folder}")
        load = [str(build / "bin" / "load-tester"), "--rate", "500", "--duration", f"{seconds:g}s", "--verify", "--anomalies", "1",
                "--broken", "1", "--duplicates", "1", "--dead-letters", str(folder / "dead-letters" / "iot.ndjson"),
                "--dead-letters", f"kafka://{environment['KAFKA_BROKERS']}/iot-dead-letters"]  # fmt: skip
        show(f"load-tester {' '.join(load[1:])}\n")
        # The load tester receives Ctrl-C, too: it then stops sending and counts.
        tester = subprocess.Popen(load, env=environment, cwd=folder)
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                code = tester.wait()
                break
        show_alerts(alerts.messages)
        show_query(server)
        show(f"\nAll servers are stopped. Logs and dead letters: {folder}")
        return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    folder = Path(tempfile.gettempdir()) / f"pipeline-host-demo-{os.getuid()}" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        return run(arguments.build.resolve(), arguments.seconds, folder)
    except KeyboardInterrupt:
        show("\nStopped.")
        return 130
    except (ServiceError, TimeoutError) as error:
        show(f"\nerror: {error}\nLogs: {folder}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
