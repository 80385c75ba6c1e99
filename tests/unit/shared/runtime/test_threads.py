from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from shared.runtime.threads import in_thread, in_thread_of_pool

_LIMIT_S = 20


async def test_what_a_thread_returns_or_raises_is_returned_or_raised() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


async def test_a_failure_keeps_nothing_that_was_given_to_the_work() -> None:
    class Body:
        pass

    def fail(_: Body) -> None:
        raise ValueError

    body = Body()
    is_gone = weakref.ref(body)
    gc.disable()
    try:
        with suppress(ValueError):
            await in_thread(fail, body)
        del body
        for _ in range(100):
            await asyncio.sleep(0)
            if is_gone() is None:
                break
        assert is_gone() is None
    finally:
        gc.enable()


async def test_threads_of_their_own_wait_for_no_others() -> None:
    may_end = threading.Event()
    busy = [asyncio.create_task(in_thread(may_end.wait, _LIMIT_S)) for _ in range(100)]

    with ThreadPoolExecutor(1) as threads:
        found = await in_thread_of_pool(threads, divmod, 7, 2)
    were_busy = not any(task.done() for task in busy)
    may_end.set()
    await asyncio.gather(*busy)

    assert found == (3, 1)
    assert were_busy


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_waits_for_the_end_of_the_work(fails: bool) -> None:  # noqa: FBT001
    working, may_end = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        assert may_end.wait(_LIMIT_S)
        if fails:
            raise OSError

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(working.wait, _LIMIT_S)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await task
