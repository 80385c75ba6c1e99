"""The gateway's background refreshes: a failed one fails its readiness check."""

from __future__ import annotations

import asyncio
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.auth import revocations as revocations_module
from gateway.auth.database_clock import DatabaseClock
from gateway.auth.revocations import Revocations, open_revocations
from gateway.ecgs.backlog import open_backlog
from gateway.ecgs.result_waiter import open_result_waiter
from shared.domain.errors import UnavailableError
from shared.ports.accounts import AccountChanges
from tests.support.builders import a_queued_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.ports.accounts import AccountStore
    from shared.ports.ecgs import EcgState, EcgStore

_LIMIT_S = 10
_REFUSED = "permission denied"


class Store:
    """Accounts and ECGs, all queued; queries fail while ``is_refused`` is set."""

    def __init__(
        self, *, is_refused: bool = False, versions: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.is_refused = is_refused
        self.times_asked = 0
        self._versions = versions
        self.was_asked = asyncio.Event()

    async def recent_changes(self) -> AccountChanges:
        self._ask()
        return AccountChanges(self._versions, 0.0)

    async def count_queued(self, limit: int) -> int:
        self._ask()
        return max(limit - 1, 0)

    async def find(self, owned: Sequence[tuple[str, str]]) -> dict[tuple[str, str], EcgState]:
        self._ask()
        self.was_asked.set()
        return {(owner, id_): a_queued_state(id_) for owner, id_ in owned}

    def _ask(self) -> None:
        self.times_asked += 1
        if self.is_refused:
            raise UnavailableError(_REFUSED, is_logged=True)


async def refusal(check: Callable[[], None]) -> str:
    """Why the check does not pass, once it does not."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            try:
                check()
            except UnavailableError as error:
                return str(error)
            await asyncio.sleep(0.01)


async def passing(check: Callable[[], None]) -> None:
    """Return once the check passes."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            try:
                check()
            except UnavailableError:
                await asyncio.sleep(0.01)
            else:
                return


class TestRevocations:
    async def test_a_token_is_revoked_once_its_account_has_a_later_version(self) -> None:
        revocations = Revocations(cast("AccountStore", Store(versions={"ada": 2, "bob": 3})), DatabaseClock())
        await revocations.refresh()

        assert [revocations.is_revoked("ada", version) for version in (1, 2, 3)] == [True, False, False]
        assert [revocations.is_revoked("bob", 2), revocations.is_revoked("cy", 1)] == [True, False]

    async def test_before_the_first_refresh_no_token_is_judged(self) -> None:
        revocations = Revocations(cast("AccountStore", Store()), DatabaseClock())

        assert "not looked up yet" in await refusal(revocations.check)

    async def test_a_list_is_used_for_half_a_minute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store, now_s = Store(), 1000.0
        monkeypatch.setattr(revocations_module, "time", SimpleNamespace(monotonic=lambda: now_s))
        revocations = Revocations(cast("AccountStore", store), DatabaseClock())
        await revocations.refresh()
        store.is_refused = True

        now_s += 30
        revocations.check()
        now_s += 0.1
        await revocations.refresh()  # a failed one renews nothing
        with pytest.raises(UnavailableError, match=_REFUSED):
            revocations.check()

    async def test_it_refreshes_twice_within_the_promised_delay(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, clock = Store(), DatabaseClock()
        slept: list[tuple[float, int]] = []

        async def sleep(seconds: float) -> None:
            """Don't sleep, and the third time forever."""
            slept.append((seconds, store.times_asked))
            if len(slept) == 3:
                monkeypatch.undo()
                has_slept.set()
                await asyncio.Event().wait()

        has_slept = asyncio.Event()
        monkeypatch.setattr("gateway.auth.revocations.asyncio.sleep", sleep)
        opened = open_revocations(cast("AccountStore", store), clock, within_s=5.0)
        async with asyncio.timeout(_LIMIT_S), opened as revocations:
            revocations.check()
            clock.now()
            await has_slept.wait()

        assert slept == [(2.5, 1), (2.5, 2), (2.5, 3)]

    async def test_before_the_first_success_no_token_is_judged_and_the_check_says_why(self) -> None:
        revocations = Revocations(cast("AccountStore", Store(is_refused=True)), DatabaseClock())

        await revocations.refresh()

        with pytest.raises(UnavailableError):
            revocations.is_revoked("ada", 1)
        assert _REFUSED in await refusal(revocations.check)

    async def test_the_check_fails_once_the_list_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = Store()
        revocations = Revocations(cast("AccountStore", store), DatabaseClock())
        await revocations.refresh()
        store.is_refused = True
        await revocations.refresh()

        revocations.check()
        assert not revocations.is_revoked("ada", 1)
        monkeypatch.setattr(revocations_module, "_MAX_STALENESS_S", -1)
        with pytest.raises(UnavailableError):
            revocations.is_revoked("ada", 1)
        assert _REFUSED in await refusal(revocations.check)


async def test_a_backlog_that_can_not_be_measured_accepts_ecgs_and_fails_its_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.ecgs.backlog._MEASURE_EVERY_S", 0.01)
    store = Store()
    async with open_backlog(cast("EcgStore", store), limit=10) as backlog:
        backlog.check_readiness()
        store.is_refused = True
        reason = await refusal(backlog.check_readiness)
        backlog.check()
        store.is_refused = False
        await passing(backlog.check_readiness)

    assert reason == _REFUSED


async def test_a_backlog_at_its_limit_is_logged_by_readiness_and_not_by_each_request() -> None:
    async with open_backlog(cast("EcgStore", Store()), limit=0) as backlog:
        await refusal(backlog.check)
        with pytest.raises(UnavailableError) as of_readiness:
            backlog.check_readiness()
        with pytest.raises(UnavailableError) as of_request:
            backlog.check()

    assert str(of_readiness.value) == str(of_request.value)
    assert (of_readiness.value.is_logged, of_request.value.is_logged) == (False, True)


async def test_a_failed_poll_fails_the_check_while_requests_wait() -> None:
    store = Store()
    async with open_result_waiter(cast("EcgStore", store)) as waiter:
        asked = asyncio.create_task(waiter.wait(("ada", "1"), wait_s=_LIMIT_S))
        await store.was_asked.wait()
        waiter.check()
        store.is_refused = True
        reason = await refusal(waiter.check)
        waiter.end_waits()
        await asked
        waiter.check()

    assert reason == _REFUSED
