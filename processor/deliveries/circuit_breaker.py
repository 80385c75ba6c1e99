"""Circuit breaker of a processor: consumes no messages while PostgreSQL can't be used."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from processor.deliveries.messages import give_back
from shared.domain.errors import IsolineError, UnavailableError
from shared.observability.logs import Logger
from shared.runtime.retry import backoff_s
from shared.runtime.supervision import failure_of, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from shared.ports.broker import Consumer

_CHECK_EVERY_S: Final = 1.0
_CHECK_WITHIN_S: Final = 3.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 3.0
# A restart of PostgreSQL takes a second or two: not worth redelivering every message.
_OPENS_AFTER_S: Final = 2.0

_log = Logger(__name__)


class CircuitOpenError(Exception):
    """PostgreSQL can't be used: waiting for it was interrupted."""


async def _assume_available() -> None:
    pass


class CircuitBreaker:
    """Open while PostgreSQL can't be used; closed until `run` begins, then open until the first good check.

    While it is open, the consumer is paused, deliveries without results are given back, and only results that
    are measured already wait for PostgreSQL, until `stop_holding_results`.

    Args:
        check: Returns if ECGs can be claimed and settled, else raises.
    """

    def __init__(self, check: Callable[[], Awaitable[None]] = _assume_available) -> None:
        self._check = check
        self._is_open = False
        self._is_draining = False
        self._reason = ""
        self._was_checked = asyncio.Event()
        self._give_back_callbacks: set[Callable[[], Awaitable[None]]] = set()
        self._waits: dict[asyncio.Timeout, bool] = {}  # whether it is interrupted only if we drain

    async def check(self) -> None:
        """Return if PostgreSQL could be used at the last check, at most a few seconds ago.

        Raises:
            UnavailableError: It could not, for this reason.
        """
        await self._was_checked.wait()
        if self._reason:
            raise UnavailableError(self._reason)

    async def run(self, consumer: Consumer) -> None:
        """Check PostgreSQL for ever; pause the consumer while the circuit is open.

        The first successful check closes it. It opens once checks have failed for two seconds.
        """
        self._is_open = True
        await give_back(await consumer.pause())
        failures, failed_since_s = 0, 0.0
        while True:
            self._reason = await self._failure()
            self._was_checked.set()
            if not self._reason:
                failures = 0
                await self._close(consumer)
                await asyncio.sleep(_CHECK_EVERY_S)
                continue
            failures += 1
            if failures == 1:
                failed_since_s = time.monotonic()
            if not self._is_open and time.monotonic() - failed_since_s >= _OPENS_AFTER_S:
                await self._open(consumer)
            await asyncio.sleep(backoff_s(failures, first_s=_FIRST_BACKOFF_S, longest_s=_LONGEST_BACKOFF_S))

    def stop_holding_results(self) -> None:
        """From now on an open circuit interrupts calls that hold results as well, and is never closed again.

        For a process that drains: it loses those results, and others measure these ECGs again.
        """
        self._is_draining = True
        if self._is_open:
            self._interrupt()

    @contextmanager
    def give_back_on_open(self, give_back_all: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Call this function when the circuit opens: it gives deliveries without results back."""
        self._give_back_callbacks.add(give_back_all)
        try:
            yield
        finally:
            self._give_back_callbacks.discard(give_back_all)

    @asynccontextmanager
    async def interrupt_on_open(self, *, only_if_draining: bool = False) -> AsyncIterator[None]:
        """Wait for PostgreSQL inside; the wait is interrupted when the circuit opens.

        Args:
            only_if_draining: An open circuit interrupts it only from `stop_holding_results` on: for waits to
                commit results.

        Raises:
            CircuitOpenError: The circuit is open.
        """
        if self._is_open and (self._is_draining or not only_if_draining):
            raise CircuitOpenError
        try:
            async with asyncio.timeout(None) as wait:
                self._waits[wait] = only_if_draining
                try:
                    yield
                finally:
                    self._waits.pop(wait, None)
        except TimeoutError:
            raise CircuitOpenError from None

    async def _failure(self) -> str:
        """Why the check fails; empty if it passes."""
        try:
            failure = await within(_CHECK_WITHIN_S, failure_of(self._check()))
        except TimeoutError:
            return f"no answer within {_CHECK_WITHIN_S:g} s"
        if failure is None:
            return ""
        if isinstance(failure, IsolineError):
            return str(failure) or type(failure).__name__
        return f"the check failed: {type(failure).__name__}: {failure}"

    async def _open(self, consumer: Consumer) -> None:
        self._is_open = True
        _log.warning("consuming is paused while PostgreSQL can't be used", reason=self._reason)
        unread = await consumer.pause()  # first, or deliveries that are given back would come here again
        await asyncio.gather(
            give_back(unread), *(give_back_all() for give_back_all in self._give_back_callbacks)
        )
        self._interrupt()

    async def _close(self, consumer: Consumer) -> None:
        if self._is_open and not self._is_draining:
            self._is_open = False
            await consumer.resume()
            _log.info("consuming again")

    def _interrupt(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for wait, only_if_draining in list(self._waits.items()):
            if self._is_draining or not only_if_draining:
                del self._waits[wait]  # a timeout can't be rescheduled once it has expired
                wait.reschedule(now_s)
