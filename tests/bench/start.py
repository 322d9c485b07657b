#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Time from the start of configs/iot.yaml to the first row, with 1,000 records in the topic.

    /usr/bin/python3 tests/bench/start.py

The database is asked every 2 ms. At the first start, the host creates the table and joins a new group. The other starts
continue a known group: after SIGTERM, and after SIGKILL.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import psycopg2
from common import JVM, ROOT, Result, Results, Settings, medians, messages, program, table

from services import Kafka, Mosquitto, Timescale, wait_until

PARTITIONS, RECORDS = 4, 1_000


def has_row(connection: psycopg2.extensions.connection) -> bool:
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT 1 FROM raw_telemetry LIMIT 1")
        except psycopg2.errors.UndefinedTable:
            return False
        return cursor.fetchone() is not None


def one_round(kafka: Kafka, timescale: Timescale, mqtt: Mosquitto, folder: Path, name: str) -> dict[str, Result]:
    from pipeline_host import PipelineHost

    kafka.create_topic(name, PARTITIONS)
    url = timescale.create_database(name)
    environment = {"KAFKA_BROKERS": kafka.brokers, "DATABASE_URL": url, "MQTT_URL": mqtt.url()}
    sets = [f"sources.telemetry.topic={name}", f"sources.telemetry.group={name}"]
    folder.mkdir()
    found = {}
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        for number, case in enumerate(("first start", "start after SIGTERM", "start after SIGKILL")):
            kafka.produce(name, messages(range(number * RECORDS, (number + 1) * RECORDS)))
            if number:
                timescale.execute("TRUNCATE raw_telemetry", database=name)
            began = time.monotonic()
            with PipelineHost(ROOT / "configs/iot.yaml", folder, environment=environment, sets=sets) as host:
                while not has_row(connection):
                    assert host.process.poll() is None, host.log()
                    assert time.monotonic() < began + 120, host.log()
                    time.sleep(0.002)
                found[case] = {"seconds_to_first_row": time.monotonic() - began}
                wait_until(lambda h=host: h.metric("pipeline_records_out_total", node="store") >= RECORDS, "all rows", 60)
                if case == "first start":
                    assert host.stop() == 0, host.log()
                else:
                    host.kill()
    return found


def measure(settings: Settings) -> Results:
    runs: dict[str, list[Result]] = defaultdict(list)
    with (
        Kafka(java_options=JVM) as kafka, Timescale() as timescale, Mosquitto() as mqtt, tempfile.TemporaryDirectory() as folder
    ):  # fmt: skip
        for turn in range(settings.rounds):
            name = f"start{turn}"
            for case, result in one_round(kafka, timescale, mqtt, Path(folder) / name, name).items():
                runs[case].append(result)
    return {name: medians(all_of) for name, all_of in runs.items()}


SIZE = "1,000 records"  # below the table in docs/performance.md
COLUMNS = [("seconds_to_first_row", "s to first row", ".3f")]


def show(found: Results) -> None:
    table(found, COLUMNS)


if __name__ == "__main__":
    sys.exit(program(__doc__, measure, show))
