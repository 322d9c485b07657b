# SPDX-License-Identifier: Apache-2.0
"""Floods of records that cannot be processed, with the dead letters on a small disk, in complete hosts."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline_host import PROGRAM, PipelineHost, configuration, dead_letters, ndjson

from services import free_port, wait_until


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


def flooded(folder: Path, port: int, **dead_letter_options: object) -> Path:
    """A pipeline that accepts objects, and rejects all other JSON."""
    letters = {"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson", "batch": {"delay": "10ms"},
               "retry": {"initial": "10ms", "max": "100ms"}, **dead_letter_options}  # fmt: skip
    return configuration(
        folder,
        sources={"posted": {"plugin": "http_source", "listen": f"127.0.0.1:{port}", "path": "/t"}},
        transforms={"checked": {"plugin": "json_check", "from": "posted", "type": "object"}},
        sinks={"out": {"plugin": "file_sink", "from": "checked", "path": "out.ndjson", "fsync": "never"}},
        dead_letters=letters,
    )


class Sender:
    """Posts numbered records, every second of which is rejected: objects {"n":0} and lists [1]."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.next = 0

    def post(self, requests: int, records: int = 1000, padding: int = 0) -> None:
        for _ in range(requests):
            numbers = range(self.next, self.next + records)
            rows = (json.dumps([n, "x" * padding] if n % 2 else {"n": n}) for n in numbers)
            self._connection.request("POST", "/t", "\n".join(rows).encode(), {"Content-Type": "application/x-ndjson"})
            response = self._connection.getresponse()
            assert (response.status, json.loads(response.read())) == (200, {"taken": records})
            self.next += records


def good_in(folder: Path) -> list[int]:
    return sorted(json.loads(row["value"])["n"] for row in ndjson(folder / "out.ndjson"))


def numbers_in(text: str) -> list[int]:
    ranges = (part.partition("-") for part in text.split(",") if part)
    return [n for first, _, last in ranges for n in range(int(first), int(last or first) + 1)]


def rejected_in(folder: Path) -> collections.Counter[int]:
    """Return how often the dead letters have each position, and check the numbers that they state."""
    found: collections.Counter[int] = collections.Counter()
    for letter in dead_letters(folder):
        collapsed = (letter.get("record") or {}).get("$collapsed")
        positions = numbers_in(collapsed["positions"]) if collapsed else [letter["position"]]
        assert not collapsed or len(positions) == collapsed["records"]
        assert positions[0] == letter["position"]
        found.update(positions)
    return found


def test_a_flood_for_one_reason_is_collapsed(tmp_path: Path) -> None:
    port = free_port()
    config = flooded(tmp_path, port, collapse={"originals": 100, "per": "1h"})
    with PipelineHost(config, tmp_path) as host:
        host.wait_for_log("listening on http")
        sender = Sender(port)
        sender.post(50)
        wait_until(lambda: len(good_in(tmp_path)) == 25_000, "the good records")
        wait_until(lambda: rejected_in(tmp_path).total() == 25_000, "the dead letters")
        assert host.metric("pipeline_rejected_total", node="checked") == 25_000
        assert host.metric("pipeline_collapsed_total", node="checked") == 25_000 - 100
        host.wait_for_log("more than 100 records in 3600 s were rejected for one reason")
        assert host.stop() == 0
    letters = dead_letters(tmp_path)
    assert sum(letter.get("value") is not None for letter in letters) == 100
    assert len(letters) < 2000
    assert rejected_in(tmp_path) == collections.Counter(range(1, 50_000, 2))

    def verb(*words: str) -> str:
        return subprocess.run(
            [PROGRAM, "dead-letters", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stdout  # fmt: skip

    listed = verb("list", str(config), "--format", "ndjson")
    assert sum(json.loads(line)["count"] for line in listed.splitlines()) == 25_000
    planned = verb("retry", str(config), "--dry-run")
    assert "100 records to retry" in planned
    assert "left out: 24,900 records whose originals are not in the dead letters" in planned
    stream = letters[-1]["stream"]
    shown = verb("show", str(config), stream, "49999")
    assert re.search(r"^records +\d+ without their originals, at positions .*49999", shown, re.MULTILINE)


def test_good_records_are_delivered_while_the_disk_of_the_dead_letters_is_full(tmp_path: Path) -> None:
    port = free_port()
    config = flooded(tmp_path, port, when_full="discard", queue={"max_bytes": "256KiB"}, collapse={"originals": 0})
    disk = tmp_path / "dead-letters"
    with small_disk(disk, "256k"), PipelineHost(config, tmp_path) as host:
        host.wait_for_log("listening on http")
        sender = Sender(port)
        sender.post(5, padding=500)
        host.wait_for_log("No space left")
        for _ in range(5):  # the queue fills, too
            sender.post(5, padding=500)
            wait_until(lambda: len(good_in(tmp_path)) == sender.next / 2, "the good records, although the disk is full")
        wait_until(lambda: host.metric("pipeline_discarded_total", node="checked") > 0, "discarded records")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        host.wait_ready()
        sender.post(1)
        wait_until(lambda: rejected_in(tmp_path)[sender.next - 1] == 1, "a new dead letter")
        assert host.stop() == 0
        logged = [line for line in host.messages() if "LOST: " in line["message"]]
        lost = [n for line in logged for n in numbers_in(re.findall(r"positions ([0-9,-]+);", line["message"])[0])]
        kept = rejected_in(tmp_path)
    assert lost
    assert kept + collections.Counter(lost) == collections.Counter(range(1, sender.next, 2))
    assert good_in(tmp_path) == list(range(0, sender.next, 2))


def test_without_discard_the_source_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    port = free_port()
    config = flooded(tmp_path, port, queue={"max_bytes": "256KiB"}, collapse={"originals": 0})
    disk = tmp_path / "dead-letters"
    with small_disk(disk, "256k"), PipelineHost(config, tmp_path) as host:
        host.wait_for_log("listening on http")
        sender = Sender(port)
        sender.post(30, padding=500)
        host.wait_for_log("No space left")
        host.wait_ready(False)
        assert len(good_in(tmp_path)) < 15_000
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        wait_until(lambda: rejected_in(tmp_path).total() == 15_000, "all dead letters")
        wait_until(lambda: len(good_in(tmp_path)) == 15_000, "all good records")
        assert host.stop() == 0
        assert rejected_in(tmp_path) == collections.Counter(range(1, 30_000, 2))
