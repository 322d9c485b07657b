# SPDX-License-Identifier: Apache-2.0
"""A plot with logarithmic axes as SVG, without any library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
STYLE = (
    "text{font:13px sans-serif;fill:#24292f}.grid{stroke:#d0d7de}.axis{stroke:#57606a}"
    ".line{fill:none;stroke:#0969da;stroke-width:2}.point{fill:#0969da}"
)


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that enclose the values, at least one decade apart."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


class Axes:
    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self.x = decades([x for x, _ in points])
        self.y = decades([y for _, y in points])

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        lines = []
        for power in range(self.x[0], self.x[1] + 1):
            x, y = self.place(10.0**power, 10.0 ** self.y[0])
            lines.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{label(10.0**power)}</text>')
        for power in range(self.y[0], self.y[1] + 1):
            x, y = self.place(10.0 ** self.x[0], 10.0**power)
            lines.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
            lines.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{label(10.0**power)}</text>')
        return lines


def log_log(title: str, x_name: str, y_name: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a plot of the points, which are positive and ordered by x, with their values."""
    axes = Axes(points)
    placed = [axes.place(x, y) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    described = "; ".join(f"{label(x)}: {y:.3g} {y_name}" for x, y in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><desc>{escape(described)}</desc><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-weight="bold">{escape(title)}</text>',
        *axes.grid(),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text x="14" y="{TOP - 8}">{escape(y_name)}</text>',
        f'<polyline class="line" points="{path}"/>',
    ]
    for (x, y), (_, value) in zip(placed, points, strict=True):
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text x="{min(x, WIDTH - RIGHT - 20):.1f}" y="{y - 9:.1f}" text-anchor="middle">{value:.3g}</text>')
    return "\n".join([*parts, "</svg>", ""])
