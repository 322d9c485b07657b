#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Write the tables and plots of a result file of run.py to docs/performance.md and docs/performance/.

    /usr/bin/python3 tests/bench/document.py build/bench/20261129T200000Z.json

A table replaces the text between `<!-- bench:NAME -->` and `<!-- end:NAME -->`, where NAME is a benchmark of run.py, or
`scaling:GROUP`. Tables of other benchmarks stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import plot
from common import ROOT, Results

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
# What a group of scaling.py varies.
AXES = {
    "columns": "metrics of a record",
    "devices": "devices",
    "rules": "alert rules",
    "partitions": "partitions",
    "sizes": "bytes of a message",
    "transactions": "rows of a transaction",
}


def columns_of(benchmark: str) -> list[tuple[str, str, str]]:
    from run import BENCHMARKS

    found: list[tuple[str, str, str]] = BENCHMARKS[benchmark].COLUMNS
    return found


def markdown(found: Results, columns: list[tuple[str, str, str]]) -> str:
    """Return a table without the columns that have no figures."""
    used = [column for column in columns if any(column[0] in result for result in found.values())]
    lines = ["| | " + " | ".join(heading for _, heading, _ in used) + " |", "|---|" + "---:|" * len(used)]
    for name, result in found.items():
        cells = [format(result[key], form).replace("%", " %") if key in result else "" for key, _, form in used]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def source(benchmark: str, about: dict[str, Any]) -> str:
    """Return the line below a table. A benchmark whose size does not depend on --messages has a SIZE."""
    from run import BENCHMARKS

    module = BENCHMARKS[benchmark]
    rounds = "one round" if about["rounds"] == 1 else f"medians of {about['rounds']} rounds"
    size = getattr(module, "SIZE", f"{about['messages']:,} messages")
    quick = "; with `--quick`, so that the figures mean nothing" if about["quick"] else ""
    cpu = (about["machine"]["cpu"] or ["unknown processor"])[0]
    return (
        f"{about['time'][:10]}, commit {about['machine']['commit']}, {about['machine']['cores']} cores ({cpu}), "
        f"{size}, {rounds}{quick}."
    )


def groups(found: Results) -> dict[str, Results]:
    split: dict[str, Results] = {}
    for name, result in found.items():
        split.setdefault(name.partition(": ")[0], {})[name] = result
    return split


def plots(found: Results) -> None:
    """Draw the CPU time of a record over what each group varies."""
    PLOTS.mkdir(exist_ok=True)
    for group, results in groups(found).items():
        unit = "cpu_us_per_row" if "cpu_us_per_row" in next(iter(results.values())) else "cpu_us_per_record"
        points = [(result["x"], result[unit]) for result in results.values()]
        drawn = plot.log_log(f"CPU time of a record over {AXES[group]}", AXES[group], "µs", points)
        (PLOTS / f"{group}.svg").write_text(drawn)


def blocks(name: str, found: Results, about: dict[str, Any]) -> dict[str, str]:
    """Return the text of each marked place of a benchmark."""
    if name != "scaling":
        return {name: f"{markdown(found, columns_of(name))}\n\n{source(name, about)}"}
    return {
        f"scaling:{group}": f"{markdown(results, columns_of(name))}\n\n![CPU time of a record over {AXES[group]}]"
        f"(performance/{group}.svg)\n\n{source(name, about)}"
        for group, results in groups(found).items()
    }


def write(file: Path) -> None:
    about = json.loads(file.read_text())
    page = PAGE.read_text()
    for name, found in about["results"].items():
        for place, text in blocks(name, found, about).items():
            marked = re.compile(rf"(<!-- bench:{place} -->\n).*?(<!-- end:{place} -->)", re.DOTALL)
            if not marked.search(page):
                print(f"{PAGE.relative_to(ROOT)} has no place for {place}", file=sys.stderr)
            page = marked.sub(lambda m, t=text: f"{m[1]}\n{t}\n\n{m[2]}", page)
    PAGE.write_text(page)
    if "scaling" in about["results"]:
        plots(about["results"]["scaling"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
