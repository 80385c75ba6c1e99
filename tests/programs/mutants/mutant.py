"""A mutant: a file of ours with one small change that its tests should notice."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[3]


class Change(NamedTuple):
    """A part of a source text, in bytes, and what stands there instead."""

    start: int
    end: int
    now: str


class Mutant(NamedTuple):
    """A change of a file.

    Attributes:
        path: Of the file, from the root of the repository.
        line: Where the change begins.
        place: The function or constant that is changed, qualified by its classes.
        was: The source text that is changed.
        change: Where it stands, and what stands there instead.
    """

    path: str
    line: int
    place: str
    was: str
    change: Change

    @property
    def module(self) -> str:
        """The name that the file is imported by."""
        return self.path.removesuffix(".py").replace("/", ".")

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in the list of equivalents, wherever its file and its line move."""
        return self.place, self.was, one_line(self.change.now)

    @property
    def source(self) -> bytes:
        """The file as changed."""
        return self.applied_to((ROOT / self.path).read_bytes())

    def applied_to(self, source: bytes) -> bytes:
        """A source text as changed."""
        return source[: self.change.start] + self.change.now.encode() + source[self.change.end :]

    def __str__(self) -> str:
        place, was, now = self.key
        return f"{self.path}:{self.line} {place}: {was!r} -> {now!r}"


def one_line(text: str) -> str:
    """The same text with each run of white space as one space."""
    return " ".join(text.split())
