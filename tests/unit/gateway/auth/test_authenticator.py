from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.auth.access_tokens import Caller, InvalidTokenError, Tokens, Verified
from gateway.auth.authenticator import Callers
from gateway.auth.database_clock import LEEWAY_S, DatabaseClock
from gateway.auth.token_cache import VerifiedTokens
from shared.domain.account import Role
from shared.domain.errors import UnavailableError

_ADA = Caller("ada", frozenset([Role.USER]), 1)


class CountingTokens(Tokens):
    """Counts how often a signature was verified."""

    verified = 0

    def verify(self, token: str, *, now: float) -> Verified:
        self.verified += 1
        return super().verify(token, now=now)


class Revoked:
    """Revocations of whoever is named here."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def is_past(self, name: str, version: int) -> bool:
        return name in self.names and version == 1


@pytest.fixture
def tokens() -> CountingTokens:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
    return CountingTokens(key=key, issuer="isoline", audience="isoline", lifetime_s=60)


@pytest.fixture
def revoked() -> Revoked:
    return Revoked()


class HandSetClock(DatabaseClock):
    """PostgreSQL's clock, ahead of this machine's by what a test says."""

    ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> HandSetClock:
    return HandSetClock()


@pytest.fixture
def callers(tokens: CountingTokens, revoked: Revoked, clock: HandSetClock) -> Callers:
    unchecked: Any = revoked
    return Callers(tokens, unchecked, clock)


async def test_a_signature_is_verified_once(callers: Callers, tokens: CountingTokens) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))

    found = [await callers.caller(token) for _ in range(3)]

    assert found == [_ADA] * 3
    assert tokens.verified == 1


async def test_a_token_that_was_taken_before_is_refused_once_its_account_has_changed(
    callers: Callers, tokens: CountingTokens, revoked: Revoked
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    await callers.caller(token)

    revoked.names.add("ada")

    with pytest.raises(InvalidTokenError):
        await callers.caller(token)


async def test_a_token_that_was_taken_before_is_refused_once_it_has_expired(
    callers: Callers, tokens: CountingTokens, clock: HandSetClock
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    await callers.caller(token)

    clock.ahead_s = 60 + LEEWAY_S + 1

    with pytest.raises(InvalidTokenError):
        await callers.caller(token)
    assert tokens.verified == 2


@pytest.mark.parametrize(
    ("ahead_s", "is_known", "is_taken"),
    [
        (-LEEWAY_S + 2, False, True),
        (-LEEWAY_S - 2, False, False),
        (-7200, False, False),
        *((60 + LEEWAY_S - 2, is_known, True) for is_known in (False, True)),
        *((60 + LEEWAY_S + 2, is_known, False) for is_known in (False, True)),
        *((7200, is_known, False) for is_known in (False, True)),
    ],
)
async def test_a_clock_may_be_some_seconds_from_the_one_that_made_the_token_and_no_further(
    callers: Callers,
    tokens: CountingTokens,
    clock: HandSetClock,
    ahead_s: float,
    *,
    is_known: bool,
    is_taken: bool,
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    if is_known:
        await callers.caller(token)

    clock.ahead_s = ahead_s

    if is_taken:
        assert await callers.caller(token) == _ADA
    else:
        with pytest.raises(InvalidTokenError):
            await callers.caller(token)


@pytest.mark.parametrize("ahead_s", [-LEEWAY_S + 2, 0, 60 + LEEWAY_S - 2])
async def test_no_leeway_brings_back_a_token_whose_account_has_changed(
    callers: Callers, tokens: CountingTokens, clock: HandSetClock, revoked: Revoked, ahead_s: float
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    clock.ahead_s = ahead_s
    revoked.names.add("ada")

    with pytest.raises(InvalidTokenError):
        await callers.caller(token)


async def test_nobody_can_tell_whose_a_token_is_before_postgresql_has_told_the_time(
    tokens: CountingTokens, revoked: Revoked
) -> None:
    unchecked: Any = revoked
    callers = Callers(tokens, unchecked, DatabaseClock())

    with pytest.raises(UnavailableError):
        await callers.caller(tokens.issue("ada", [Role.USER], now=datetime.now(UTC)))


async def test_a_token_that_was_never_verified_is_not_kept(callers: Callers, tokens: CountingTokens) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC)) + "x"

    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            await callers.caller(token)

    assert tokens.verified == 2


def test_the_oldest_of_too_many_tokens_makes_room() -> None:
    kept = VerifiedTokens(max_tokens=2)

    for token in ("a", "b", "c"):
        kept.keep(token, Verified(_ADA, until=10.0))

    assert [kept.caller(token, now=9.9) for token in ("a", "b", "c")] == [None, _ADA, _ADA]
    assert kept.caller("c", now=10.0) is None


def test_long_tokens_are_kept_as_far_as_they_have_room_together() -> None:
    kept = VerifiedTokens(max_length=20)

    for token in ("a" * 9, "b" * 9, "b" * 9, "c" * 9):
        kept.keep(token, Verified(_ADA, until=10.0))

    assert [kept.caller(token * 9, now=9.9) for token in "abc"] == [None, _ADA, _ADA]
    assert kept.caller("b" * 9, now=10.0) is None
    kept.keep("d" * 9, Verified(_ADA, until=20.0))
    assert kept.caller("c" * 9, now=9.9) == _ADA
