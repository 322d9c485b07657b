# SPDX-License-Identifier: Apache-2.0
"""The program under test as a process: start, requests, signals, and its log."""

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

from crash_report import allow_core_files, backtrace, crash

from services import TIMEOUT, wait_until

SOURCE = Path(os.environ.get("PIPELINE_SOURCE_DIR", Path(__file__).parents[2]))
BUILD = Path(os.environ.get("PIPELINE_BUILD_DIR", SOURCE / "build" / "release"))
PROGRAM = BUILD / "bin" / "pipeline-host"
PLUGINS = BUILD / "lib" / "pipeline-host" / "plugins"


def configuration(directory: Path, **parts: object) -> Path:
    """Write a configuration file with `sources`, `transforms`, `sinks`, ..., as JSON, which is valid YAML."""
    directory.mkdir(exist_ok=True)
    file = directory / "pipeline.yaml"
    file.write_text(json.dumps({"name": "test", **parts}))
    return file


def ndjson(file: Path) -> list[dict[str, Any]]:
    """Return the rows that file_sink has written, without an incomplete last line."""
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
        self._report = ""
        self.may_crash = False  # for tests of crashes: a crash does not fail the test

    def start(self) -> Self:
        self._check_for_a_crash()
        with self.log_file.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                self._command, cwd=self.directory, env=self._environment, stdout=log, stderr=log,
                preexec_fn=allow_core_files,
            )  # fmt: skip
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        report = self.crash_report()
        if self._process and self._process.poll() is None:
            self.kill()
        if error is not None:
            print(self.log()[-8000:])
        if report:
            print(report)
            if error is None:
                raise AssertionError(report)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def signal(self, which: signal.Signals) -> None:
        self.process.send_signal(which)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait until the process ends, and return its exit code."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = TIMEOUT) -> int:
        """Send SIGTERM, as systemd and Kubernetes do, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        self._check_for_a_crash()
        self.process.kill()
        self.process.wait()

    def crash_report(self) -> str:
        """Return how the process died and the backtrace, if a signal ended it that no test sends; otherwise nothing."""
        name = crash(self._process.poll()) if self._process and not self.may_crash else ""
        if name and not self._report:
            trace = backtrace(Path(self._command[0]), self.directory)
            self._report = f"the host died by {name}; the end of its log:\n{self.log()[-4000:]}\n{trace}"
        return self._report if name else ""

    def _check_for_a_crash(self) -> None:
        """Fail before a crash is covered by a kill or a restart."""
        report = self.crash_report()
        self._report = ""
        assert not report, report

    def log(self) -> str:
        """Return the log of this run."""
        with self.log_file.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def messages(self) -> list[dict[str, str]]:
        lines = self.log().split("\n")[:-1]  # without an incomplete last line
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for_log(self, text: str, timeout: float = TIMEOUT) -> None:
        wait_until(lambda: text in self.log() or self._dead(), f"'{text}' in the log", timeout)
        assert text in self.log(), f"the host ended without logging '{text}':\n{self.log()}"

    def _dead(self) -> bool:
        return self.process.poll() is not None

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_memory(self) -> float:
        """Return the peak of the resident memory, in MiB."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    # The HTTP endpoint

    def get(self, path: str) -> tuple[int, str]:
        self.wait_for_log("metrics and health")
        found = re.search(r"http://([\d.:]+)/", self.log())
        assert found
        try:
            with urllib.request.urlopen(f"http://{found[1]}{path}", timeout=TIMEOUT) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_ready(self, ready: bool = True) -> None:
        """Wait until the host reports that it is ready, or not ready."""
        status = 200 if ready else 503
        wait_until(lambda: self._dead() or self.get("/health/ready")[0] == status, f"{status} for /health/ready")
        assert not self._dead(), self.log()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of all series with this name and these labels."""
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
        timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """Run the program with another verb, and return its output and exit code."""
    done = subprocess.run(
        [str(PROGRAM), *arguments], cwd=cwd, env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        capture_output=True, text=True, timeout=timeout, check=False, preexec_fn=allow_core_files,
    )  # fmt: skip
    if name := crash(done.returncode):
        trace = backtrace(PROGRAM, cwd or Path.cwd())
        raise AssertionError(f"{' '.join(arguments)} died by {name}:\n{done.stdout}{done.stderr}\n{trace}")
    return done
