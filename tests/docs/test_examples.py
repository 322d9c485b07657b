# SPDX-License-Identifier: Apache-2.0
"""Build the examples against only the installed package, with g++ and with clang, and run them in a pipeline."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from running import run

COUNT = 1000  # records; the same number as in the examples' pipeline.yaml


@dataclass(frozen=True)
class Compiler:
    c: str
    cxx: str


@pytest.fixture(scope="module", params=[Compiler("gcc", "g++"), Compiler("clang", "clang++")], ids=["g++", "clang"])
def compiler(request: pytest.FixtureRequest) -> Compiler:
    return request.param


def build(example: str, compiler: Compiler, source_dir: Path, prefix: Path, where: Path) -> Path:
    """Build a copy of examples/<example> outside of the tree, and return the build folder."""
    sources = where / example
    shutil.copytree(source_dir / "examples" / example, sources)
    made = sources / "build"
    run(
        "cmake", "-S", sources, "-B", made, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_COMPILER={compiler.c}", f"-DCMAKE_CXX_COMPILER={compiler.cxx}", cwd=where,
    )  # fmt: skip
    run("cmake", "--build", made, "-j", "1", cwd=where)
    return made


@pytest.fixture(scope="module")
def thermometer(compiler: Compiler, source_dir: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("external_plugin", compiler, source_dir, prefix, tmp_path_factory.mktemp("cxx"))


@pytest.fixture(scope="module")
def archive(compiler: Compiler, source_dir: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("c_plugin", compiler, source_dir, prefix, tmp_path_factory.mktemp("c"))


def exported_symbols(library: Path) -> list[str]:
    return [line.split()[-1] for line in run("nm", "-D", "--defined-only", library, cwd=library.parent).splitlines()]


def run_pipeline(pipeline_host: Path, plugins: Path, config: dict[str, object], cwd: Path) -> None:
    (cwd / "test.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    run(pipeline_host, "run", "--plugin-dir", plugins, "test.yaml", cwd=cwd)


def example_config(source_dir: Path, example: str) -> dict[str, object]:
    return yaml.safe_load((source_dir / "examples" / example / "pipeline.yaml").read_text())


def file_sink(reads: str) -> dict[str, str]:
    return {"plugin": "file_sink", "from": reads, "path": f"{reads}.ndjson"}


def rows_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_plugins_export_one_symbol(thermometer: Path, archive: Path) -> None:
    assert exported_symbols(thermometer / "thermometer.so") == ["pl_plugin_v1"]
    assert exported_symbols(archive / "archive.so") == ["pl_plugin_v1"]


def test_the_examples_pass_their_own_tests(thermometer: Path, archive: Path) -> None:
    for built in (thermometer, archive):
        assert "100% tests passed" in run("ctest", "--output-on-failure", cwd=built)


def test_the_cxx_example_converts_every_record(
    thermometer: Path, source_dir: Path, pipeline_host: Path, tmp_path: Path
) -> None:
    config = example_config(source_dir, "external_plugin")
    config["sinks"] |= {"before": file_sink("parsed"), "after": file_sink("imperial")}
    run_pipeline(pipeline_host, thermometer, config, tmp_path)

    before, after = rows_of(tmp_path / "parsed.ndjson"), rows_of(tmp_path / "imperial.ndjson")
    assert len(before) == COUNT
    assert after == [row | {"temperature_f": pytest.approx(row["temperature"] * 9 / 5 + 32)} for row in before]

    with (tmp_path / "readings.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["time"], row["device_id"], float(row["temperature_f"])) for row in table] == [
        (row["time"], row["device_id"], row["temperature_f"]) for row in after
    ]


def test_validate_reports_a_missing_column(
    thermometer: Path, source_dir: Path, pipeline_host: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="exit code 2\n.*the input has no column 'temprature'"):
        run(
            pipeline_host, "validate", "--plugin-dir", thermometer, "--set", "transforms.imperial.column=temprature",
            source_dir / "examples/external_plugin/pipeline.yaml", cwd=tmp_path,
        )  # fmt: skip


def test_the_c_example_keeps_every_tenth_record_byte_for_byte(
    archive: Path, source_dir: Path, pipeline_host: Path, tmp_path: Path
) -> None:
    config = example_config(source_dir, "c_plugin")
    config["sinks"] |= {"all": file_sink("devices"), "some": file_sink("sampled")}
    run_pipeline(pipeline_host, archive, config, tmp_path)

    everything, sampled = rows_of(tmp_path / "devices.ndjson"), rows_of(tmp_path / "sampled.ndjson")
    assert len(everything) == COUNT
    assert sampled == everything[::10]
    assert (tmp_path / "originals.ndjson").read_text().splitlines() == [row["value"] for row in sampled]


def test_rows_that_the_c_sink_rejects_become_dead_letters(
    archive: Path, source_dir: Path, pipeline_host: Path, tmp_path: Path
) -> None:
    config = example_config(source_dir, "c_plugin")
    del config["transforms"]
    config["sinks"]["originals"]["from"] = "parsed"
    config["transforms"] = {"parsed": {"plugin": "json_telemetry", "from": "devices"}}  # its rows have no 'value'
    run_pipeline(pipeline_host, archive, config, tmp_path)

    letters = rows_of(tmp_path / "dead-letters" / "archive.ndjson")
    assert [letter["position"] for letter in letters] == list(range(COUNT))
    assert {(letter["node"], letter["reason"]) for letter in letters} == {("originals", "there is no column 'value'")}
    assert all(json.loads(letter["value"])["device_id"] for letter in letters)  # the original record
