"""The Java program, and jars from Maven, for servers that run on the JVM."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .base import find_program
from .cache import Run, cache_directory, locked

Artifact = tuple[str, str, str]


def java_program() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin/java")) if home else find_program("java")


def copy_jars(artifacts: Iterable[Artifact], target: Path, run: Run) -> None:
    """Copy artifacts (group, name, version) and their dependencies into a folder with Maven."""
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
        for group, artifact, version in artifacts
    )
    target.mkdir()
    pom = target / "pom.xml"
    pom.write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>pipeline-host</groupId><artifactId>test-servers</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )
    maven = [find_program("mvn"), "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    with locked(cache_directory() / "maven.lock"):  # processes must not write to Maven's repository at the same time
        run([*maven, f"-DoutputDirectory={target}", "-DincludeScope=runtime"])
