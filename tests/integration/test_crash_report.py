# SPDX-License-Identifier: Apache-2.0
"""A host that dies by a signal fails its test, and the report has the backtrace."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from pipeline_host import PipelineHost, configuration

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern").read_text().strip()


def host_in(directory: Path) -> PipelineHost:
    source = {"plugin": "simulator_source", "rate": 1}
    sink = {"plugin": "file_sink", "from": "in", "path": "out.ndjson", "fsync": "never"}
    return PipelineHost(configuration(directory, sources={"in": source}, sinks={"out": sink}), directory)


def crashed(host: PipelineHost) -> None:
    host.wait_ready()  # the lane runs
    host.signal(signal.SIGSEGV)
    assert host.wait() != 0


def check(report: str) -> None:
    assert "the host died by SIGSEGV" in report
    assert "starts 1 pipeline" in report, "the end of the log"
    if shutil.which("gdb") and not CORE_PATTERN.startswith(("|", "/")):
        assert "pl::engine::lane::run" in report, "the backtraces of all threads"


def test_a_crash_fails_the_test_and_leaves_a_backtrace(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as error, host_in(tmp_path) as host:
        crashed(host)
    check(str(error.value))
    assert not list(tmp_path.glob("core*"))


@pytest.mark.parametrize("then", ["start", "kill"])
def test_a_restart_or_a_kill_does_not_cover_a_crash(tmp_path: Path, then: str) -> None:
    host = host_in(tmp_path).start()
    crashed(host)
    with pytest.raises(AssertionError) as error:
        getattr(host, then)()
    check(str(error.value))


def test_an_ordered_kill_is_not_a_crash(tmp_path: Path) -> None:
    with host_in(tmp_path) as host:
        host.wait_for_log("starts 1 pipeline")
        host.kill()
        host.start()
        host.wait_for_log("starts 1 pipeline")
    assert host.crash_report() == ""
