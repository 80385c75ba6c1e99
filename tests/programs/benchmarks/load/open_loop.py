"""An open loop: requests at a constant rate, whether or not those before them were answered.

Latency counts from when a request should have been sent, so that a pause of the server shows in every request
that fell into it and not only in those that a polite client had still dared to send.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import urlsplit

from tests.programs.benchmarks.load.wrk import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.programs.benchmarks.load.requests import Requests

    OnAnswer = Callable[[bytes, bytes], None]

_CONNECTIONS: Final = 256
_IDLE_S: Final = 5.0
_ANSWERED_WITHIN_S: Final = 60.0
_ASK_ABOUT_EVERY: Final = 10
_ACCEPTED: Final = b"HTTP/1.1 202"
_COMPLETED: Final = b'"status":"completed"'


class Latencies(NamedTuple):
    """Seconds, in the order in which they ended: to the 202, and from there to the result."""

    submit_s: list[float]
    result_s: list[float]


async def submit_at_rate(
    address: str, submissions: Requests, questions: Requests, first: int, *, rate_per_s: float, seconds: int
) -> Latencies:
    """Submit at this rate, and ask about the result of one in ten as soon as it was accepted.

    Raises:
        LoadError: Some were refused, or not completed when the answer came.
    """
    arrivals_s = [offset / rate_per_s for offset in range(int(rate_per_s * seconds))]
    return await submit_at(address, submissions, questions, first, arrivals_s)


async def submit_at(
    address: str,
    submissions: Requests,
    questions: Requests,
    first: int,
    arrivals_s: Sequence[float],
    *,
    ask_about_every: int = _ASK_ABOUT_EVERY,
) -> Latencies:
    """Submit at these times, and ask about the result of one in so many, or of none if that is 0.

    Raises:
        LoadError: Some were refused, or not completed when the answer came.
    """
    run = _Run(_Connections(address), _Connections(address), questions, ask_about_every)
    await run.open()
    begun_s = time.monotonic()  # the loop's own clock has steps of a millisecond
    for offset, at_s in enumerate(arrivals_s):
        intended_s = begun_s + at_s
        await asyncio.sleep(max(intended_s - time.monotonic(), 0.0))
        run.submit(submissions.numbered(first + offset), first + offset, intended_s)
    await run.until_answered()
    return run.latencies


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    return sorted(values)[int(len(values) * percent / 100)]


class _Run:
    """What is under way, and what came of it."""

    def __init__(
        self, submitting: _Connections, asking: _Connections, questions: Requests, ask_about_every: int
    ) -> None:
        self.latencies = Latencies([], [])
        self._submitting = submitting
        self._asking = asking
        self._questions = questions
        self._ask_about_every = ask_about_every
        self._under_way = 0
        self._refusals: list[bytes] = []

    async def open(self) -> None:
        """Have connections that those who submit find open."""
        await self._submitting.open(_CONNECTIONS)

    def submit(self, request: bytes, number: int, intended_s: float) -> None:
        self._under_way += 1
        self._submitting.send(request, partial(self._on_accepted, number, intended_s))

    async def until_answered(self) -> None:
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                while self._under_way:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise LoadError(f"{self._under_way} requests were not answered") from None
        finally:
            self._submitting.close()
            self._asking.close()
        if self._refusals:
            raise LoadError(f"{len(self._refusals)} answers were refusals, the first {self._refusals[0]!r}")

    def _on_accepted(self, number: int, intended_s: float, head: bytes, _: bytes) -> None:
        now_s = time.monotonic()
        self._under_way -= 1
        self.latencies.submit_s.append(now_s - intended_s)
        if not head.startswith(_ACCEPTED):
            self._refusals.append(head)
        elif self._ask_about_every and number % self._ask_about_every == 0:
            self._under_way += 1
            self._asking.send(self._questions.numbered(number), partial(self._on_result, now_s))

    def _on_result(self, accepted_s: float, head: bytes, body: bytes) -> None:
        self._under_way -= 1
        self.latencies.result_s.append(time.monotonic() - accepted_s)
        if _COMPLETED not in body:
            self._refusals.append(head)


class _Connections:
    """So many connections at the most; what finds none free waits its turn.

    The one that was used last is used first. One that was idle for long is not used again: the gateway says
    goodbye to such, and a request might cross it on its way.
    """

    def __init__(self, address: str) -> None:
        self._address = urlsplit(address)
        self._all: set[_Connection] = set()
        self._free: dict[_Connection, float] = {}  # and since when, the longest first
        self._waiting: deque[tuple[bytes, OnAnswer]] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self, count: int) -> None:
        """Have so many more."""
        loop = asyncio.get_running_loop()
        host, port = self._address.hostname, self._address.port
        assert host
        assert port
        for _ in range(count):
            _, connection = await loop.create_connection(partial(_Connection, self._on_lost), host, port)
            self._all.add(connection)
            self._give_work(connection)

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        while self._free:
            connection, since_s = self._free.popitem()
            if time.monotonic() - since_s < _IDLE_S:
                self._send(connection, request, on_answer)
                return
            connection.close()
        self._waiting.append((request, on_answer))
        if len(self._all) + len(self._opening) < _CONNECTIONS:
            opening = asyncio.create_task(self.open(1))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()

    def _send(self, connection: _Connection, request: bytes, on_answer: OnAnswer) -> None:
        def on_end(head: bytes, body: bytes) -> None:
            on_answer(head, body)
            self._give_work(connection)

        connection.send(request, on_end)

    def _give_work(self, connection: _Connection) -> None:
        if connection not in self._all:
            return  # it was lost
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._free[connection] = time.monotonic()

    def _on_lost(self, connection: _Connection) -> None:
        self._all.discard(connection)
        self._free.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One request at a time, with as little work for it as Python can do."""

    def __init__(self, on_lost: Callable[[_Connection], None]) -> None:
        self._on_lost = on_lost
        self._on_answer: OnAnswer | None = None
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's claims no kinship

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        assert self._transport is not None
        self._on_answer = on_answer
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._on_answer is None:
            self.close()  # nobody asked: it is a goodbye
            return
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head):
            self._answer(head, body)

    def connection_lost(self, _: Exception | None) -> None:
        self._on_lost(self)
        if self._on_answer is not None:
            self._answer(b"the connection was lost", b"")

    def close(self) -> None:
        assert self._transport is not None
        self._on_lost(self)
        self._transport.close()

    def _answer(self, head: bytes, body: bytes) -> None:
        on_answer, self._on_answer, self._received = self._on_answer, None, b""
        assert on_answer is not None
        on_answer(head, body)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
