# SPDX-License-Identifier: Apache-2.0
"""Tests of the Debian packages: lintian, installation in a plain Debian system, a run like the unit's, removal."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from plain_debian import BUILD, SOURCE, UID, PlainDebian

from services import free_port, wait_until

UNIT = "/usr/lib/systemd/system/pipeline-host@.service"
STATE = "/var/lib/pipeline-host/check"


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def commands_of(unit: str, instance: str) -> dict[str, list[str]]:
    """Return the commands that the service manager would execute."""
    found = re.findall(r"^(Exec\w+)=(.*)$", unit, re.MULTILINE)
    return {name: command.replace("%i", instance).split() for name, command in found}


def test_lintian_finds_nothing(packages: dict[str, Path]) -> None:
    run("lintian", "--allow-root", "--fail-on", "error,warning", *packages.values())


def test_the_bill_of_materials_lists_what_the_package_needs(packages: dict[str, Path], tmp_path: Path) -> None:
    package = packages["pipeline-host"]
    run("dpkg-deb", "-x", package, tmp_path)
    bill = json.loads((tmp_path / "usr/share/doc/pipeline-host/sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    libraries = {c["name"]: c["version"] for c in bill["components"] if c["type"] == "library"}
    needed = {dependency.split()[0] for dependency in run("dpkg-deb", "-f", package, "Depends").split(",")}
    virtual = run("dpkg-query", "-W", "-f", "${Provides},", *libraries)  # libspdlog1.10 provides libspdlog1.10-fmt9
    provided = {name.split()[0] for name in virtual.split(",") if name.strip()}
    assert needed - set(libraries) - provided == set()
    assert all(libraries.values())
    files = {c["name"]: c["hashes"][0]["content"] for c in bill["components"] if c["type"] == "file"}
    assert {"pipeline-host", "http_source.so", "kafka_source.so"} <= set(files)
    program = tmp_path / "usr/bin/pipeline-host"
    assert hashlib.sha256(program.read_bytes()).hexdigest() == files["pipeline-host"]


def packed(where: Path, epoch: int) -> dict[str, bytes]:
    """Make the packages from the build tree, and return them by name."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    command = ["cpack", "--config", str(BUILD / "CPackConfig.cmake"), "-B", str(where)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {file.name: file.read_bytes() for file in where.glob("*.deb")}


def test_packages_are_reproducible(tmp_path: Path) -> None:
    first = packed(tmp_path / "first", 1_700_000_000)
    second = packed(tmp_path / "a folder with another name", 1_700_000_000)
    assert len(first) == 2
    for name, package in first.items():
        assert package == second[name], f"{name} differs"


def test_no_file_depends_on_the_folder_in_which_it_was_built(packages: dict[str, Path], tmp_path: Path) -> None:
    for package in packages.values():
        run("dpkg-deb", "-x", package, tmp_path)
    folders = [str(folder.resolve()).encode() for folder in (SOURCE, BUILD)]
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 50
    assert [file.name for file in files if any(folder in file.read_bytes() for folder in folders)] == []


def test_the_manual_page_has_every_verb() -> None:
    page = (SOURCE / "cmake/packaging/pipeline-host.1.in").read_text().replace("\\-", "-")
    subcommands = run(BUILD / "bin/pipeline-host", "--help").partition("Subcommands:\n")[2].partition("\n\n")[0]
    verbs = re.findall(r"^  (\S+)", subcommands, re.MULTILINE)
    assert len(verbs) > 5
    assert [verb for verb in verbs if f".B {verb}\n" not in page] == []


def test_the_unit_is_valid_and_confined(tmp_path: Path) -> None:
    unit = (SOURCE / "cmake/packaging/pipeline-host@.service").read_text()
    file = tmp_path / "pipeline-host@check.service"
    file.write_text(unit.replace("/usr/bin/pipeline-host", "/bin/true"))  # the program is not installed on this machine
    assert run("systemd-analyze", "verify", "--man=no", file) == ""
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", file)  # at most 1.5 of 10; lower is better
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop
    assert int(stop[1]) > 30 + 10  # shutdown_timeout, and the time that plugins may take after it


def test_a_plugin_is_built_against_the_packages(packages: dict[str, Path], tmp_path: Path) -> None:
    for package in packages.values():
        run("dpkg-deb", "-x", package, tmp_path / "system")
    source, build = tmp_path / "system/usr/share/doc/pipeline-host-dev/examples/external_plugin", tmp_path / "build"
    run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={tmp_path / 'system/usr'}")
    run("cmake", "--build", build)
    run("ctest", "--test-dir", build, "--output-on-failure")


