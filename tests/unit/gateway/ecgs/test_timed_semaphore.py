from __future__ import annotations

import asyncio

import pytest

from gateway.ecgs.timed_semaphore import TimedSemaphore
from shared.domain.errors import UnavailableError

_LIMIT_S = 20


async def test_a_place_is_not_waited_for_without_end() -> None:
    storing = TimedSemaphore(2, within_s=0.01, kind="recordings")

    async with storing.place(), storing.place():
        with pytest.raises(UnavailableError, match="too many recordings wait to be stored"):
            async with storing.place():
                pass


async def test_a_place_is_free_again_however_its_holder_or_who_waited_for_it_ended() -> None:
    storing = TimedSemaphore(1, within_s=_LIMIT_S, kind="recordings")

    async def hold() -> None:
        async with storing.place():
            raise LookupError

    async with storing.place():
        waiting = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(LookupError):
        await hold()

    async with asyncio.timeout(_LIMIT_S), storing.place():
        pass
