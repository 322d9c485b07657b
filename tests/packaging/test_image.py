# SPDX-License-Identifier: Apache-2.0
"""Tests of docker/Dockerfile without a container engine.

The files that it copies are enough for a build. The steps of its last stage, run in a plain Debian system of this
machine's release, lead to a host that works for an unprivileged user on a read-only system. In the image's own release:
scripts/test_on_debian.py trixie packaging.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from plain_debian import SOURCE, PlainDebian

from services import free_port, wait_until


class Dockerfile:
    """The instructions of a Dockerfile by stage and name, without comments and line continuations."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        self.stages = [
            [(words[0], words[1].strip()) for line in stage.splitlines() if len(words := line.split(None, 1)) == 2]
            for stage in re.split(r"^(?=FROM )", text, flags=re.MULTILINE)
            if stage.strip()
        ]

    def all(self, name: str, stage: int = -1) -> list[str]:
        return [rest for instruction, rest in self.stages[stage] if instruction == name]

    def one(self, name: str) -> str:
        (rest,) = self.all(name)
        return rest


DOCKERFILE = Dockerfile((SOURCE / "docker/Dockerfile").read_text())


def test_both_stages_begin_with_the_same_debian() -> None:
    first, last = (DOCKERFILE.all("FROM", stage)[0].split()[0] for stage in (0, -1))
    assert first == last
    assert re.fullmatch(r"debian:13\.\d+-slim", first)


def test_the_copied_files_are_enough_for_a_build(tmp_path: Path) -> None:
    seen = (SOURCE / "docker/Dockerfile.dockerignore").read_text().splitlines()
    for line in DOCKERFILE.all("COPY", 0):
        *sources, target = line.split()
        for source in sources:
            assert f"!{source}".rstrip("/") in seen or any(source.startswith(kept[1:]) for kept in seen if kept[0] == "!")
            to = tmp_path / target / Path(source).name if target.endswith("/") else tmp_path / target
            if (SOURCE / source).is_dir():
                shutil.copytree(SOURCE / source, to)
            else:
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(SOURCE / source, to)
    configure = next(line for line in DOCKERFILE.all("RUN", 0) if line.startswith("cmake")).split("&&")[0]
    done = subprocess.run(
        shlex.split(configure), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "build/release/CPackConfig.cmake").exists()
    targets = subprocess.run(["ninja", "-C", tmp_path / "build/release", "-n"], stdout=subprocess.PIPE, text=True, check=False)
    assert targets.returncode == 0, targets.stdout  # no source is missing


def test_the_image_works(packages: dict[str, Path], system: PlainDebian) -> None:
    system.path("/packages").mkdir()
    shutil.copy(packages["pipeline-host"], system.path("/packages"))
    for command in DOCKERFILE.all("RUN"):
        system.run("/bin/bash", "-euo", "pipefail", "-c", re.sub(r"--mount=\S+", "", command))
    for line in DOCKERFILE.all("COPY"):
        *_, source, target = line.split()
        shutil.copy(SOURCE / source, system.path(target))
        system.path(target).chmod(0o755)
    user, _, group = DOCKERFILE.one("USER").partition(":")
    assert user == group
    state = DOCKERFILE.one("WORKDIR")
    where = {"user": int(user), "cwd": state, "writable": state}
    assert json.loads(DOCKERFILE.one("VOLUME")) == [state]
    assert "Read-only file system" in system.run("touch", "/tmp/x", ok=False, **where)

    entry = json.loads(DOCKERFILE.one("ENTRYPOINT"))
    command = json.loads(DOCKERFILE.one("CMD"))
    health = json.loads(DOCKERFILE.one("HEALTHCHECK").rpartition("CMD ")[2])
    port = str(free_port())
    here = [word.replace("0.0.0.0:9464", f"127.0.0.1:{port}") for word in command]
    assert here != command

    assert system.run(*health, port, ok=False, **where).endswith("1")  # no host runs yet
    ready = [word.replace("iot.yaml", "quickstart.yaml") for word in here]
    with system.running(*entry, *ready, **where) as host:
        wait_until(lambda: system.run(*health, port, ok=False, **where).endswith("}\n0"), "readiness")
        assert '"ready":true' in system.run(*health, port, **where)
        assert host.stop() == 0, host.log()
    assert (system.path(state) / "quickstart.db").stat().st_uid == int(user)

    nobody = {"KAFKA_BROKERS": f"127.0.0.1:{free_port()}"}
    with system.running(*entry, *here, environment=nobody, **where) as host:
        host.wait_for_log("metrics and health")
        output = system.run(*health, port, ok=False, **where)
        assert '"ready":false' in output, output
        assert output.endswith("1")
        host.stop()
