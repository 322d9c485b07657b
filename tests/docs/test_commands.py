# SPDX-License-Identifier: Apache-2.0
"""Checks of the documentation: run commands, validate configurations, look up snippets and links.

In README.md, docs/, examples/ and the plugins' READMEs:
  ```sh       is run, block after block, in a separate folder like a fresh clone (configs/, examples/), with
              pipeline-host in PATH and its prefix in $PREFIX
  ```console  is not run; each command after "$ " must be listed in NOT_RUN
  ```yaml     is validated if it is a complete pipeline
  ```cpp, c, cmake   must be in examples/ unchanged
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from running import SOURCE_DIR, run

# Commands that are shown but not run, and the reason.
NOT_RUN = {
    "make": "builds this tree, which the caller of these tests has done",
    "git": "clones this tree",
    "sudo": "changes the machine",
    "systemctl": "needs a service manager",
    "export": "sets variables for commands that are not run",
    "source": "sets up an interactive shell; docs/cli.md runs it",
    "tail": "shows a file of a running host",
    "curl": "sends a request to a running host",
    "pipeline-host": "does not end, needs servers, or prints a help text that test_reference.py compares",
    "load-tester": "needs a broker",
    "psql": "needs a database",
    "kafka-consumer-groups.sh": "needs Kafka",
    "ctest": "runs these tests",
    "cd": "goes to the top of a clone; what runs these tests has its own folder",
    "cmake": "builds this tree",
}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    found = [SOURCE_DIR / "README.md", SOURCE_DIR / "CONTRIBUTING.md"]
    for folder, pattern in (("docs", "**/*.md"), ("examples", "**/*.md"), ("plugins", "*/README.md")):
        found += sorted((SOURCE_DIR / folder).glob(pattern))
    return [page.relative_to(SOURCE_DIR) for page in found]


FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path) -> Iterator[Block]:
    text = (SOURCE_DIR / page).read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(page, line, found[2], textwrap.dedent(found[3]))


ALL = [block for page in pages() for block in blocks_of(page)]


def blocks(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the configurations and examples that a reader has."""
    for folder in ("configs", "examples"):
        shutil.copytree(SOURCE_DIR / folder, tmp_path / folder)
    return tmp_path


@pytest.fixture
def environment(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose pipeline-host listens on any free port, since the default port may be in use."""
    bin_dir = tmp_path_factory.mktemp("bin")
    program = bin_dir / "pipeline-host"
    program.write_text(
        f"""#!/bin/sh
case $1 in
  run) exec '{prefix}/bin/pipeline-host' "$@" --set http.listen=127.0.0.1:0 ;;
  *) exec '{prefix}/bin/pipeline-host' "$@" ;;
esac
"""
    )
    program.chmod(0o755)
    return {"PATH": f"{bin_dir}:{os.environ['PATH']}", "PREFIX": str(prefix)}


# Pages whose commands a newcomer repeats in the same folder.
REPEATED = {Path("README.md"), Path("docs/getting-started.md")}


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("sh")}), ids=str)
def test_the_commands_of_a_page_succeed(page: Path, environment: dict[str, str], clone: Path) -> None:
    for block in blocks("sh") * (2 if page in REPEATED else 1):
        if block.page == page:
            output = run("bash", "-euo", "pipefail", "-c", block.text, cwd=clone, env=environment)
            print(f"--- {block}\n{block.text}\n{output}")


def test_commands_that_are_not_run_have_a_reason() -> None:
    unknown = [
        f"{block}: {line}"
        for block in blocks("console")
        for line in block.text.splitlines()
        if line.startswith("$ ") and line.removeprefix("$ ").split()[0] not in NOT_RUN
    ]
    assert not unknown, f"tag them sh, so that they are run, or add a reason to NOT_RUN: {unknown}"


# Variables that the pages expect in the environment.
SECRETS = {"KAFKA_PASSWORD": "k", "DATABASE_PASSWORD": "d", "MQTT_PASSWORD": "m", "SLACK_WEBHOOK_URL": "https://h/s"}


def whole_pipelines() -> list[Block]:
    return [block for block in blocks("yaml") if re.search(r"^name: .*^sources:.*^sinks:", block.text, re.M | re.S)]


@pytest.mark.parametrize("block", whole_pipelines(), ids=str)
def test_a_pipeline_in_the_documentation_is_valid(block: Block, pipeline_host: Path, tmp_path: Path) -> None:
    (tmp_path / "page.yaml").write_text(block.text)
    run(pipeline_host, "validate", "page.yaml", cwd=tmp_path, env=SECRETS)


@pytest.mark.parametrize("block", blocks("cpp", "c", "cmake"), ids=str)
def test_a_snippet_is_part_of_the_examples(block: Block) -> None:
    def lines(text: str) -> str:
        return "\n".join(line.strip() for line in text.splitlines() if line.strip())

    sources = [file for file in (SOURCE_DIR / "examples").rglob("*") if file.suffix in {".c", ".cpp", ".txt"}]
    assert any(lines(block.text) in lines(file.read_text()) for file in sources), f"{block} is not in examples/"


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_have_existing_targets(page: Path) -> None:
    text = FENCE.sub("", (SOURCE_DIR / page).read_text())
    dead = []
    for target, anchor in LINK.findall(text):
        if "://" in target:
            continue
        file = (SOURCE_DIR / page).parent / target if target else SOURCE_DIR / page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            dead.append(f"{target}#{anchor}")
    assert not dead


def test_the_documented_exit_codes_are_those_of_the_program() -> None:
    code = dict(re.findall(r"exit_(\w+) = (\d+)", (SOURCE_DIR / "core/host/arguments.hpp").read_text()))
    documented = re.findall(r"^\| `(\d+)` \|", (SOURCE_DIR / "docs/cli.md").read_text(), re.MULTILINE)
    assert sorted(code.values(), key=int) == sorted(documented, key=int)
