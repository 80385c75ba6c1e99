from __future__ import annotations

import asyncio

import pytest

from gateway.ecgs.timed_semaphore import TimedSemaphore
from shared.domain.errors import UnavailableError

_LIMIT_S = 20


async def test_waiting_for_a_slot_times_out() -> None:
    semaphore = TimedSemaphore(2, timeout_s=0.01, kind="recordings")

    async with semaphore.slot(), semaphore.slot():
        with pytest.raises(UnavailableError, match="too many recordings wait to be stored"):
            async with semaphore.slot():
                pass


async def test_a_slot_is_released_when_its_holder_fails_or_a_waiter_is_cancelled() -> None:
    semaphore = TimedSemaphore(1, timeout_s=_LIMIT_S, kind="recordings")

    async def hold() -> None:
        async with semaphore.slot():
            raise LookupError

    async with semaphore.slot():
        waiting = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(LookupError):
        await hold()

    async with asyncio.timeout(_LIMIT_S), semaphore.slot():
        pass
