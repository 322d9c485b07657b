#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per record of the steps of a pipeline, counted by callgrind and compared with recorded ceilings.

    /usr/bin/python3 tests/bench/instruction_counts.py --build build/release
    /usr/bin/python3 tests/bench/instruction_counts.py --build build/release --record    write the counts as new ceilings

Unlike time, the counts do not depend on the load of the machine. The test fails if a count exceeds its ceiling by more than
the margin. instruction_ceilings.json has the ceilings of each compiler and architecture; with another compiler or
architecture, the script prints the counts and exits with 77 (ctest: skipped). Record new ceilings after a change that is
worth more instructions, and after one that saves some, so that the saving is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CEILINGS = HERE / "instruction_ceilings.json"
SKIPPED = 77
# Step, unit of the count.
STEPS = {
    "parse": "record",
    "parse_extra": "record",
    "alert": "record",
    "encode": "record",
    "hand_over": "batch of 1,000 records",
}
# The C library selects functions by the processor. Exclude what the processors of different machines may lack.
TUNABLES = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM,-RTM"


def count(program: Path, plugins: Path, step: str) -> tuple[str, float]:
    """Return the compiler of the program, and the instructions for each unit of the step."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind.out"
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", "--collect-atstart=no",
             "--toggle-collect=measured_section", str(program), str(plugins), step],
            env={**os.environ, "GLIBC_TUNABLES": TUNABLES}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"{program} {step} failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        found = re.search(r"^(?:totals|summary): (\d+)", output.read_text(), re.MULTILINE)
    compiler, units = done.stdout.splitlines()
    if not found or int(found[1]) == 0:
        sys.exit(f"callgrind has counted no instructions of {step}: does {program} contain the symbol measured_section?")
    return compiler, int(found[1]) / int(units)


def report(step: str, value: float, ceiling: float | None, margin: float) -> bool:
    """Print one line. Return whether the count is too high."""
    line = f"{step:<12}{value:>12,.1f} instructions per {STEPS[step]}"
    if ceiling is None:
        print(f"{line}; no ceiling is recorded")
        return False
    change = value / ceiling - 1
    high = change > margin
    verdict = "too many" if high else "record it with --record, so that the saving is kept" if change < -margin else "ok"
    print(f"{line}; ceiling {ceiling:,.1f} ({change:+.1%}): {verdict}")
    return high


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "release")
    parser.add_argument("--record", action="store_true", help="write the counts to instruction_ceilings.json")
    parser.add_argument("--ceilings", type=Path, default=CEILINGS)
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed: run scripts/install-deps.sh test")
    build = arguments.build.resolve()
    program, plugins = build / "bin" / "instruction_counts", build / "lib" / "pipeline-host" / "plugins"

    counts = {step: count(program, plugins, step) for step in STEPS}
    compiler = f"{counts['parse'][0]} {platform.machine()}"
    recorded = json.loads(arguments.ceilings.read_text())
    margin = recorded["margin"]
    if arguments.record:
        recorded["ceilings"][compiler] = {step: round(value, 1) for step, (_, value) in counts.items()}
        arguments.ceilings.write_text(json.dumps(recorded, indent=2) + "\n")
    ceilings = recorded["ceilings"].get(compiler, {})
    high = [step for step, (_, value) in counts.items() if report(step, value, ceilings.get(step), margin)]
    if high:
        print(f"{', '.join(high)}: more than {margin:.0%} above the ceiling of {compiler}. If the change is worth it, run: "
              f"{sys.executable} {Path(__file__).relative_to(HERE.parents[1])} --build {arguments.build} --record")  # fmt: skip
        return 1
    if not ceilings:
        print(f"no ceilings are recorded for {compiler}")
        return SKIPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
