from __future__ import annotations

import asyncio
from functools import partial

import pytest

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.process import run_until_signal
from shared.runtime.supervision import background_task, run_supervised, within


async def _end_after(pause_s: float, error: BaseException | None = None) -> None:
    await asyncio.sleep(pause_s)
    if error is not None:
        raise error


async def test_a_task_that_returns_cancels_the_body_of_its_context() -> None:
    with pytest.raises(RuntimeError, match="the work ended"):
        async with background_task(partial(_end_after, 0.01), "the work"):
            await asyncio.sleep(10)


async def test_a_task_that_cancels_itself_cancels_the_body_of_its_context() -> None:
    with pytest.raises(RuntimeError, match="the work ended"):
        async with background_task(partial(_end_after, 0.01, asyncio.CancelledError()), "the work"):
            await asyncio.sleep(10)


async def test_the_cause_is_in_the_error() -> None:
    with pytest.raises(RuntimeError) as raised:
        async with background_task(partial(_end_after, 0.01, ValueError("why")), "the work"):
            await asyncio.sleep(10)

    assert repr(raised.value.__cause__) == "ValueError('why')"


async def test_a_failure_within_a_group_of_tasks_of_the_work_is_the_cause() -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_end_after(0.01, ValueError("why")))

    with pytest.raises(RuntimeError, match="the work ended") as raised:
        async with background_task(work, "the work"):
            await asyncio.sleep(10)

    assert isinstance(raised.value.__cause__, ExceptionGroup)


async def test_cancellation_ends_the_work_quietly() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()

    async with background_task(work, "the work"):
        await asyncio.sleep(0)

    assert ended.is_set()


async def test_cancellation_before_it_has_begun_leaves_nothing_behind() -> None:
    begun = []

    async def work() -> None:
        begun.append(True)
        await asyncio.sleep(10)

    async with background_task(work, "the work"):
        pass

    assert begun == []


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def inside() -> None:
        async with background_task(partial(asyncio.sleep, 10), "the work"):
            await asyncio.sleep(10)

    task = asyncio.create_task(inside())
    await asyncio.sleep(0.01)

    task.cancel()
    await asyncio.wait([task], timeout=1)

    assert task.cancelled()


async def test_a_task_group_fails_with_a_supervised_child_that_ended() -> None:
    async def supervise() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_supervised(partial(_end_after, 0), "the relay"))
            await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup) as raised:
        await supervise()

    assert str(raised.value.exceptions[0]) == "the relay ended"


@pytest.mark.parametrize("error", [None, ValueError(), asyncio.CancelledError()])
def test_a_process_whose_work_ends_by_itself_has_a_status_that_says_so(error: BaseException | None) -> None:
    async def main(_: asyncio.Event) -> None:
        await _end_after(0, error)

    assert run_until_signal(main) == 1


def test_a_process_that_was_asked_to_stop_has_status_0() -> None:
    async def main(stop_requested: asyncio.Event) -> None:
        stop_requested.set()

    assert run_until_signal(main) == 0


def test_a_process_whose_work_finds_a_setting_wrong_has_a_status_that_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def main(_: asyncio.Event) -> None:
        async with background_task(
            partial(_end_after, 0, ConfigurationError("ISOLINE_X: wrong")), "the work"
        ):
            await asyncio.sleep(10)

    assert run_until_signal(main) == 2
    assert capsys.readouterr().err == "ISOLINE_X: wrong\n"


async def test_what_is_late_is_cancelled_and_not_waited_for() -> None:
    was_cancelled, may_end = asyncio.Event(), asyncio.Event()

    async def hang_on_its_way_out() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()
            await may_end.wait()
            raise RuntimeError("nobody asks any more")

    with pytest.raises(TimeoutError):
        await within(0.0, hang_on_its_way_out())
    await was_cancelled.wait()
    may_end.set()


async def test_what_ends_in_time_gives_its_result_or_its_error() -> None:
    async def cancelled_by_a_library() -> None:
        raise asyncio.CancelledError

    async def failing() -> None:
        raise ZeroDivisionError

    assert await within(9.0, asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await within(9.0, failing())
    with pytest.raises(UnavailableError, match="the connection was lost"):
        await within(9.0, cancelled_by_a_library())


async def test_a_cancellation_ends_the_work_too() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(within(9.0, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(9.0):
        await ended.wait()
