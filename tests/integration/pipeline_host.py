# SPDX-License-Identifier: Apache-2.0
"""The program under test, as a process: started, asked, signalled, and what it said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services import PATIENCE, wait_until

SOURCE = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).parents[2]))
BUILD = Path(os.environ.get("PIPELINE_BUILD_DIR", SOURCE / "build" / "release"))
PROGRAM = BUILD / "bin" / "pipeline-host"
PLUGINS = BUILD / "lib" / "pipeline-host" / "plugins"


def configuration(directory: Path, **parts: object) -> Path:
    """A configuration file for `sources`, `transforms`, `sinks`, ...: JSON is YAML."""
    directory.mkdir(exist_ok=True)
    file = directory / "pipeline.yaml"
    file.write_text(json.dumps({"name": "test", **parts}))
    return file


def ndjson(file: Path) -> list[dict[str, Any]]:
    """What file_sink wrote; a last line that is just being written doesn't count."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def dead_letters(directory: Path, pipeline: str = "test") -> list[dict[str, Any]]:
    return ndjson(directory / "dead-letters" / f"{pipeline}.ndjson")


class PipelineHost:
    """One `pipeline-host run`, with logs in JSON and its endpoint on a free port."""

    def __init__(
        self,
        config: Path,
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        sets: Sequence[str] = (),
        arguments: Sequence[str] = (),
        build: Path = BUILD,
    ) -> None:
        self.directory = directory
        self.log_file = directory / "host.log"
        self._environment = {**os.environ, **(environment or {})}
        options = [f"--set={item}" for item in (*sets, "http.listen=127.0.0.1:0")]
        self._command = [
            str(build / "bin" / "pipeline-host"), "run", str(config), "--log-format", "json", *options, *arguments
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log_file.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, env=self._environment, stdout=log, stderr=log
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
        if error is not None:
            print(self.log()[-8000:])

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def signal(self, which: signal.Signals) -> None:
        self.process.send_signal(which)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, as systemd and Kubernetes send it, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """All that this run said."""
        with self.log_file.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def messages(self) -> list[dict[str, str]]:
        lines = self.log().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for_log(self, text: str, timeout: float = PATIENCE) -> None:
        wait_until(lambda: text in self.log() or self._dead(), f"'{text}' in the log", timeout)
        assert text in self.log(), f"the host ended without saying '{text}':\n{self.log()}"

    def _dead(self) -> bool:
        return self.process.poll() is not None

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> float:
        """The most that was ever resident, in MiB."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    # Its endpoint

    def get(self, path: str) -> tuple[int, str]:
        self.wait_for_log("metrics and health")
        found = re.search(r"http://([\d.:]+)/", self.log())
        assert found
        try:
            with urllib.request.urlopen(f"http://{found[1]}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, ready: bool = True) -> None:
        """Until it calls itself ready, or not ready."""
        status = 200 if ready else 503
        wait_until(lambda: self._dead() or self.get("/health/ready")[0] == status, f"{status} for /health/ready")
        assert not self._dead(), self.log()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if not found or found[1] != name:
                continue
            has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            if all(has.get(key) == value for key, value in labels.items()):
                total += float(found[3])
        return total


def run(*arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None,
        timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """The program with other verbs: what it printed, and its exit code."""
    return subprocess.run(
        [str(PROGRAM), *arguments], cwd=cwd, env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
