from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.auth.access_tokens import AccessTokens, InvalidTokenError, VerifiedToken
from gateway.auth.authenticator import Authenticator
from gateway.auth.database_clock import LEEWAY_S, DatabaseClock
from gateway.auth.token_cache import TokenCache
from gateway.http.caller import Caller
from shared.domain.account import Role
from shared.domain.errors import UnavailableError

_ADA = Caller("ada", frozenset([Role.USER]), 1)


class CountingTokens(AccessTokens):
    """Counts how often a signature was verified."""

    verified = 0

    def verify(self, token: str, *, now: float) -> VerifiedToken:
        self.verified += 1
        return super().verify(token, now=now)


class Revoked:
    """Revocations of the accounts named here."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def is_revoked(self, name: str, version: int) -> bool:
        return name in self.names and version < 2


@pytest.fixture
def tokens() -> CountingTokens:
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
    return CountingTokens(key=key, issuer="isoline", audience="isoline", lifetime_s=60)


@pytest.fixture
def revoked() -> Revoked:
    return Revoked()


class ManualDatabaseClock(DatabaseClock):
    """PostgreSQL's clock, ahead of this machine's by what the test sets."""

    ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> ManualDatabaseClock:
    return ManualDatabaseClock()


@pytest.fixture
def authenticator(tokens: CountingTokens, revoked: Revoked, clock: ManualDatabaseClock) -> Authenticator:
    unchecked: Any = revoked
    return Authenticator(tokens, unchecked, clock)


async def test_a_signature_is_verified_once(authenticator: Authenticator, tokens: CountingTokens) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))

    found = [await authenticator.authenticate(token) for _ in range(3)]

    assert found == [_ADA] * 3
    assert tokens.verified == 1


async def test_a_cached_token_is_refused_once_its_account_has_changed(
    authenticator: Authenticator, tokens: CountingTokens, revoked: Revoked
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    await authenticator.authenticate(token)

    revoked.names.add("ada")

    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(token)


async def test_a_cached_token_is_refused_once_it_has_expired(
    authenticator: Authenticator, tokens: CountingTokens, clock: ManualDatabaseClock
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    await authenticator.authenticate(token)

    clock.ahead_s = 60 + LEEWAY_S + 1

    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(token)
    assert tokens.verified == 2


@pytest.mark.parametrize(
    ("ahead_s", "is_cached", "is_accepted"),
    [
        (-LEEWAY_S + 2, False, True),
        (-LEEWAY_S - 2, False, False),
        (-7200, False, False),
        *((60 + LEEWAY_S - 2, is_cached, True) for is_cached in (False, True)),
        *((60 + LEEWAY_S + 2, is_cached, False) for is_cached in (False, True)),
        *((7200, is_cached, False) for is_cached in (False, True)),
    ],
)
async def test_clocks_may_differ_by_the_leeway(
    authenticator: Authenticator,
    tokens: CountingTokens,
    clock: ManualDatabaseClock,
    ahead_s: float,
    *,
    is_cached: bool,
    is_accepted: bool,
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    if is_cached:
        await authenticator.authenticate(token)

    clock.ahead_s = ahead_s

    if is_accepted:
        assert await authenticator.authenticate(token) == _ADA
    else:
        with pytest.raises(InvalidTokenError):
            await authenticator.authenticate(token)


@pytest.mark.parametrize("ahead_s", [-LEEWAY_S + 2, 0, 60 + LEEWAY_S - 2])
async def test_the_leeway_does_not_apply_to_revocations(
    authenticator: Authenticator,
    tokens: CountingTokens,
    clock: ManualDatabaseClock,
    revoked: Revoked,
    ahead_s: float,
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC))
    clock.ahead_s = ahead_s
    revoked.names.add("ada")

    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(token)


async def test_no_token_is_judged_before_the_clock_is_synchronized(
    tokens: CountingTokens, revoked: Revoked
) -> None:
    unchecked: Any = revoked
    authenticator = Authenticator(tokens, unchecked, DatabaseClock())

    with pytest.raises(UnavailableError):
        await authenticator.authenticate(tokens.issue("ada", [Role.USER], now=datetime.now(UTC)))


async def test_an_invalid_token_is_not_cached(authenticator: Authenticator, tokens: CountingTokens) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC)) + "x"

    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            await authenticator.authenticate(token)

    assert tokens.verified == 2


class External:
    """An external issuer that takes every token for one of eve's, whose account it keeps itself."""

    def __init__(self) -> None:
        self.verified: list[str] = []

    async def verify(self, token: str, *, now: float) -> VerifiedToken:
        self.verified.append(token)
        return VerifiedToken(Caller("https://issuer.test#eve", frozenset([Role.USER])), now + 60)


async def test_tokens_of_other_keys_are_verified_by_the_external_issuer_and_never_revoked_by_version(
    tokens: CountingTokens, revoked: Revoked, clock: ManualDatabaseClock
) -> None:
    external, other_key = External(), "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="  # the bytes 1 to 32
    unchecked: Any = {"revocations": revoked, "external": external}
    authenticator = Authenticator(tokens, clock=clock, **unchecked)
    others = AccessTokens(key=other_key, issuer="https://issuer.test", audience="isoline", lifetime_s=60)
    revoked.names.add("https://issuer.test#eve")
    own, foreign = (each.issue("ada", [Role.USER], now=datetime.now(UTC)) for each in (tokens, others))

    found = [await authenticator.authenticate(token) for token in (own, foreign, foreign)]

    assert [caller.name for caller in found] == ["ada", *["https://issuer.test#eve"] * 2]
    assert external.verified == [foreign]
    assert tokens.verified == 1


def test_the_oldest_of_too_many_tokens_is_evicted() -> None:
    cache = TokenCache(max_tokens=2)

    for token in ("a", "b", "c"):
        cache.put(token, VerifiedToken(_ADA, until=10.0))

    assert [cache.get(token, now=9.9) for token in ("a", "b", "c")] == [None, _ADA, _ADA]
    assert cache.get("c", now=10.0) is None


def test_an_expired_token_makes_room_for_another() -> None:
    cache = TokenCache(max_tokens=2)
    cache.put("a", VerifiedToken(_ADA, until=20.0))
    cache.put("b", VerifiedToken(_ADA, until=10.0))

    assert cache.get("b", now=10.0) is None
    cache.put("c", VerifiedToken(_ADA, until=20.0))

    assert [cache.get(token, now=10.0) for token in ("a", "c")] == [_ADA, _ADA]


def test_as_many_tokens_are_cached_as_fit_to_the_last_character() -> None:
    cache = TokenCache(max_tokens=2, max_length=20)

    for token in ("a" * 10, "b" * 10):
        cache.put(token, VerifiedToken(_ADA, until=10.0))

    assert [cache.get(token * 10, now=9.9) for token in "ab"] == [_ADA, _ADA]


def test_the_total_length_of_cached_tokens_is_limited() -> None:
    cache = TokenCache(max_length=20)

    for token in ("a" * 9, "b" * 9, "b" * 9, "c" * 9):
        cache.put(token, VerifiedToken(_ADA, until=10.0))

    assert [cache.get(token * 9, now=9.9) for token in "abc"] == [None, _ADA, _ADA]
    assert cache.get("b" * 9, now=10.0) is None
    cache.put("d" * 9, VerifiedToken(_ADA, until=20.0))
    assert cache.get("c" * 9, now=9.9) == _ADA
