"""The circuit breaker by itself, with scripted checks, a recording consumer and a clock of its own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

from processor.deliveries import circuit_breaker
from processor.deliveries.circuit_breaker import CircuitBreaker, CircuitOpenError
from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from shared.ports.broker import Consumer, Delivery

_LIMIT_S: Final = 10
_AWAY: Final = UnavailableError("the database is away")
_RETRY_S: Final = 0.5


class UnreadDelivery:
    """A delivery that the consumer has received and not passed on; records that it is given back."""

    attempt, body = 1, b""

    def __init__(self, done: list[str]) -> None:
        self._done = done

    async def requeue(self) -> None:
        self._done.append("unread is given back")


class RecordingConsumer:
    """A consumer with one unread delivery; records the calls that it gets."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def pause(self) -> list[Delivery]:
        self.done.append("paused")
        return [cast("Delivery", UnreadDelivery(self.done))]

    async def resume(self) -> None:
        self.done.append("resumed")

    async def give_back(self) -> None:
        """Give back the deliveries that a processor has not settled."""
        self.done.append("unsettled is given back")


class ScriptedChecks:
    """A circuit breaker whose checks have given outcomes; time passes only between them."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._now_s = 1000.0
        self._outcomes: list[Exception | None] = []
        self._are_over = asyncio.Event()
        self.breaker = CircuitBreaker(self._check)
        self.consumer = RecordingConsumer()

    async def run(self, *outcomes: Exception | None) -> None:
        """Run the breaker until each of these was the outcome of a check."""
        self._outcomes = list(outcomes)
        async with asyncio.timeout(_LIMIT_S):
            with pytest.raises(_OverError):
                await self.breaker.run(cast("Consumer", self.consumer))

    async def _check(self) -> None:
        outcome = self._outcomes.pop(0)
        if outcome is not None:
            raise outcome

    def monotonic(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self._now_s += seconds
        if not self._outcomes:
            raise _OverError
        await asyncio.sleep(0)


class _OverError(Exception):
    """No outcomes are left: ends the breaker."""


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> ScriptedChecks:
    """Checks that are repeated every half second while they fail."""
    checks = ScriptedChecks()
    monkeypatch.setattr(circuit_breaker, "time", checks)
    monkeypatch.setattr(
        circuit_breaker, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": checks.sleep})
    )
    monkeypatch.setattr(circuit_breaker, "_FIRST_BACKOFF_S", _RETRY_S)
    monkeypatch.setattr(circuit_breaker, "_LONGEST_BACKOFF_S", _RETRY_S)
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)
    return checks


async def interrupted(breaker: CircuitBreaker, *, only_if_draining: bool) -> asyncio.Task[bool]:
    """Begin to wait for PostgreSQL; the task's result is whether that was interrupted."""
    is_waiting = asyncio.Event()

    async def wait() -> bool:
        try:
            async with breaker.interrupt_on_open(only_if_draining=only_if_draining):
                is_waiting.set()
                await asyncio.sleep(_LIMIT_S)
        except CircuitOpenError:
            return True
        return False

    task = asyncio.create_task(wait())
    await is_waiting.wait()
    return task


async def end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


