"""Supervised background tasks: when one ends, the code that depends on it ends too."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_T = TypeVar("_T")


async def failure_of(call: Awaitable[object]) -> Exception | None:
    """Await a call into a library and return the exception that it raised, or None.

    A channel that closes ends the calls on it with its own exception, CancelledError included. That counts as
    a cancellation only when this task was cancelled; and then it is one, whatever the call made of it: aiormq
    raises the reason why a channel closed in place of a cancellation that comes at the same time.
    """
    task = asyncio.current_task()
    earlier = 0 if task is None else task.cancelling()
    failure: Exception | None = None
    try:
        await call
    except asyncio.CancelledError:
        if task is None or task.cancelling():
            raise
        failure = ConnectionError("cancelled from within: the channel was lost")
    except Exception as error:  # noqa: BLE001 - RuntimeError and a bare Exception are among its failures
        failure = error
    # A task group of Python 3.11 cancels the task that it ends with a failure, and does not take that back.
    was_cancelled = task is not None and task.cancelling() > earlier
    if was_cancelled and not isinstance(failure, ExceptionGroup):
        raise asyncio.CancelledError from failure
    return failure


def raise_if_cancelled() -> None:
    """Cancel this task if it was asked to, and a library that it called did not let that through.

    Raises:
        CancelledError: It was.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_supervised(work: Callable[[], Awaitable[object]], name: str) -> NoReturn:
    """Run work that must never end, as a child of a task group.

    A task group ignores a child that returns or cancels itself: the others would go on without it.

    Raises:
        RuntimeError: The work ended.
    """
    failure = await failure_of(work())
    raise RuntimeError(f"{name} ended") from failure


@asynccontextmanager
async def background_task(work: Callable[[], Awaitable[object]], name: str) -> AsyncIterator[None]:
    """Run work that must never end beside the body of the context; if it ends, the body is cancelled.

    No task group: it would wrap the body's exceptions into an ExceptionGroup.

    Raises:
        RuntimeError: The work ended.
    """
    body = asyncio.current_task()
    task = asyncio.create_task(run_supervised(work, name))
    interrupted = False

    def interrupt(_: object) -> None:
        nonlocal interrupted
        if body is not None and not body.done():
            interrupted = True
            body.cancel()

    task.add_done_callback(interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if not interrupted or body is None or body.uncancel() > 0:
            raise
        await task
    finally:
        task.remove_done_callback(interrupt)
        task.cancel()
        await asyncio.wait([task])


async def within(seconds: float, work: Awaitable[_T]) -> _T:
    """The result of some work, by then at the latest; if it is late, it is cancelled and not waited for.

    `asyncio.timeout` waits until what it has cancelled has ended. asyncpg asks the server to take a statement
    back, and a frozen one takes ten seconds for that.

    Raises:
        TimeoutError: It has not ended in time.
        UnavailableError: A library cancelled it, as when it has lost its connection.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        if task.cancelled():
            raise UnavailableError("the connection was lost")
        return task.result()
    finally:
        task.add_done_callback(_forget)
        task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    """Take its error, which nobody asks for any more, and asyncio would log."""
    if not task.cancelled():
        task.exception()
