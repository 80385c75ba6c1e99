"""HTTP requests as bytes, made beforehand: a load generator only puts a number into each."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.recordings import Recording

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
    body = f"Content-Type: {recording.content_type}\r\nContent-Length: {recording.num_bytes}\r\n\r\n".encode()
    heads = [_head("POST", path, token) + body + recording.before_id for token in tokens]
    return Requests(heads, recording.after_id)


def gets(path: str, tokens: Sequence[str] = _NO_TOKENS, *, query: str = "") -> Requests:
    """Questions about an ECG each."""
    tails = {_head("", query, token).removeprefix(b" ") for token in tokens}
    [tail] = tails  # the number comes before the token, so there is only one who asks
    return Requests([f"GET {path}/".encode()], tail + b"\r\n")


def blocks_of_numbers() -> Iterator[int]:
    """The first number of each load: none is used twice; all, and the one before, have ten digits."""
    return count(1_000_000_001, _BLOCK)


def _head(method: str, path: str, token: str) -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}".encode()
