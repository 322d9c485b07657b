# SPDX-License-Identifier: Apache-2.0
"""The text file of a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


class PictureError(Exception):
    """A text file that does not make a picture; the message names the file and the line."""


@dataclass(frozen=True)
class Source:
    """A text file: its first word, title and description, and its statements with their line numbers."""

    path: Path
    form: str
    title: str
    description: str
    statements: list[tuple[int, str]]

    def error(self, line: int, problem: str) -> PictureError:
        return PictureError(f"{self.path}:{line}: {problem}")


def read(path: Path) -> Source:
    numbered = [(n, line) for n, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]
    numbered = [(n, line) for n, line in numbered if not line.startswith("#")]
    head = dict(line.split(": ", 1) for _, line in numbered if line.startswith(("title: ", "description: ")))
    if not numbered or len(head) != 2:
        raise PictureError(f"{path}: begin with 'diagram' or 'sequence', then 'title: ...' and 'description: ...'")
    rest = [(n, line) for n, line in numbered[1:] if line.partition(":")[0] not in head]
    return Source(path, numbered[0][1].strip(), head["title"], head["description"], rest)


def lines_of(text: str) -> list[str]:
    return [part.strip() for part in text.split("|")] if text.strip() else []


ARROW = re.compile(r"(\w+) (->|\.\.>|<->) (\w+)(?::(.*))?")
BOX = re.compile(r"(?:box|actor) (\w+) (server|host|plugin|file|command)( many)?: (.*)")


@dataclass(frozen=True)
class Arrow:
    line: int
    start: str
    kind: str
    end: str
    label: list[str]


@dataclass
class Node:
    kind: str
    lines: list[str]
    many: bool = False
