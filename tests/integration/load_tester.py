# SPDX-License-Identifier: Apache-2.0
"""The load tester (tools/load-tester) for tests, and a stand-in for the pipeline between broker and database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline_host import BUILD

from services import Mosquitto, MqttMessage, Timescale, Worker

PROGRAM = BUILD / "bin" / "load-tester"
TELEMETRY = "users/+/devices/+/telemetry"
Reading = dict[str, Any]


class Outcome:
    """The exit code and the report of a run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def report(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.out))
        except ValueError:
            raise AssertionError(f"no report; exit code {self.code}\n{self.out}\n{self.err}") from None


class LoadTester:
    """One run in the background."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(PROGRAM), *arguments], env={**os.environ, **(environment or {})}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self, timeout: float = 300) -> Outcome:
        try:
            out, err = self.process.communicate(timeout=timeout)
        finally:
            self.process.kill()
        return Outcome(self.process.returncode, out, err)


def run(*arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 300) -> Outcome:
    return LoadTester(*arguments, environment=environment).wait(timeout)


class _Background:
    """Handles the messages of the devices' topics in a thread."""

    def __init__(self, mosquitto: Mosquitto) -> None:
        self._mosquitto = mosquitto
        self._stop = threading.Event()
        self._worker = Worker(self._run)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._subscription = self._mosquitto.subscribe(TELEMETRY)
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._worker.finish()
        self._subscription.close()
        if self._error and not error:
            raise self._error

    def _run(self) -> None:
        done = 0
        try:
            while not self._stop.is_set():
                messages = self._subscription.messages[done:]
                done += len(messages)
                if messages:
                    self.handle(messages)
                self._stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            self._error = error

    def handle(self, messages: Sequence[MqttMessage]) -> None:
        raise NotImplementedError


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Pipeline(_Background):
    """A stand-in for the whole pipeline that stores rows, raises alerts, writes dead letters, and can make errors.

    `change` is called with each reading and returns the readings to store: none, the same, or several.
    """

    def __init__(
        self,
        mosquitto: Mosquitto,
        timescale: Timescale,
        database: str,
        *,
        change: Callable[[Reading], Sequence[Reading]] = lambda reading: [reading],
        alerts: int = 1,
        letters: Path | None = None,
        keep_letter: Callable[[int], bool] = lambda number: True,
        rate: float | None = None,
    ) -> None:
        super().__init__(mosquitto)
        self._session = timescale.session(database)
        self._session.query(
            "CREATE TABLE raw_telemetry (time timestamptz NOT NULL, user_id text, device_id text,"
            " temperature double precision, humidity double precision, battery double precision, extra jsonb)"
        )
        self._change, self._alerts, self._rate = change, alerts, rate
        self._letters, self._keep_letter, self._rejected = letters, keep_letter, 0
        self._open: dict[str, int] = {}
        self._newest: dict[str, int] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._session.close()

    def handle(self, messages: Sequence[MqttMessage]) -> None:
        rows: list[Reading] = []
        for message in messages:
            reading = self._parse(message.payload)
            if reading is None:
                self._reject(message.payload)
                continue
            rows += self._change(reading)
            self._watch(reading)
        size = max(1, int(self._rate / 20)) if self._rate else 500
        for begin in range(0, len(rows), size):
            self._insert(rows[begin : begin + size])
            if self._rate:
                time.sleep(size / self._rate)

    @staticmethod
    def _parse(payload: bytes) -> Reading | None:
        try:
            reading = json.loads(payload)
            fine = isinstance(reading["time"], int) and isinstance(reading["temperature"], float)
            return dict(reading) if fine else None
        except (ValueError, KeyError, TypeError):
            return None

    def _reject(self, payload: bytes) -> None:
        self._rejected += 1
        if self._letters and self._keep_letter(self._rejected):
            with self._letters.open("a") as out:
                out.write(json.dumps({"reason": "broken", "value": payload.decode()}) + "\n")

    def _insert(self, rows: Sequence[Reading]) -> None:
        if not rows:
            return
        sql = (
            "INSERT INTO raw_telemetry SELECT to_timestamp((r->>'time')::numeric / 1000), r->>'user_id',"
            " r->>'device_id', (r->>'temperature')::float, (r->>'humidity')::float, (r->>'battery')::float,"
            " r - '{time,user_id,device_id,temperature,humidity,battery}'::text[]"
            " FROM jsonb_array_elements(%s::jsonb) AS r"
        )
        self._session.query(sql, json.dumps(rows))

    def _watch(self, reading: Reading) -> None:
        device, temperature = reading["device_id"], reading["temperature"]
        if reading["time"] < self._newest.get(device, 0):
            return  # as threshold_alert does
        self._newest[device] = reading["time"]
        if temperature > 80 and device not in self._open:
            self._open[device] = reading["time"]
            self._send("firing", self._open[device], reading)
        elif temperature < 75 and device in self._open:
            self._send("resolved", self._open.pop(device), reading)

    def _send(self, state: str, since: int, reading: Reading) -> None:
        user, device = reading["user_id"], reading["device_id"]
        alert = {
            "id": f"{device}-{since}", "rule": "overheating", "state": state, "severity": "critical",
            "user_id": user, "device_id": device, "since": _utc(since), "time": _utc(reading["time"]),
        }  # fmt: skip
        for _ in range(self._alerts):
            self._mosquitto.publish(f"users/{user}/devices/{device}/alerts", json.dumps(alert))
