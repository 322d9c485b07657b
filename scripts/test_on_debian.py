#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build and test the committed tree in a bare Debian of a given release, with the commands of README.md.

    scripts/test_on_debian.py trixie                       all steps
    scripts/test_on_debian.py bookworm build unit          only these steps
    scripts/test_on_debian.py trixie demo --empty-cache    measure the time of a first build

The system is a copy of a fresh debootstrap and is removed at the end. The script requires root and the packages of
`scripts/install-deps.sh test`. The last line is: "tests: N passed, M failed".
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "packaging")]

from plain_debian import PlainDebian, plain_debian  # noqa: E402

from services import debian  # noqa: E402
from services.cache import cache_directory  # noqa: E402

CLONE = "/root/pipeline-host"
PREFIX = "/root/pipeline"
CACHE = "/root/.cache"


class StepError(Exception):
    """A command failed. Its output has been printed."""


class Machine:
    """A bare Debian that contains the tree. Commands run as root in the tree, each with its own mount namespace."""

    def __init__(self, system: PlainDebian, release: str, binds: dict[Path, str]) -> None:
        self.root = system.root
        self.release = release
        # `unshare --mount` inside requires a root that is a mount point.
        self._mounts = [f"mount --bind {self._quoted('/')} {self._quoted('/')}", f"mount -t proc proc {self._quoted('/proc')}", f"mount --rbind /dev {self._quoted('/dev')}"]
        for outside, inside in binds.items():
            self.path(inside).mkdir(parents=True)
            self._mounts.append(f"mount --bind {shlex.quote(str(outside))} {self._quoted(inside)}")
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            **debian.apt_environment(),
            **{name: os.environ[name] for name in ("CI", "JOBS") if name in os.environ},
        }

        if proxy := self._environment.get("http_proxy"):  # for programs that call apt, such as the tests
            self.path("/etc/apt/apt.conf.d/proxy").write_text(f'Acquire::http::Proxy "{proxy}";\n')

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    def _quoted(self, inside: str) -> str:
        return shlex.quote(str(self.path(inside)))

    def copy_tree(self) -> None:
        target = self.path(CLONE)
        target.mkdir(parents=True)
        with subprocess.Popen(["git", "-C", ROOT, "archive", "HEAD"], stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", target], stdin=archive.stdout, check=True)
        if archive.returncode != 0:
            raise StepError(f"git archive failed: {ROOT} must be a git clone")

    def run(self, command: str, on_line: Callable[[str], None] = lambda _: None) -> str:
        """Run a shell command, print its output, and return the output."""
        print(f"$ {command}", flush=True)
        inside = shlex.join(["env", "-C", CLONE, "bash", "-euo", "pipefail", "-c", command])
        steps = ["set -e", *self._mounts, f"exec chroot {self._quoted('/')} {inside}"]
        output = []
        with subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", "\n".join(steps)], env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                on_line(line)
                output.append(line)
        if process.returncode != 0:
            raise StepError(f"exit code {process.returncode}: {command}")
        return "".join(output)


def demo(machine: Machine) -> None:
    started = time.monotonic()

    def note(line: str) -> None:
        if line.startswith("load-tester --"):  # the load tester starts to send
            print(f"=== first record after {time.monotonic() - started:.0f} s", flush=True)

    machine.run("make demo DEMO_SECONDS=10", note)


def build(machine: Machine) -> None:
    machine.run("make build")


def ctest(machine: Machine, selection: str) -> str:
    machine.run("scripts/install-deps.sh build test")
    machine.run("cmake --preset release -DPIPELINE_BUILD_TESTS=ON >/dev/null && cmake --build --preset release")
    return machine.run(f"scripts/run_tests.py --test-dir build/release {selection} || true")


def unit(machine: Machine) -> str:
    return ctest(machine, "-L unit -j $((2 * $(nproc) + 1))")  # as in scripts/test.sh


def cli(machine: Machine) -> str:
    return ctest(machine, "-R '^integration.cli$'")


def packaging(machine: Machine) -> str:
    return ctest(machine, "-L packaging")


def quickstart_commands() -> str:
    """Return the commands of README.md, on any free port: the default port may be in use on the machine."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    any_port = 'pipeline-host() { if [[ $1 == run ]]; then set -- "$@" --set http.listen=127.0.0.1:0; fi; command pipeline-host "$@"; }'
    return "\n".join(["apt-get -q -y install sqlite3 >/dev/null", any_port, *blocks])


def quickstart(machine: Machine) -> None:
    machine.run(f"make install PREFIX={PREFIX}")
    machine.run(f"export PATH={PREFIX}/bin:$PATH\n{quickstart_commands()}")


def packages(machine: Machine) -> None:
    """Build the packages with `make deb` and install them in another system, without the build."""
    machine.run("make deb")
    with plain_debian(machine.release) as system:
        user = Machine(system, machine.release, {})
        user.copy_tree()
        (made,) = machine.path(f"{CLONE}/build/release/packages").glob("pipeline-host_*.deb")
        shutil.copy(made, user.path("/tmp"))
        user.run(f"apt-get -q -y --no-install-recommends install /tmp/{made.name}")
        user.run(quickstart_commands())


STEPS: dict[str, Callable[[Machine], str | None]] = {
    "demo": demo, "build": build, "quickstart": quickstart, "unit": unit, "cli": cli, "packages": packages,
    "packaging": packaging,
}  # fmt: skip


def count(step: Callable[[Machine], str | None], machine: Machine) -> tuple[int, int]:
    """Run a step and return how many tests passed and failed. A step without its own count counts as one test."""
    try:
        report = step(machine)
    except StepError as error:
        print(f"=== {error}", flush=True)
        return 0, 1
    if report is None:
        return 1, 0
    found = re.findall(r"^tests: (\d+) passed, (\d+) failed$", report, re.MULTILINE)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", help="a release that debootstrap supports, such as bookworm or trixie")
    parser.add_argument("steps", nargs="*", metavar="step", help=f"{', '.join(STEPS)} (default: all)")
    parser.add_argument("--empty-cache", action="store_true", help="do not use the compiler cache of earlier runs")
    arguments = parser.parse_args()
    if unknown := set(arguments.steps) - set(STEPS):
        parser.error(f"unknown step: {', '.join(sorted(unknown))}")

    base = debian.plain_root(arguments.release)  # the packaging tests in the system need it as well
    binds = {base: f"{CACHE}/pipeline-host/{base.name}"}
    if not arguments.empty_cache:
        compiled = cache_directory() / f"ccache-{arguments.release}"
        compiled.mkdir(exist_ok=True)
        binds[compiled] = f"{CACHE}/ccache"
    passed, failed, timings = 0, 0, []
    with plain_debian(arguments.release) as system:
        machine = Machine(system, arguments.release, binds)
        machine.copy_tree()
        machine.run("apt-get -q -y install make")
        for name in arguments.steps or STEPS:
            started = time.monotonic()
            good, bad = count(STEPS[name], machine)
            passed, failed = passed + good, failed + bad
            timings.append(f"=== {arguments.release}: {name}: {good} passed, {bad} failed, {time.monotonic() - started:.0f} s")
            print(timings[-1], flush=True)
    print("\n".join(["", *timings, f"tests: {passed} passed, {failed} failed"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
