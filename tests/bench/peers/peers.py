#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Other programs on the same work: the topic and the table of bench.py, in alternating rounds with configs/iot.yaml.

    /usr/bin/python3 tests/bench/peers/peers.py
    /usr/bin/python3 tests/bench/peers/peers.py --only telegraf --messages 200000 --rounds 3

Telegraf is built from its module, through the module proxy that `go env GOPROXY` names. rsyslog comes from Debian's packages,
which are unpacked, not installed. Both are kept in the cache of the tests. A program that cannot be built is reported, the
others are measured, and the exit code is 1. README.md describes how each is configured, and what it does not do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import psycopg2  # noqa: E402
from bench import PARTITIONS, Bench  # noqa: E402
from common import JVM, ROOT, START, Result, Results, Settings, alternating, arguments, save, table  # noqa: E402

from services import Kafka, Mosquitto, ServiceError, Timescale  # noqa: E402
from services.cache import Run, made_once  # noqa: E402

TELEGRAF, TELEGRAF_VERSION = "github.com/influxdata/telegraf", "v1.37.2"
TELEGRAF_PARTS = "custom,inputs.kafka_consumer,outputs.postgresql,parsers.json_v2"
RSYSLOG_PACKAGES = ("rsyslog", "rsyslog-kafka", "rsyslog-pgsql", "libestr0", "libfastjson4", "liblognorm5")
PATIENCE = 1800  # seconds until all rows are stored


@dataclass
class Peer:
    command: list[str]  # {config}: the file
    config: str  # a template with $brokers, $topic, $group, $database, $folder
    environment: Mapping[str, str] = field(default_factory=dict)


def telegraf() -> Peer:
    go = shutil.which("go")
    if not go:
        raise ServiceError("Telegraf needs Go, which is not installed")

    def build(directory: Path, run: Run) -> None:
        downloaded = subprocess.run(
            [go, "mod", "download", "-json", f"{TELEGRAF}@{TELEGRAF_VERSION}"], capture_output=True, text=True, check=False
        )
        module = json.loads(downloaded.stdout or "{}")
        if downloaded.returncode != 0 or "Dir" not in module:
            raise ServiceError(f"{TELEGRAF}@{TELEGRAF_VERSION}: {module.get('Error', '')}{downloaded.stderr}")
        source = directory / "source"
        shutil.copytree(module["Dir"], source)  # the module cache is read-only
        run(["chmod", "-R", "u+w", source])
        run([go, "-C", source, "build", "-tags", TELEGRAF_PARTS, "-o", directory / "telegraf", "./cmd/telegraf"])
        shutil.rmtree(source)

    program = made_once(f"peer-telegraf-{TELEGRAF_VERSION}", build) / "telegraf"
    return Peer([str(program), "--config", "{config}"], (HERE / "telegraf.conf").read_text())


def rsyslog() -> Peer:
    def unpack(directory: Path, run: Run) -> None:
        packages = " ".join(RSYSLOG_PACKAGES)
        run(["sh", "-ec", f"cd {directory}; apt-get -q download {packages}; for p in *.deb; do dpkg -x $p .; rm $p; done"])

    root = made_once("peer-rsyslog-1", unpack)
    libraries = next((found.parent for found in root.rglob("libestr.so.0")), root)
    modules = next((found.parent for found in root.rglob("imkafka.so")), None)
    if modules is None:
        raise ServiceError(f"rsyslog: {root} contains no imkafka.so")
    command = [str(root / "usr" / "sbin" / "rsyslogd"), "-n", "-M", str(modules), "-i", "NONE", "-f", "{config}"]
    return Peer(command, (HERE / "rsyslog.conf").read_text(), {"LD_LIBRARY_PATH": str(libraries)})


PEERS: dict[str, Callable[[], Peer]] = {"telegraf": telegraf, "rsyslog": rsyslog}