class TestConsuming:
    async def test_nothing_is_consumed_before_the_first_check_succeeds(self, checks: ScriptedChecks) -> None:
        await checks.run(_AWAY, _AWAY, None, None)

        assert checks.consumer.done == ["paused", "unread is given back", "resumed"]

    async def test_it_opens_once_checks_have_failed_for_two_seconds(self, checks: ScriptedChecks) -> None:
        await checks.run(None, *[_AWAY] * 4)
        assert checks.consumer.done[-1] == "resumed"

        await checks.run(None, *[_AWAY] * 5)
        assert checks.consumer.done[-2:] == ["paused", "unread is given back"]

    async def test_failures_with_a_success_between_them_are_two_outages(self, checks: ScriptedChecks) -> None:
        await checks.run(None, *[_AWAY] * 4, None, *[_AWAY] * 4)

        assert checks.consumer.done == ["paused", "unread is given back", "resumed"]

    async def test_it_opens_once_in_an_outage_and_closes_once_behind_it(self, checks: ScriptedChecks) -> None:
        await checks.run(None, *[_AWAY] * 9, None, None)

        assert checks.consumer.done == ["paused", "unread is given back", "resumed"] * 2

    async def test_it_checks_each_second_and_after_failures_with_a_backoff(
        self, checks: ScriptedChecks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(circuit_breaker, "_LONGEST_BACKOFF_S", 3.0)

        await checks.run(*[_AWAY] * 5, None, None, _AWAY)

        assert checks.slept_s == [0.5, 1, 2, 3, 3, 1, 1, 0.5]

    async def test_while_the_process_drains_nothing_is_consumed_again(self, checks: ScriptedChecks) -> None:
        checks.breaker.stop_holding_results()

        await checks.run(_AWAY, None)

        assert checks.consumer.done == ["paused", "unread is given back"]


class TestHeldDeliveries:
    async def test_those_that_are_held_when_it_opens_are_given_back_once_nothing_is_consumed(
        self, checks: ScriptedChecks
    ) -> None:
        with checks.breaker.give_back_on_open(checks.consumer.give_back):
            await checks.run(None, *[_AWAY] * 5)

        [first, *rest] = checks.consumer.done[3:]
        assert (first, set(rest)) == ("paused", {"unread is given back", "unsettled is given back"})

    async def test_those_that_were_held_are_not(self, checks: ScriptedChecks) -> None:
        with checks.breaker.give_back_on_open(checks.consumer.give_back):
            await checks.run(None)

        await checks.run(None, *[_AWAY] * 5)

        assert "unsettled is given back" not in checks.consumer.done


class TestWaiting:
    async def test_a_breaker_that_does_not_run_is_closed(self) -> None:
        async with CircuitBreaker().interrupt_on_open():
            pass

    async def test_a_wait_without_results_is_interrupted_when_it_opens_and_one_with_results_is_not(
        self, checks: ScriptedChecks
    ) -> None:
        await checks.run(None)
        waits = [await interrupted(checks.breaker, only_if_draining=only) for only in (False, True)]
        running = asyncio.create_task(checks.run(None, *[_AWAY] * 5))

        assert await waits[0]
        await running
        assert not waits[1].done()
        await end(waits[1])

    async def test_a_wait_with_results_is_interrupted_too_once_the_process_drains(
        self, checks: ScriptedChecks
    ) -> None:
        wait = await interrupted(checks.breaker, only_if_draining=True)
        await checks.run(_AWAY)

        checks.breaker.stop_holding_results()

        assert await wait

    async def test_a_process_that_drains_interrupts_no_wait_before_the_circuit_opens(
        self, checks: ScriptedChecks
    ) -> None:
        await checks.run(None)
        waits = [await interrupted(checks.breaker, only_if_draining=only) for only in (False, True)]

        checks.breaker.stop_holding_results()
        await asyncio.sleep(0.01)
        assert not any(wait.done() for wait in waits)

        await checks.breaker._open(cast("Consumer", checks.consumer))
        assert await asyncio.gather(*waits) == [True, True]

    @pytest.mark.parametrize("only_if_draining", [False, True])
    @pytest.mark.parametrize("is_draining", [False, True])
    @pytest.mark.parametrize("is_open", [False, True])
    async def test_no_wait_begins_while_it_is_open_but_one_with_results_while_the_process_does_not_drain(
        self, checks: ScriptedChecks, *, is_open: bool, is_draining: bool, only_if_draining: bool
    ) -> None:
        await checks.run(_AWAY if is_open else None)
        if is_draining:
            checks.breaker.stop_holding_results()
        may_wait = not is_open or (only_if_draining and not is_draining)

        begun = False
        try:
            async with checks.breaker.interrupt_on_open(only_if_draining=only_if_draining):
                begun = True
        except CircuitOpenError:
            pass

        assert begun is may_wait

    async def test_a_wait_that_has_ended_is_not_interrupted(self, checks: ScriptedChecks) -> None:
        await checks.run(None)
        async with checks.breaker.interrupt_on_open():
            pass

        await checks.run(None, *[_AWAY] * 5)

    async def test_a_wait_that_was_interrupted_and_has_not_ended_is_not_interrupted_again(
        self, checks: ScriptedChecks
    ) -> None:
        await checks.run(None)
        may_go, is_waiting = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            async with checks.breaker.interrupt_on_open():
                try:
                    is_waiting.set()
                    await asyncio.sleep(_LIMIT_S)
                finally:
                    await may_go.wait()

        waiting = asyncio.create_task(wait())
        await is_waiting.wait()
        await checks.breaker._open(cast("Consumer", checks.consumer))
        await asyncio.sleep(0)

        checks.breaker.stop_holding_results()

        may_go.set()
        with pytest.raises(CircuitOpenError):
            await waiting


class TestCheck:
    @pytest.mark.parametrize(
        ("failure", "reason"),
        [
            (_AWAY, "the database is away"),
            (UnavailableError(""), "UnavailableError"),
            (ZeroDivisionError("by 7"), "the check failed: ZeroDivisionError: by 7"),
        ],
    )
    async def test_it_says_why_postgresql_can_not_be_used(
        self, checks: ScriptedChecks, failure: Exception, reason: str
    ) -> None:
        await checks.run(failure)

        with pytest.raises(UnavailableError) as caught:
            await checks.breaker.check()
        assert str(caught.value) == reason

    async def test_it_passes_after_a_check_that_succeeded(self, checks: ScriptedChecks) -> None:
        await checks.run(_AWAY, None)

        await checks.breaker.check()

    async def test_it_waits_for_the_first(self, checks: ScriptedChecks) -> None:
        asked = asyncio.create_task(checks.breaker.check())
        await asyncio.sleep(0.01)
        assert not asked.done()

        await checks.run(_AWAY)

        with pytest.raises(UnavailableError):
            await asked

    async def test_a_check_without_an_answer_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(circuit_breaker, "_CHECK_WITHIN_S", 0.01)
        breaker = CircuitBreaker(lambda: asyncio.sleep(_LIMIT_S))
        running = asyncio.create_task(breaker.run(cast("Consumer", RecordingConsumer())))

        async with asyncio.timeout(_LIMIT_S / 2):
            with pytest.raises(UnavailableError, match=r"^no answer within 0\.01 s$"):
                await breaker.check()
        await end(running)
