# SPDX-License-Identifier: Apache-2.0
"""The committed reference pages equal the generated ones, and every plugin has a README and a valid example."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from running import SOURCE_DIR, run


def test_the_committed_reference_equals_the_generated_one(source_dir: Path, build_dir: Path, tmp_path: Path) -> None:
    generator = source_dir / "scripts" / "generate_reference.py"
    run(sys.executable, generator, build_dir, "--out", tmp_path, cwd=tmp_path)
    generated = {file.relative_to(tmp_path): file.read_text() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
    assert Path("docs/reference/configuration.md") in generated
    committed = {
        file.relative_to(source_dir): file.read_text() for file in sorted((source_dir / "docs/reference").iterdir())
    } | {Path("docs/cli.md"): (source_dir / "docs/cli.md").read_text()}
    different = sorted(
        str(name) for name in generated.keys() | committed.keys() if generated.get(name) != committed.get(name)
    )
    assert not different, f"run `make reference` and commit the changes: {', '.join(different)}"


def test_every_plugin_has_a_readme_and_an_example(source_dir: Path) -> None:
    folders = [file.parent for file in (source_dir / "plugins").glob("*/CMakeLists.txt")]
    components = [folder for folder in folders if not folder.name.endswith("_common")]
    missing = [
        f"{folder.name}/{file}"
        for folder in components
        for file in ("README.md", "example.yaml")
        if not (folder / file).is_file()
    ]
    assert not missing


@pytest.mark.parametrize("example", sorted(SOURCE_DIR.glob("plugins/*/example.yaml")), ids=lambda file: file.parent.name)
def test_the_example_of_a_plugin_is_a_valid_pipeline(example: Path, pipeline_host: Path, tmp_path: Path) -> None:
    servers = {"DATABASE_URL": "postgresql://127.0.0.1/telemetry", "MQTT_URL": "mqtt://127.0.0.1"}
    run(pipeline_host, "validate", example, cwd=tmp_path, env=servers)
