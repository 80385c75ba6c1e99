"""A commit that has begun is shielded from cancellation."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from processor.deliveries.shielding import run_shielded
from tests.support.polling import until

_LIMIT_S: Final = 10


class Work:
    """Work that ends when a test says so; records how it ended."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended = ""

    async def __call__(self) -> str:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return "result"


async def test_it_returns_the_result_of_the_work() -> None:
    work = Work()
    work.may_end.set()

    assert await run_shielded(work()) == "result"


async def test_it_raises_the_exception_of_the_work() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_shielded(fail())


async def test_a_cancellation_waits_until_the_work_is_done() -> None:
    work = Work()
    task = asyncio.create_task(run_shielded(work()))
    await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()

    work.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended == "done"


async def test_work_that_takes_too_long_after_a_cancellation_is_cancelled() -> None:
    work = Work()
    task = asyncio.create_task(run_shielded(work(), within_s=0.01))
    await asyncio.sleep(0.01)

    task.cancel()

    async with asyncio.timeout(_LIMIT_S):
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: work.ended)
    assert work.ended == "cancelled"
