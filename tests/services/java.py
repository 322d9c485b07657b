"""Servers that run on the JVM: the program, and jars from Maven."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .base import find_program
from .cache import Run

Artifact = tuple[str, str, str]


def java_program() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin/java")) if home else find_program("java")


def copy_jars(artifacts: Iterable[Artifact], target: Path, run: Run) -> None:
    """Has Maven put artifacts (group, name, version), and what they need, into a folder."""
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
    run([*maven, f"-DoutputDirectory={target}", "-DincludeScope=runtime"])
