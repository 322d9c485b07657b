# SPDX-License-Identifier: Apache-2.0
"""Boxes on a grid, groups around them, arrows between them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from drawing.canvas import GAP, HEAD, LINE, MARGIN, PAD, Canvas, Rect, block_size
from drawing.source import ARROW, BOX, Arrow, Node, PictureError, Source, lines_of


@dataclass
class Diagram:
    """Boxes in the cells of a grid, groups around them, arrows between them."""

    source: Source
    cells: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # column, row
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: list[tuple[list[str], list[str]]] = field(default_factory=list)  # members, label
    dividers: dict[int, list[str]] = field(default_factory=dict)  # after which row
    arrows: list[Arrow] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        for number, line in self.source.statements:
            if line.startswith(" "):
                for column, name in enumerate(line.split()):
                    if name != ".":
                        self.cells.setdefault(name, []).append((column, self.rows))
                self.rows += 1
            elif line != "grid:":
                self.statement(number, line)
        if missing := self.cells.keys() ^ self.nodes.keys():
            raise PictureError(f"{self.source.path}: in the grid or among the boxes, but not in both: {missing}")
        self.columns = 1 + max(column for cells in self.cells.values() for column, _ in cells)

    def statement(self, number: int, line: str) -> None:
        if found := BOX.fullmatch(line):
            self.nodes[found[1]] = Node(found[2], lines_of(found[4]), bool(found[3]))
        elif found := re.fullmatch(r"group \(([\w ]+)\): (.*)", line):
            self.groups.append((found[1].split(), lines_of(found[2])))
        elif found := re.fullmatch(r"divider after (\d+): (.*)", line):
            self.dividers[int(found[1]) - 1] = lines_of(found[2])
        elif (found := ARROW.fullmatch(line)) and {found[1], found[3]} <= self.cells.keys():
            self.arrows.append(Arrow(number, found[1], found[2], found[3], lines_of(found[4] or "")))
        else:
            raise self.source.error(number, f"cannot read '{line}'")

    def span(self, names: Iterable[str], axis: int) -> tuple[int, int]:
        """Return the first and the last column (axis 0) or row (axis 1) of these boxes."""
        found = [cell[axis] for name in names for cell in self.cells[name]]
        return min(found), max(found)

    def level(self, arrow: Arrow, axis: int) -> bool:
        (a, b), (c, d) = self.span([arrow.start], axis), self.span([arrow.end], axis)
        return a <= d and c <= b

    def sizes(self, axis: int) -> list[float]:
        """Return the widths of columns or the heights of rows."""
        sizes = [40.0] * (self.columns if axis == 0 else self.rows)
        for name, node in self.nodes.items():
            first, last = self.span([name], axis)
            if first == last:
                sizes[first] = max(sizes[first], block_size(node.lines, True)[axis] + PAD * (2 if axis == 0 else 1.5))
        return sizes

    def gaps(self, axis: int) -> list[tuple[float, float, float]]:
        """Return what is before each column or row and after the last: end of groups, free room, start of groups."""
        count = (self.columns if axis == 0 else self.rows) + 1
        free = [0.0] + [float(GAP)] * (count - 2) + [0.0]
        for arrow in self.arrows:
            if not self.level(arrow, axis) or self.level(arrow, 1 - axis):
                first, last = self.span([arrow.start], axis), self.span([arrow.end], axis)
                gap = last[0] if first[1] < last[0] else last[1] + 1
                if axis == 0 or self.level(arrow, 0):
                    parts = 1 + (axis == 1 and gap - 1 in self.dividers)  # a label is below a divider
                    free[gap] = max(free[gap], parts * (block_size(arrow.label)[axis] + 2 * HEAD))
        ends, starts = [0.0] * count, [0.0] * count
        for members, label in self.groups:
            first, last = self.span(members, axis)
            starts[first] += PAD + (LINE * len(label) if axis else 0)
            ends[last + 1] += PAD
        return list(zip(ends, free, starts, strict=True))

    def place(self, axis: int) -> None:
        """Compute where columns or rows begin and end, and where the free room before each begins and ends."""
        position: float = MARGIN
        starts, rooms = [], []
        for size, (end, free, start) in zip([*self.sizes(axis), 0.0], self.gaps(axis), strict=True):
            rooms.append((position + end, position + end + free))
            position += end + free + start
            starts.append((position, position + size))
            position += size
        self.tracks[axis], self.rooms[axis] = starts, rooms

    def rect(self, names: Iterable[str]) -> Rect:
        names = list(names)
        (c1, c2), (r1, r2) = self.span(names, 0), self.span(names, 1)
        x, y = self.tracks[0][c1][0], self.tracks[1][r1][0]
        return Rect(x, y, self.tracks[0][c2][1] - x, self.tracks[1][r2][1] - y)

    def group_rect(self, members: list[str], label: list[str]) -> Rect:
        """Return the members' rectangle with a margin, wider by the groups that begin or end at the same track."""
        rect = self.rect(members)
        sides = [rect.x, rect.y, rect.right, rect.bottom]
        for inner, its_label in self.groups:
            if set(inner) <= set(members):
                for axis in (0, 1):
                    top = LINE * len(its_label) if axis else 0
                    sides[axis] -= (PAD + top) * (self.span(inner, axis)[0] == self.span(members, axis)[0])
                    sides[axis + 2] += PAD * (self.span(inner, axis)[1] == self.span(members, axis)[1])
        return Rect(sides[0], sides[1], sides[2] - sides[0], sides[3] - sides[1])

    def draw(self) -> str:
        self.tracks: list[list[tuple[float, float]]] = [[], []]
        self.rooms: list[list[tuple[float, float]]] = [[], []]
        self.place(0)
        self.place(1)
        width, height = (rooms[-1][1] for rooms in self.rooms)
        canvas = Canvas()
        for members, label in sorted(self.groups, key=lambda group: -len(group[0])):
            rect = self.group_rect(members, label)
            canvas.rect(rect, "group")
            canvas.outline(rect)
            canvas.text(label, rect.x + PAD, rect.y + PAD / 2, middle=False, bold_first=True)
        for row, lines in self.dividers.items():
            y = sum(self.rooms[1][row + 1]) / 2
            canvas.path([(MARGIN, y), (width, y)], "line dash")
            canvas.text(lines[:1], MARGIN, y - LINE - 2, middle=False, bold_first=True)
            canvas.text(lines[1:], MARGIN, y + 4, middle=False)
        for arrow in self.arrows:
            self.draw_arrow(canvas, arrow)
        for name, node in self.nodes.items():
            canvas.box(self.rect([name]), node.kind, node.lines, node.many)
        return canvas.svg(self.source, width + MARGIN, height)

    def shift(self, arrow: Arrow) -> float:
        """Return how far an arrow is from the middle, so that arrows between the same boxes lie beside each other."""
        pair = [other for other in self.arrows if {other.start, other.end} == {arrow.start, arrow.end}]
        return (pair.index(arrow) - (len(pair) - 1) / 2) * 28

    def draw_arrow(self, canvas: Canvas, arrow: Arrow) -> None:
        a, b = self.rect([arrow.start]), self.rect([arrow.end])
        if self.level(arrow, 1):
            y = (max(a.y, b.y) + min(a.bottom, b.bottom)) / 2 + self.shift(arrow)
            ends = [(a.right, y), (b.x, y)] if a.right <= b.x else [(a.x, y), (b.right, y)]
            self.draw_straight(canvas, arrow, ends)
        elif self.level(arrow, 0):
            x = (max(a.x, b.x) + min(a.right, b.right)) / 2 + self.shift(arrow)
            ends = [(x, a.bottom), (x, b.y)] if a.bottom <= b.y else [(x, a.y), (x, b.bottom)]
            canvas.arrow(ends, arrow.kind)
            row = self.span([arrow.end], 1)[0] if a.bottom <= b.y else self.span([arrow.end], 1)[1] + 1
            top, bottom = self.rooms[1][row]
            top = (top + bottom) / 2 if row - 1 in self.dividers else top
            canvas.label(arrow.label, x + 7, (top + bottom - LINE * len(arrow.label)) / 2, middle=False)
        else:
            y = a.bottom if a.y < b.y else a.y
            points = [(a.cx, y), (a.cx, b.cy), (b.x if a.x < b.x else b.right, b.cy)]
            self.draw_straight(canvas, arrow, points)

    def draw_straight(self, canvas: Canvas, arrow: Arrow, points: list[tuple[float, float]]) -> None:
        """Draw an arrow whose last part is horizontal, with its label above that part, before the box at its end."""
        canvas.arrow(points, arrow.kind)
        first, last = self.span([arrow.end], 0)
        room = self.rooms[0][first if points[-2][0] < points[-1][0] else last + 1]
        canvas.label(arrow.label, sum(room) / 2, points[-1][1] - LINE * len(arrow.label) - 4)
