# SPDX-License-Identifier: Apache-2.0
"""Actors and their messages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from drawing.canvas import HEAD, LINE, MARGIN, PAD, Canvas, Rect, block_size
from drawing.source import ARROW, BOX, Arrow, Node, Source, lines_of


@dataclass
class Sequence:
    """Actors side by side, and their messages from top to bottom."""

    source: Source
    actors: dict[str, Node] = field(default_factory=dict)
    steps: list[Arrow] = field(default_factory=list)  # kind "note" and "section" beside the arrows

    def __post_init__(self) -> None:
        for number, line in self.source.statements:
            if found := BOX.fullmatch(line):
                self.actors[found[1]] = Node(found[2], lines_of(found[4]))
            elif found := re.fullmatch(r"section: (.*)", line):
                self.steps.append(Arrow(number, "", "section", "", [found[1]]))
            elif (found := re.fullmatch(r"note (\w+): (.*)", line)) and found[1] in self.actors:
                self.steps.append(Arrow(number, found[1], "note", found[1], lines_of(found[2])))
            elif (found := ARROW.fullmatch(line)) and {found[1], found[3]} <= self.actors.keys():
                self.steps.append(Arrow(number, found[1], found[2], found[3], lines_of(found[4] or "")))
            else:
                raise self.source.error(number, f"cannot read '{line}'")
        self.names = list(self.actors)

    def centres(self) -> dict[str, float]:
        """Return where each lifeline is: no message or note is wider than the distance of the lifelines beside it."""
        half = [block_size(actor.lines, True)[0] / 2 + PAD for actor in self.actors.values()]
        for step in self.steps:
            if step.kind == "note":
                index = self.names.index(step.start)
                half[index] = max(half[index], block_size(step.label)[0] / 2 + PAD)
        needs = [a + b + 12 for a, b in pairwise(half)]
        arrows = [step for step in self.steps if step.start != step.end]
        for step in sorted(arrows, key=lambda s: abs(self.names.index(s.start) - self.names.index(s.end))):
            first, last = sorted((self.names.index(step.start), self.names.index(step.end)))
            missing = block_size(step.label)[0] + 2 * HEAD + 10 - sum(needs[first:last])
            needs[first:last] = [need + max(0.0, missing) / (last - first) for need in needs[first:last]]
        places = [MARGIN + half[0]]
        for need in needs:
            places.append(round(places[-1] + need))
        self.width = places[-1] + half[-1] + MARGIN
        return dict(zip(self.names, places, strict=True))

    def draw(self) -> str:
        x = self.centres()
        canvas = Canvas()
        tall = LINE * max(len(actor.lines) for actor in self.actors.values()) + PAD
        y: float = MARGIN + tall
        marks: list[tuple[float, Arrow]] = []
        for step in self.steps:
            y += LINE * len(step.label) + {"section": 30, "note": 24}.get(step.kind, 14)
            marks.append((y, step))
        for name, actor in self.actors.items():
            canvas.path([(x[name], MARGIN + tall), (x[name], y + PAD)], "life", check=False)
            w = block_size(actor.lines, True)[0] + 2 * PAD
            canvas.box(Rect(x[name] - w / 2, MARGIN, w, tall), actor.kind, actor.lines)
        for bottom, step in marks:
            self.draw_step(canvas, step, bottom, x)
        return canvas.svg(self.source, self.width, y + PAD)

    def draw_step(self, canvas: Canvas, step: Arrow, bottom: float, x: dict[str, float]) -> None:
        width, height = block_size(step.label, step.kind == "section")
        if step.kind == "section":
            rect = Rect(MARGIN, bottom - height - 6, self.width - 2 * MARGIN, height + 6)
            canvas.rect(rect, "section")
            canvas.text(step.label, MARGIN + PAD, rect.y + 3, middle=False, bold_first=True)
        elif step.kind == "note":
            rect = Rect(x[step.start] - width / 2 - PAD, bottom - height - 8, width + 2 * PAD, height + 8)
            canvas.rect(rect, self.actors[step.start].kind)
            canvas.text(step.label, rect.cx, rect.y + 4)
        else:
            canvas.arrow([(x[step.start], bottom), (x[step.end], bottom)], step.kind)
            canvas.label(step.label, (x[step.start] + x[step.end]) / 2, bottom - height - 4)
