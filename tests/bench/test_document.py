# SPDX-License-Identifier: Apache-2.0
"""Tests of the tables and plots that run.py writes, with invented results."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import common  # adds the paths of the other modules
import document
import plot
import pytest
import run
import scaling

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page, into which results are written."""
    copy = tmp_path / "performance.md"
    copy.write_text(document.PAGE.read_text())
    monkeypatch.setattr(document, "PAGE", copy)
    monkeypatch.setattr(document, "PLOTS", tmp_path / "performance")
    return copy


def result_file(folder: Path, results: dict[str, common.Results]) -> Path:
    about = {
        "time": "2026-01-02T03:04:05+00:00", "messages": 1000, "rounds": 3, "quick": False,
        "machine": {"commit": "abc1234", "cores": 2, "cpu": ["a processor"]}, "results": results,
    }  # fmt: skip
    file = folder / "results.json"
    file.write_text(json.dumps(about))
    return file


def test_the_page_has_a_place_for_each_benchmark() -> None:
    text = document.PAGE.read_text()
    places = [name for name in run.BENCHMARKS if name != "scaling"] + [f"scaling:{group}" for group in scaling.GROUPS]
    for place in places:
        assert text.count(f"<!-- bench:{place} -->") == text.count(f"<!-- end:{place} -->") == 1, place


def test_a_table_replaces_the_one_before(tmp_path: Path, page: Path) -> None:
    for rate in (1234.4, 5678.9):
        document.write(result_file(tmp_path, {"lane": {"1 lane": {"records_per_second": rate, "spread": 0.05}}}))
    place = re.search(r"<!-- bench:lane -->(.*?)<!-- end:lane -->", page.read_text(), re.DOTALL)
    assert place
    lines = place[1].strip().splitlines()
    assert lines[0] == "| | records/s | spread |"
    assert lines[2] == "| 1 lane | 5,679 | 5 % |"
    assert lines[4] == (
        "2026-01-02, commit abc1234, 2 cores (a processor), 1,000 messages, medians of 3 rounds."
    )


def test_each_group_of_scaling_has_a_table_and_a_plot(tmp_path: Path, page: Path) -> None:
    found: common.Results = {}
    for group in scaling.GROUPS:
        cases = {f"{group}: {x}": {"cpu_us_per_row": 1.5 * x**0.5} for x in (1, 10, 1000)}
        scaling.add_growth(group, cases)
        found |= cases
    document.write(result_file(tmp_path, {"scaling": found}))
    for group in scaling.GROUPS:
        assert f"| {group}: 1000 |" in page.read_text()
        drawn = ElementTree.parse(tmp_path / "performance" / f"{group}.svg").getroot()
        assert len(drawn.findall(f"{SVG}circle")) == 3


def test_growth_is_that_of_the_unit_of_work() -> None:
    cases: common.Results = {"columns: 1": {"cpu_us_per_row": 2.0}, "columns: 10": {"cpu_us_per_row": 30.0}}
    scaling.add_growth("columns", cases)
    assert [case["growth"] for case in cases.values()] == [1.0, 1.5]
    cases = {"devices: 90": {"cpu_us_per_row": 2.0}, "devices: 1000": {"cpu_us_per_row": 3.0}}
    scaling.add_growth("devices", cases)
    assert [case["growth"] for case in cases.values()] == [1.0, 1.5]


@pytest.mark.parametrize("points", [[(1, 0.01), (100_000, 900.0)], [(5, 5.0)], [(90, 1.0), (100, 1.0)]])
def test_points_are_inside_the_plot(points: list[tuple[float, float]]) -> None:
    drawn = ElementTree.fromstring(plot.log_log("a title", "x & y", "µs", points))
    circles = drawn.findall(f"{SVG}circle")
    assert len(circles) == len(points)
    for circle in circles:
        assert plot.LEFT <= float(circle.attrib["cx"]) <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= float(circle.attrib["cy"]) <= plot.HEIGHT - plot.BOTTOM


def test_a_message_has_the_form_that_the_programs_in_c_use() -> None:
    header = (Path(__file__).parent / "telemetry_message.hpp").read_text()
    assert common.reading(7) == (
        '{"user_id":"user-2","device_id":"device-7","timestamp":1763000000007,"temperature":20.4375,"humidity":40.875}'
    )
    assert f"{common.START:,}".replace(",", "'") in header
