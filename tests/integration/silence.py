# SPDX-License-Identifier: Apache-2.0
"""A fleet of devices, and an oracle of its silences: what the alerts of `missing_for` must be, from what was sent when.

The oracle knows when each message was sent and acknowledged. A pause between two messages of a device that is certainly
longer than `missing_for` must raise one alert, one that is certainly shorter must not; for pauses in between, either is
correct. Time in which a push source could receive nothing does not count.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from services import Kafka, Mosquitto, Record, Worker
from services.kafka_client import Producer
from services.mqtt_client import Publisher

MISSING_FOR = 6.0
PERIOD = 0.7
DEVICES = [f"d{i}" for i in range(200)]
AHEAD, BEHIND = set(DEVICES[:10]), set(DEVICES[10:20])  # devices whose own clocks are wrong by 50 minutes
MISDATED = set(DEVICES[20:60])  # devices behind a producer whose clock is wrong


def reading(device: str) -> bytes:
    off = 3000 if device in AHEAD else -3000 if device in BEHIND else 0
    return json.dumps({"user_id": "u", "device_id": device, "time": time.time() + off, "temperature": 20}).encode()


class Transport(Protocol):
    """Sends a reading of each device, and returns the devices whose readings were acknowledged."""

    def send(self, devices: Sequence[str]) -> Iterable[str]: ...


class KafkaTransport:
    def __init__(self, kafka: Kafka, topic: str, *, misdated: bool = False) -> None:
        self._producer, self._topic, self._misdated = Producer(kafka.brokers, {}), topic, misdated

    def send(self, devices: Sequence[str]) -> Iterable[str]:
        wrong = int((time.time() - 1800) * 1000) if self._misdated else None
        records = [
            Record(reading(d), key=d.encode(), timestamp_ms=wrong if d in MISDATED else None) for d in devices
        ]
        self._producer.produce(self._topic, records, None, 60)
        return devices


class MqttTransport:
    def __init__(self, mosquitto: Mosquitto, topic: str) -> None:
        self._publisher, self._topic = Publisher(mosquitto._access()), topic

    def send(self, devices: Sequence[str]) -> Iterable[str]:
        self._publisher.publish([(f"{self._topic}/{d}", reading(d)) for d in devices], 1, False, 60)
        return devices


class HttpTransport:
    def __init__(self, port: int) -> None:
        self._port = port

    def send(self, devices: Sequence[str]) -> Iterable[str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with suppress(OSError, http.client.HTTPException):
            body = b"\n".join(reading(d) for d in devices)
            connection.request("POST", "/t", body, {"Content-Type": "application/x-ndjson"})
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return devices
        connection.close()
        return ()


@dataclass(frozen=True)
class Sent:
    begin: float
    end: float  # when it was acknowledged
    arrived: bool  # False: unknown


class Fleet:
    """Sends readings of all devices, except of those that are silent at the moment."""

    def __init__(self, transport: Transport) -> None:
        self.sent: dict[str, list[Sent]] = defaultdict(list)
        self._transport = transport
        self._silent: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._worker = Worker(self._run)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._worker.finish()

    def silence(self, devices: Iterable[str], on: bool = True) -> None:
        with self._lock:
            self._silent = self._silent | set(devices) if on else self._silent - set(devices)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    reporting = [d for d in DEVICES if d not in self._silent]
                begin = time.time()
                arrived = set(self._transport.send(reporting))
                end = time.time()
                for device in reporting:
                    self.sent[device].append(Sent(begin, end, device in arrived))
                self._stop.wait(max(0.0, begin + PERIOD - end))
        except BaseException as error:  # noqa: BLE001  reported by the test
            self.failure = error


class Silences:
    """Lets random devices of all fleets be silent for 13 to 18 s, one after the other, until it is closed."""

    def __init__(self, fleets: Sequence[Fleet], rng: random.Random) -> None:
        self._fleets, self._rng = fleets, rng
        self._stop = threading.Event()
        self._worker = Worker(self._run)

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all devices report again."""
        self._stop.set()
        self._worker.finish()

    def _run(self) -> None:
        ends: list[tuple[float, str]] = []
        while ends or not self._stop.is_set():
            now = time.time()
            for end, device in [e for e in ends if e[0] <= now]:
                ends.remove((end, device))
                for fleet in self._fleets:
                    fleet.silence([device], False)
            if not self._stop.is_set():
                device = self._rng.choice([d for d in DEVICES if d not in {e[1] for e in ends}])
                ends.append((now + self._rng.uniform(13, 18), device))
                for fleet in self._fleets:
                    fleet.silence([device])
            time.sleep(0.5)


@dataclass
class Down:
    """Periods in which a push source could not receive messages, at most: [from, to]."""

    periods: list[tuple[float, float]] = field(default_factory=list)

    def overlap(self, begin: float, end: float) -> float:
        return sum(max(0.0, min(end, to) - max(begin, from_)) for from_, to in self.periods)

    def settles_in(self, begin: float, end: float) -> bool:
        """Return whether queued messages may still have arrived within a pause."""
        return any(begin < to + MISSING_FOR and from_ < end and end < to + MISSING_FOR + 3 for from_, to in self.periods)


@dataclass
class Verdict:
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    expected: int = 0

    def __str__(self) -> str:
        return f"{self.expected} silences; false: {self.false}; missed: {self.missed}; other: {self.other}"

    @property
    def good(self) -> bool:
        return not self.false and not self.missed and not self.other


def pauses(sent: Sequence[Sent], down: Down | None, margin: float) -> tuple[int, int]:
    """Return how many pauses must raise an alert, and how many may."""
    must = may = 0
    known = [s for s in sent if s.arrived]
    for before, after in zip(known, known[1:], strict=False):
        longest = after.end - before.begin
        shortest = after.begin - before.end
        doubtful = any(not s.arrived and before.end <= s.begin <= after.begin for s in sent)
        if down is not None:
            shortest -= down.overlap(before.begin, after.end)
            doubtful = doubtful or down.settles_in(before.begin, after.end)
        if longest <= MISSING_FOR - margin:
            continue
        if shortest >= MISSING_FOR + margin and not doubtful:
            must += 1
        else:
            may += 1
    return must, may


def judge(fleet: Fleet, alerts: Sequence[dict[str, Any]], down: Down | None = None, margin: float = 3.0) -> Verdict:
    """Compare alerts, in the order in which they were stored, with what was sent."""
    verdict = Verdict()
    by_id: dict[str, list[str]] = defaultdict(list)
    by_device: dict[str, set[str]] = defaultdict(set)
    for alert in alerts:
        by_id[alert["id"]].append(alert["state"])
        by_device[alert["device_id"]].add(alert["id"])
    for alert, states in by_id.items():
        if states != ["firing", "resolved"]:
            verdict.other.append(f"{alert}: {states}")
    for device in DEVICES:
        must, may = pauses(fleet.sent[device], down, margin)
        found = len(by_device[device])
        verdict.expected += must
        if found < must:
            verdict.missed.append(f"{device}: {found} of {must}")
        if found > must + may:
            verdict.false.append(f"{device}: {found}, expected {must} to {must + may}")
    return verdict


def wait(seconds: float, *checks: Callable[[], None]) -> None:
    """Let time pass for the fleets, and run the checks every second."""
    until = time.time() + seconds
    while (left := until - time.time()) > 0:
        time.sleep(min(1.0, left))
        for check in checks:
            check()
