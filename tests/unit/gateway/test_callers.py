from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.callers import Callers
from gateway.tokens import Caller, InvalidTokenError, Tokens, Verified
from gateway.verified_tokens import VerifiedTokens
from shared.domain.account import Role

_ADA = Caller("ada", frozenset([Role.USER]), 1)


class CountingTokens(Tokens):
    """Counts how often a signature was verified."""

    verified = 0

    def verify(self, token: str) -> Verified:
        self.verified += 1
        return super().verify(token)


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


@pytest.fixture
def callers(tokens: CountingTokens, revoked: Revoked) -> Callers:
    unchecked: Any = revoked
    return Callers(tokens, unchecked)


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
    callers: Callers, tokens: CountingTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.issue("ada", [Role.USER], now=datetime.now(UTC) - timedelta(seconds=58.5))
    await callers.caller(token)
    in_a_minute = time.time() + 60

    monkeypatch.setattr("gateway.callers.time.time", lambda: in_a_minute)
    monkeypatch.setattr("jwt.api_jwt.datetime", FrozenDatetime)

    with pytest.raises(InvalidTokenError):
        await callers.caller(token)
    assert tokens.verified == 2


class FrozenDatetime(datetime):
    """A clock of the library that is a minute ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(minutes=1)


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