class Process:
    """A running peer, with its CPU time and its memory."""

    def __init__(self, peer: Peer, folder: Path, values: Mapping[str, str]) -> None:
        config = folder / "peer.conf"
        config.write_text(Template(peer.config).substitute(values, folder=folder))
        self._log = folder / "peer.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [word.format(config=config) for word in peer.command],
                cwd=folder, env={**os.environ, **peer.environment}, stdout=log, stderr=log,
            )  # fmt: skip

    def check(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}:\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def rows(connection: psycopg2.extensions.connection, where: str = "") -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM raw_telemetry {where}")
        found = cursor.fetchone()
    return int(found[0]) if found else 0


def store(bench: Bench, peer: Peer, kafka: Kafka, topic: str, group: str, count: int) -> Result:
    """Let the peer store the topic. It is done when the last record of each partition is in the table."""
    bench.empty()
    last = f"WHERE time >= to_timestamp({START + count - PARTITIONS} / 1000.0)"
    values = {"brokers": kafka.brokers, "topic": topic, "group": group, "database": bench.url}
    with closing(psycopg2.connect(bench.url)) as connection, tempfile.TemporaryDirectory() as folder:
        connection.autocommit = True
        process = Process(peer, Path(folder), values)
        try:
            first = wait(process, lambda: rows(connection))
            began, cpu = time.monotonic(), process.cpu_seconds()
            wait(process, lambda: rows(connection, last) >= PARTITIONS)
            took, used = time.monotonic() - began, process.cpu_seconds() - cpu
            memory = process.peak_memory()
        finally:
            process.stop()
        stored = rows(connection)
        if stored < count:
            raise RuntimeError(f"{stored:,} of {count:,} rows are stored:\n{process.log()}")
    return {
        "rows_per_second": (count - first) / took,
        "cpu_us_per_row": used / max(count - first, 1) * 1e6,
        "peak_memory_mib": memory,
        "duplicates": float(stored - count),
    }


def wait(process: Process, done: Callable[[], int]) -> int:
    until = time.monotonic() + PATIENCE
    while not (found := done()):
        process.check()
        if time.monotonic() > until:
            raise RuntimeError(f"not stored after {PATIENCE} s:\n{process.log()}")
        time.sleep(0.05)
    return found


def measure(settings: Settings, built: Mapping[str, Peer]) -> Results:
    name = "peers"
    with Kafka(java_options=JVM) as kafka, Timescale() as database, Mosquitto() as mqtt:
        bench = Bench(kafka, database, mqtt, settings.messages, name=name)
        bench.pipeline([])  # creates the table
        groups = iter(range(1_000_000))
        cases: dict[str, Callable[[], Result]] = {"configs/iot.yaml": partial(bench.pipeline, [])}
        for peer_name, peer in built.items():
            cases[peer_name] = lambda p=peer, n=peer_name: store(bench, p, kafka, name, f"{n}-{next(groups)}", settings.messages)
        found = alternating(cases, settings.rounds)
    for result in found.values():
        result["of_ours"] = result["rows_per_second"] / found["configs/iot.yaml"]["rows_per_second"]
    return found


COLUMNS = [
    ("rows_per_second", "rows/s", ",.0f"), ("of_ours", "of iot.yaml", ".0%"), ("cpu_us_per_row", "CPU µs/row", ".2f"),
    ("peak_memory_mib", "peak MiB", ".0f"), ("duplicates", "duplicates", ",.0f"), ("spread", "spread", ".0%"),
]  # fmt: skip


def main() -> int:
    def options(parser: ArgumentParser) -> None:
        parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))

    parsed = arguments(__doc__, options)
    parsed.settings.messages = parsed.settings.few(parsed.settings.messages, 2_000)
    built: dict[str, Peer] = {}
    missing = []
    for name in parsed.only:
        try:
            built[name] = PEERS[name]()
        except (ServiceError, OSError) as error:
            print(f"{name} cannot be built on this machine: {error}", file=sys.stderr)
            missing.append(name)
    if built:
        found = measure(parsed.settings, built)
        table(found, COLUMNS)
        print(f"\n{ROOT / save({'peers': found}, parsed.settings)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
