# SPDX-License-Identifier: Apache-2.0
"""SVG elements, the width of text, and a check for overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from drawing.source import PictureError, Source

MAX_WIDTH = 900
MARGIN, PAD, LINE, GAP, HEAD = 16, 12, 16, 26, 8  # pixels

# For each kind of box or actor: the legend, then fill and outline on a light background, then on a dark background.
KINDS = {
    "server": ("server or device", "#eceff3", "#66717f", "#2a3038", "#93a0ad"),
    "host": ("host", "#e1ecfb", "#2b66ad", "#152c4a", "#74abe8"),
    "plugin": ("plugin", "#e3f3e6", "#2a7d40", "#143521", "#62c17c"),
    "file": ("file", "#fdf1d9", "#9a6b10", "#3a2d0e", "#dcae52"),
    "command": ("command", "#f2e6f9", "#7a3fa0", "#322042", "#c393e6"),
}
STYLE = """
text{font:12px system-ui,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1b2129}
.b{font-weight:600}
.m{text-anchor:middle}
.panel,.section{fill:#fff}
.frame{stroke:#cfd6de}
.group{fill:none}
.group,.section{stroke:#8b96a3;stroke-dasharray:2 3}
.line,.life{fill:none;stroke:#4b5663;stroke-width:1.4}
.life{stroke-width:.6}
.dash{stroke-dasharray:5 4}
.head{fill:#4b5663}
"""
DARK = """
text{fill:#e4e9ef}
.panel,.section{fill:#12171d}
.frame{stroke:#333b45}
.line,.life{stroke:#aab4bf}
.head{fill:#aab4bf}
"""


@dataclass(frozen=True)
class Rect:
    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        return self.x + self.w

    @property
    def bottom(self) -> float:
        return self.y + self.h

    @property
    def cx(self) -> float:
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        return self.y + self.h / 2

    def meets(self, other: Rect) -> bool:
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom


def text_width(text: str, bold: bool = False) -> float:
    """Return the width of a 12 px text in a wide sans-serif font: an upper bound for the usual ones."""
    width = 0.0
    for char in text:
        if char in "ijl|'.,:;!":
            width += 0.34
        elif char in "frtI()[]/- ":
            width += 0.42
        elif char in "mwMW@→…—":
            width += 1.0
        else:
            width += 0.78 if char.isupper() else 0.64
    return width * 12 * (1.1 if bold else 1.0)


def block_size(lines: list[str], bold_first: bool = False) -> tuple[float, float]:
    widths = [text_width(line, bold_first and index == 0) for index, line in enumerate(lines)]
    return max(widths, default=0), LINE * len(lines)


class Canvas:
    """SVG elements, and the places of texts and lines, so that overlaps are found."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.texts: list[tuple[Rect, str]] = []
        self.lines: list[Rect] = []
        self.kinds: set[str] = set()

    def text(self, lines: list[str], x: float, top: float, middle: bool = True, bold_first: bool = False) -> None:
        width, height = block_size(lines, bold_first)
        left = x - width / 2 if middle else x
        self.texts.append((Rect(left, top, width, height), " | ".join(lines)))
        for index, line in enumerate(lines):
            names = "m" * middle + " b" * (bold_first and index == 0)
            y = top + LINE * index + 12
            self.parts.append(f'<text class="{names.strip()}" x="{x:g}" y="{y:g}">{escape(line, quote=False)}</text>')

    def label(self, lines: list[str], x: float, top: float, middle: bool = True) -> None:
        """Write text over a patch of background, which hides a lifeline behind it."""
        width, height = block_size(lines)
        left = x - width / 2 if middle else x
        patch = f'<rect class="panel" x="{left - 2:g}" y="{top:g}" width="{width + 4:g}" height="{height:g}"/>'
        if lines:
            self.parts.append(patch)
            self.text(lines, x, top, middle)

    def outline(self, rect: Rect) -> None:
        self.lines += [Rect(rect.x, y, rect.w, 0.1) for y in (rect.y, rect.bottom)]
        self.lines += [Rect(x, rect.y, 0.1, rect.h) for x in (rect.x, rect.right)]

    def rect(self, rect: Rect, names: str) -> None:
        place = f'x="{rect.x:g}" y="{rect.y:g}" width="{rect.w:g}" height="{rect.h:g}"'
        self.parts.append(f'<rect class="{names}" {place} rx="6"/>')

    def box(self, rect: Rect, kind: str, lines: list[str], many: bool = False) -> None:
        self.kinds.add(kind)
        for shift in (8, 4, 0) if many else (0,):
            self.rect(Rect(rect.x + shift, rect.y + shift, rect.w, rect.h), kind)
        self.outline(rect)
        self.text(lines, rect.cx, rect.cy - LINE * len(lines) / 2, bold_first=True)

    def path(self, points: list[tuple[float, float]], names: str = "line", check: bool = True) -> None:
        data = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="{names}" d="{data}"/>')
        for (x1, y1), (x2, y2) in pairwise(points) if check else ():
            self.lines.append(Rect(min(x1, x2), min(y1, y2), abs(x1 - x2) + 0.1, abs(y1 - y2) + 0.1))

    def arrow(self, points: list[tuple[float, float]], kind: str) -> None:
        self.path(points, "line dash" if kind == "..>" else "line")
        self.head(points[-2], points[-1])
        if kind == "<->":
            self.head(points[1], points[0])

    def head(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        dx, dy = (end[0] > start[0]) - (end[0] < start[0]), (end[1] > start[1]) - (end[1] < start[1])
        x, y = end[0] - dx * HEAD, end[1] - dy * HEAD
        corners = [end, (x - dy * 4, y - dx * 4), (x + dy * 4, y + dx * 4)]
        self.parts.append(f'<polygon class="head" points="{" ".join(f"{a:g},{b:g}" for a, b in corners)}"/>')

    def legend(self, y: float) -> float:
        """Draw what the colours mean. Return the width."""
        x: float = MARGIN
        for kind in [kind for kind in KINDS if kind in self.kinds]:
            self.rect(Rect(x, y, 16, 12), kind)
            self.text([KINDS[kind][0]], x + 22, y - 2, middle=False)
            x += 22 + text_width(KINDS[kind][0]) + 20
        return x

    def overlaps(self) -> Iterator[str]:
        for index, (place, text) in enumerate(self.texts):
            for other, its_text in self.texts[index + 1 :]:
                if place.meets(other):
                    yield f"the texts '{text}' and '{its_text}' overlap"
            if any(place.meets(line) for line in self.lines):
                yield f"a line crosses the text '{text}'"

    def svg(self, source: Source, width: float, bottom: float) -> str:
        width = max(width, self.legend(bottom + 22))
        height = bottom + 22 + 12 + MARGIN
        problems = list(self.overlaps()) + [f"{width:g} px is wider than {MAX_WIDTH}"] * (width > MAX_WIDTH)
        if problems:
            raise PictureError(f"{source.path}: " + "; ".join(problems))
        light = STYLE + "".join(f".{k}{{fill:{v[1]};stroke:{v[2]};stroke-width:1.4}}\n" for k, v in KINDS.items())
        dark = DARK + "".join(f".{k}{{fill:{v[3]};stroke:{v[4]}}}\n" for k, v in KINDS.items())
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        return "\n".join([
            f"<!-- Generated by scripts/draw.py from {source.path.name}. Don't edit. -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
            f'<title id="title">{escape(source.title)}</title>',
            f'<desc id="desc">{escape(source.description)}</desc>',
            f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}\n</style>",
            f'<rect class="panel frame" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>',
            *self.parts,
            "</svg>\n",
        ])  # fmt: skip
