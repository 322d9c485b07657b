#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draw docs/pictures/*.svg from the text files beside them. docs/pictures/README.md describes the notation.

    scripts/draw.py [--out FOLDER]

The output depends only on the text files. Overlapping texts and a picture that is too wide are errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from drawing.diagram import Diagram
from drawing.sequence import Sequence
from drawing.source import PictureError, read

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
FORMS = {"diagram": Diagram, "sequence": Sequence}


def picture(path: Path) -> str:
    source = read(path)
    if source.form not in FORMS:
        raise PictureError(f"{path}:1: '{source.form}' is not 'diagram' or 'sequence'")
    return FORMS[source.form](source).draw()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURES, help="where to write (default: docs/pictures)")
    out = parser.parse_args().out
    try:
        made = {path.stem: picture(path) for path in sorted(PICTURES.glob("*.txt"))}
    except PictureError as error:
        raise SystemExit(str(error)) from None
    for name, text in made.items():
        (out / f"{name}.svg").write_text(text)


if __name__ == "__main__":
    main()
