#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the state of devices costs: simulated records through json_telemetry and threshold_alert, with 1,000 and with 1,000,000
devices.

    /usr/bin/python3 tests/bench/device_state.py
    /usr/bin/python3 tests/bench/device_state.py --build BEFORE AFTER --devices 1000 1000000 --seconds 60

No broker is needed. "store" keeps the state: `local` is the database in the state directory, beside a sink that discards the
rows; `timescale` is the transaction of the rows, exactly once. Time and CPU are measured after each device has sent a record, for
the given time, which includes several snapshots. devices.py measures the default pipeline with Kafka.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from pipeline_host import BUILD, PipelineHost, configuration  # noqa: E402
from services import Timescale  # noqa: E402

DATABASE = "device_state"
STOP = 120  # seconds; a host that does not stop within them is killed
RULES = [
    {"name": "overheating", "metric": "temperature", "above": 80, "clear_below": 75},
    {"name": "silent", "missing_for": "24h"},
]


def sinks(url: str | None) -> dict[str, object]:
    if url is None:
        return {"store": {"plugin": "file_sink", "from": "parsed", "path": "/dev/null"}}
    store = {"plugin": "timescale_sink", "from": "parsed", "url": url, "table": "raw_telemetry", "create": {},
             "delivery": "exactly_once", "batch": {"rows": 1000, "delay": "100ms"}}  # fmt: skip
    return {"store": store}


def measure(devices: int, seconds: float, url: str | None, build: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(
            Path(folder), memory_limit="1GiB", shutdown_timeout=f"{STOP}s",
            sources={"devices": {"plugin": "simulator_source", "users": devices // 2, "devices_per_user": 2, "rate": 0,
                                 "start": "2026-01-01T00:00:00Z", "step": "1us", "time_format": "us"}},
            transforms={"parsed": {"plugin": "json_telemetry", "from": "devices"},
                        "alerts": {"plugin": "threshold_alert", "from": "parsed", "rules": RULES}},
            sinks={**sinks(url), "out": {"plugin": "file_sink", "from": "alerts", "path": "alerts.ndjson"}},
        )  # fmt: skip
        with PipelineHost(config, Path(folder), build=build) as host:

            def stored() -> float:
                assert host.process.poll() is None, host.log()
                return host.metric("pipeline_records_out_total", node="store")

            while stored() < devices:
                time.sleep(0.05)
            began, first, cpu = time.monotonic(), stored(), host.cpu_seconds()
            time.sleep(seconds)
            rows, took, cpu = stored() - first, time.monotonic() - began, host.cpu_seconds() - cpu
            found = {
                "rows_per_second": rows / took,
                "us_per_row": took / rows * 1e6,
                "cpu_us_per_row": cpu / rows * 1e6,
                "peak_memory_mib": host.peak_memory(),
                "state_mib": host.metric("pipeline_alert_state_bytes") / (1 << 20),
            }
            stopping = time.monotonic()
            try:
                # 3: on a busy machine, the memory of a million devices takes longer to free than the host waits.
                assert host.stop(STOP) in (0, 3), host.log()
            except subprocess.TimeoutExpired:
                host.kill()
            return {**found, "stop": time.monotonic() - stopping}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="*", default=[1_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--build", type=Path, nargs="*", default=[BUILD])
    parser.add_argument("--store", nargs="*", choices=["local", "timescale"], default=["local", "timescale"])
    arguments = parser.parse_args()
    print(f"{'build':<28}{'store':<11}{'devices':>10}{'rows/s':>9}{'us/row':>8}{'us CPU/row':>12}{'peak MiB':>10}"
          f"{'of state':>10}{'entries':>9}{'MiB':>7}{'stop s':>8}")  # fmt: skip
    for store in arguments.store:
        for devices in arguments.devices:
            for build in arguments.build:
                with ExitStack() as stack:
                    database = stack.enter_context(Timescale()) if store == "timescale" else None
                    url = database.create_database(DATABASE) if database else None
                    r = measure(devices, arguments.seconds, url, build.resolve())
                    entries, size = 0, 0.0
                    if database:
                        entries, size = database.query(
                            "SELECT count(*), pg_total_relation_size('pipeline_state') / 1048576.0 FROM pipeline_state",
                            database=DATABASE,
                        )[0]
                    print(f"{str(build)[-27:]:<28}{store:<11}{devices:>10,}{r['rows_per_second']:>9,.0f}{r['us_per_row']:>8.2f}"
                          f"{r['cpu_us_per_row']:>12.2f}{r['peak_memory_mib']:>10.0f}{r['state_mib']:>10.0f}{entries:>9,}"
                          f"{float(size):>7.0f}{r['stop']:>8.1f}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
