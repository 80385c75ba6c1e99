"""HTTP requests as bytes, made beforehand: a load generator only puts a number into each."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.programs.benchmarks.load.recordings import Recording

_BLOCK: Final = 10_000_000
_NO_TOKENS: Final = ("",)


class Requests(NamedTuple):
    """Requests that differ in a number of ten digits; who sends them takes turns."""

    heads: Sequence[bytes]
    tail: bytes

    def numbered(self, number: int) -> bytes:
        """One of them."""
        return self.heads[number % len(self.heads)] + str(number).encode() + self.tail


def posts(path: str, recording: Recording, tokens: Sequence[str] = _NO_TOKENS) -> Requests:
    """Submissions of a recording under ever new ids."""
    said = f"Content-Type: {recording.content_type}\r\nContent-Length: {recording.num_bytes}\r\n\r\n"
    heads = [f"POST {path} HTTP/1.1\r\n{_fields(token)}{said}".encode() for token in tokens]
    return Requests([head + recording.before_id for head in heads], recording.after_id)


def gets(path: str, token: str = "", *, query: str = "") -> Requests:
    """Questions about one ECG each."""
    return Requests([f"GET {path}/".encode()], f"{query} HTTP/1.1\r\n{_fields(token)}\r\n".encode())


def blocks_of_numbers() -> Iterator[int]:
    """The first number of each load: none is used twice; all, and the one before, have ten digits."""
    return count(1_000_000_001, _BLOCK)


def _fields(token: str) -> str:
    return "Host: 127.0.0.1\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
