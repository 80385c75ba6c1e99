"""Background work that may not end unnoticed: when it dies, so does what depends on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def failure_of(call: Awaitable[object]) -> Exception | None:
    """Await a call into a library and give back what it raised.

    A lost channel ends the calls that wait on it with whatever ended itself, CancelledError included.
    Only when somebody cancelled this task is that a cancellation.
    """
    try:
        await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return ConnectionError("cancelled from within: the channel was lost")
    except Exception as error:  # noqa: BLE001 - RuntimeError and a bare Exception are among its failures
        return error
    return None


async def lasting(work: Callable[[], Awaitable[object]], name: str) -> NoReturn:
    """Do work that never ends.

    A task group takes a child that returns, or that is cancelled by nobody, for one that is done: the rest
    would go on without it.

    Raises:
        RuntimeError: It ended.
    """
    failure = await failure_of(work())
    raise RuntimeError(f"{name} ended") from failure


@asynccontextmanager
async def running(work: Callable[[], Awaitable[object]], name: str) -> AsyncIterator[None]:
    """Inside, the work runs; when it ends, the inside is interrupted.

    No task group: it would wrap what the inside raises into an ExceptionGroup.

    Raises:
        RuntimeError: The work ended.
    """
    inside = asyncio.current_task()
    task = asyncio.create_task(lasting(work, name))
    interrupted = False

    def interrupt(_: object) -> None:
        nonlocal interrupted
        if inside is not None and not inside.done():
            interrupted = True
            inside.cancel()

    task.add_done_callback(interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if not interrupted or inside is None or inside.uncancel() > 0:
            raise
        await task
    finally:
        task.remove_done_callback(interrupt)
        task.cancel()
        await asyncio.wait([task])
