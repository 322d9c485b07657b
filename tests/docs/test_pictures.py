# SPDX-License-Identifier: Apache-2.0
"""The committed pictures are those that scripts/draw.py makes from their text files."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from running import SOURCE_DIR, run

PICTURES = SOURCE_DIR / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures, drawn now."""
    folder = tmp_path_factory.mktemp("pictures")
    run(sys.executable, SOURCE_DIR / "scripts" / "draw.py", "--out", folder, cwd=folder)
    return folder


def test_the_committed_pictures_equal_the_drawn_ones(drawn: Path) -> None:
    texts = {file.name: file.read_text() for file in drawn.glob("*.svg")}
    committed = {file.name: file.read_text() for file in PICTURES.glob("*.svg")}
    assert sorted(texts) == sorted(f"{file.stem}.svg" for file in PICTURES.glob("*.txt"))
    different = sorted(name for name in texts.keys() | committed.keys() if texts.get(name) != committed.get(name))
    assert not different, f"run `make reference` and commit the changes: {', '.join(different)}"


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("*.svg")), ids=lambda file: file.stem)
def test_a_picture_is_well_formed_and_has_a_title_and_a_description(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    assert int(root.get("width", "0")) <= 900


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("diagram\ntitle: t\n", "begin with 'diagram' or 'sequence'"),
        ("map\ntitle: t\ndescription: d\n", "is not 'diagram' or 'sequence'"),
        ("sequence\ntitle: t\ndescription: d\nactor a host: A\na -> b: hello\n", r":5: cannot read 'a -> b: hello'"),
        ("sequence\ntitle: t\ndescription: d\nactor a color: A\n", r":4: cannot read 'actor a color: A'"),
        (f"diagram\ntitle: t\ndescription: d\ngrid:\n  a\nbox a host: {'w' * 90}\n", "is wider than 900"),
    ],
)
def test_a_text_that_is_not_a_picture_is_an_error(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SOURCE_DIR / "scripts")
    import draw
    from drawing.source import PictureError

    (tmp_path / "wrong.txt").write_text(text)
    with pytest.raises(PictureError, match=problem):
        draw.picture(tmp_path / "wrong.txt")