def test_installed_run_and_removed(packages: dict[str, Path], system: PlainDebian) -> None:
    package = packages["pipeline-host"]
    system.apt("satisfy", run("dpkg-deb", "-f", package, "Depends").strip())
    before = system.files()

    shutil.copy(package, system.path("/tmp/pipeline-host.deb"))
    assert "1 newly installed" in system.apt("install", "/tmp/pipeline-host.deb")
    assert system.run("pipeline-host", "--version").strip()
    configurations = sorted(system.path("/etc/pipeline-host").glob("*.yaml"))
    assert configurations
    for file in configurations:
        system.run("pipeline-host", "validate", f"/etc/pipeline-host/{file.name}", user=UID)

    run_as_the_unit_does(system)
    assert rejected_calls(system, packages["pipeline-host"].parent / "trace") == set()

    # An administrator's changes and the program's data remain after `remove`.
    changed = system.path("/etc/pipeline-host/iot.yaml")
    changed.write_text(changed.read_text() + "# ours\n")
    system.apt("remove", "pipeline-host")
    assert not system.path("/usr/bin/pipeline-host").exists()
    assert changed.read_text().endswith("# ours\n")
    assert system.path(f"{STATE}/records.ndjson").exists()

    system.path("/etc/pipeline-host/check.yaml").unlink()  # created by this test, not by the package
    system.apt("purge", "pipeline-host")
    assert system.files() - before == set()
    assert before - system.files() == set()
    assert "pipeline-host" not in system.run("dpkg-query", "-W", "-f", "${Package}\n")


def set_of_calls(name: str) -> set[str]:
    """Return the system calls in one of systemd's sets, such as @system-service."""
    found = set[str]()
    for line in run("systemd-analyze", "syscall-filter", name).splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= set_of_calls(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def rejected_calls(system: PlainDebian, trace: Path) -> set[str]:
    """Return the host's system calls that the unit's SystemCallFilter would reject.

    No service manager runs in the tests.
    """
    allowed = set[str]()
    for words in re.findall(r"^SystemCallFilter=(.*)$", system.path(UNIT).read_text(), re.MULTILINE):
        calls = set[str]().union(*(set_of_calls(word) for word in words.lstrip("~").split()))
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    configurations = [f"/etc/pipeline-host/{file.name}" for file in system.path("/etc/pipeline-host").glob("*.yaml")]
    strace = ["strace", "-f", "-o", str(trace)]
    with system.running(
        "/usr/bin/pipeline-host", "run", "--set", "http.listen=127.0.0.1:0", "--log-level", "debug", *configurations,
        prefix=strace, user=UID, cwd=STATE, writable=STATE,
    ) as host:  # fmt: skip
        host.wait_for_log("metrics and health")
        quickstart = system.path(STATE) / "quickstart.db"
        wait_until(lambda: quickstart.exists() and " connect(" in trace.read_text(errors="replace"), "a connection")
        program = int(re.findall(r'^(\d+) +execve\("/usr/bin/pipeline-host"', trace.read_text(errors="replace"), re.M)[-1])
        os.kill(program, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{program}").exists(), "the end of the host")
    _, _, traced = trace.read_text(errors="replace").rpartition('execve("/usr/bin/pipeline-host"')
    used = set(re.findall(r"^\d+ +(\w+)\(", traced, re.MULTILINE))
    assert {"openat", "write", "fdatasync"} <= used
    return used - allowed


def run_as_the_unit_does(system: PlainDebian) -> None:
    commands = commands_of(system.path(UNIT).read_text(), "check")
    port = free_port()
    system.path("/etc/pipeline-host/check.yaml").write_text(
        json.dumps(
            {
                "name": "check",
                "http": {"listen": f"127.0.0.1:{port}"},
                "sources": {"devices": {"plugin": "simulator_source", "rate": 500, "faults": {"broken": 2}}},
                "transforms": {"parsed": {"plugin": "json_telemetry", "from": "devices"}},
                "sinks": {"store": {"plugin": "file_sink", "from": "parsed", "path": "records.ndjson"}},
                "dead_letters": {"plugin": "file_sink", "path": "dead-letters/{pipeline}.ndjson"},
            }
        )
    )
    state = system.path(STATE)
    state.mkdir(parents=True)
    os.chown(state, UID, UID)
    where = {"user": UID, "cwd": STATE, "writable": STATE}

    system.run(*commands["ExecStartPre"], **where)
    with system.running(*commands["ExecStart"], **where) as host:
        wait_until(lambda: (state / "dead-letters/check.ndjson").exists(), "a dead letter")
        run("sh", "-c", f"MAINPID={host.pid}; {' '.join(commands['ExecReload'][2:]).replace('$$', '$').strip(chr(39))}")
        host.wait_for_log("configuration reloaded")
        assert host.stop() == 0, host.log()
    records = (state / "records.ndjson").read_text().splitlines()
    letters = (state / "dead-letters/check.ndjson").read_text().splitlines()
    assert records
    assert all(json.loads(line)["device_id"] for line in records)
    assert all(json.loads(line)["reason"] for line in letters)
    assert {file.stat().st_uid for file in state.rglob("*")} == {UID}
