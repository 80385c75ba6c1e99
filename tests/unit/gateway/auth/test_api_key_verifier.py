from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest

from gateway.auth import api_key_verifier
from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.api_key_verifier import ApiKeyVerifier, open_api_key_verifier
from gateway.http.caller import Caller
from shared.domain.account import Role
from shared.domain.api_key import ApiKey, hash_secret, new_secret, shown_prefix
from shared.domain.errors import UnavailableError
from shared.ports.api_keys import FoundApiKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from gateway.auth.revocations import Revocations
    from shared.ports.api_keys import ApiKeyStore

_NOW = datetime(2026, 11, 30, tzinfo=UTC)
_NOW_S = _NOW.timestamp()
_AWAY = "PostgreSQL: away"


class Keys:
    """API keys in memory; the store is away while ``is_away`` is set."""

    def __init__(self) -> None:
        self.found: dict[bytes, FoundApiKey] = {}
        self.lookups = 0
        self.uses: list[Mapping[UUID, datetime]] = []
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def create(self, *, account: str = "ada", lifetime_s: float | None = None) -> str:
        secret = new_secret()
        expires_at = None if lifetime_s is None else _NOW + timedelta(seconds=lifetime_s)
        key = ApiKey(
            uuid4(), account, "", shown_prefix(secret), frozenset([Role.USER]), _NOW, expires_at=expires_at
        )
        self.found[hash_secret(secret)] = FoundApiKey(key, None)
        return secret

    def id_of(self, secret: str) -> UUID:
        return self.found[hash_secret(secret)].key.id

    async def find(self, secret_hash: bytes) -> FoundApiKey | None:
        self.lookups += 1
        if self.is_away:
            raise UnavailableError(_AWAY)
        found = self.found.get(secret_hash)
        await self.may_answer.wait()
        return found

    async def record_uses(self, uses: Mapping[UUID, datetime]) -> None:
        if self.is_away:
            raise UnavailableError(_AWAY)
        self.uses.append(uses)


class Changes:
    """When accounts changed, as revocations tell it."""

    def __init__(self) -> None:
        self.times: dict[str, datetime] = {}
        self.is_too_old = False

    def check(self) -> None:
        if self.is_too_old:
            raise UnavailableError(_AWAY)

    def has_changed_since(self, name: str, changed_at: datetime | None) -> bool:
        self.check()
        last = self.times.get(name)
        return last is not None and (changed_at is None or last > changed_at)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def verifier(keys: Keys, changes: Changes) -> ApiKeyVerifier:
    return ApiKeyVerifier(cast("ApiKeyStore", keys), cast("Revocations", changes))


async def is_taken(verifier: ApiKeyVerifier, secret: str, *, after_s: float = 0) -> bool:
    try:
        await verifier.verify(secret, now=_NOW_S + after_s)
    except InvalidTokenError:
        return False
    return True


async def test_a_key_proves_its_account_with_its_roles(verifier: ApiKeyVerifier, keys: Keys) -> None:
    secret = keys.create()

    caller = await verifier.verify(secret, now=_NOW_S)

    assert caller == Caller("ada", frozenset([Role.USER]), key_id=keys.id_of(secret))


async def test_a_key_is_looked_up_once_for_many_requests(verifier: ApiKeyVerifier, keys: Keys) -> None:
    secret = keys.create()

    for second in range(899):
        assert await is_taken(verifier, secret, after_s=second)

    assert keys.lookups == 1


async def test_it_is_looked_up_again_before_the_change_of_its_account_is_no_longer_told(
    verifier: ApiKeyVerifier, keys: Keys
) -> None:
    secret = keys.create()
    assert await is_taken(verifier, secret)
    keys.found.clear()

    assert await is_taken(verifier, secret, after_s=899)
    assert not await is_taken(verifier, secret, after_s=900)


async def test_a_text_that_is_no_secret_is_refused_without_a_look_up(
    verifier: ApiKeyVerifier, keys: Keys
) -> None:
    assert not await is_taken(verifier, "isk_" + "0" * 46)

    assert keys.lookups == 0


async def test_an_unknown_key_that_is_sent_again_is_looked_up_once_a_minute(
    verifier: ApiKeyVerifier, keys: Keys
) -> None:
    secret = new_secret()

    for second in (0, 1, 59, 60, 61):
        assert not await is_taken(verifier, secret, after_s=second)

    assert keys.lookups == 2


async def test_unknown_keys_push_no_known_key_out(
    verifier: ApiKeyVerifier, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_verifier, "_MAX_REFUSED", 2)
    secret = keys.create()
    assert await is_taken(verifier, secret)
    for _ in range(5):
        assert not await is_taken(verifier, new_secret())
    lookups = keys.lookups

    assert await is_taken(verifier, secret)
    assert keys.lookups == lookups


async def test_the_oldest_of_too_many_known_keys_is_looked_up_again(
    verifier: ApiKeyVerifier, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_verifier, "_MAX_KNOWN", 2)
    secrets = [keys.create() for _ in range(3)]

    for secret in [*secrets, secrets[2], secrets[1], secrets[0]]:
        assert await is_taken(verifier, secret)

    assert keys.lookups == 4


async def test_a_key_expires_at_its_time(verifier: ApiKeyVerifier, keys: Keys) -> None:
    secret = keys.create(lifetime_s=10)

    taken = [await is_taken(verifier, secret, after_s=second) for second in (0, 9.9, 10, 11)]

    assert taken == [True, True, False, False]
    assert keys.lookups == 2


async def test_a_key_whose_account_has_changed_is_looked_up_again_and_then_no_more(
    verifier: ApiKeyVerifier, keys: Keys, changes: Changes
) -> None:
    secret, others = keys.create(), keys.create(account="bob")
    for each in (secret, others):
        assert await is_taken(verifier, each)
    found = keys.found[hash_secret(secret)]
    keys.found[hash_secret(secret)] = found._replace(changed_at=_NOW)
    changes.times["ada"] = _NOW

    for each in (secret, secret, others):
        assert await is_taken(verifier, each)

    assert keys.lookups == 3


async def test_a_key_that_was_looked_up_after_a_change_is_taken_before_the_change_is_told(
    verifier: ApiKeyVerifier, keys: Keys, changes: Changes
) -> None:
    secret = keys.create()
    found = keys.found[hash_secret(secret)]
    keys.found[hash_secret(secret)] = found._replace(changed_at=_NOW)
    changes.times["ada"] = _NOW - timedelta(seconds=1)

    for _ in range(2):
        assert await is_taken(verifier, secret)

    assert keys.lookups == 1


async def test_a_revoked_key_is_refused_once_its_account_is_told_to_have_changed(
    verifier: ApiKeyVerifier, keys: Keys, changes: Changes
) -> None:
    secret = keys.create()
    assert await is_taken(verifier, secret)

    keys.found.clear()
    assert await is_taken(verifier, secret)
    changes.times["ada"] = _NOW

    assert not await is_taken(verifier, secret)


async def test_a_key_that_was_revoked_here_is_refused_at_once(verifier: ApiKeyVerifier, keys: Keys) -> None:
    secret, others = keys.create(), keys.create(account="bob")
    for each in (secret, others):
        assert await is_taken(verifier, each)

    del keys.found[hash_secret(secret)]
    verifier.forget_keys_of("ada")

    assert not await is_taken(verifier, secret)
    lookups = keys.lookups
    assert await is_taken(verifier, others)
    assert keys.lookups == lookups


async def test_a_key_that_is_revoked_here_while_it_is_looked_up_is_not_kept(
    verifier: ApiKeyVerifier, keys: Keys
) -> None:
    secret = keys.create()
    keys.may_answer.clear()
    first = asyncio.create_task(verifier.verify(secret, now=_NOW_S))
    await asyncio.sleep(0)
    assert keys.lookups == 1

    keys.found.clear()
    verifier.forget_keys_of("ada")
    keys.may_answer.set()
    await first  # it was sent before the key was revoked

    assert not await is_taken(verifier, secret)


async def test_while_changes_of_accounts_are_not_known_no_key_is_judged(
    verifier: ApiKeyVerifier, keys: Keys, changes: Changes
) -> None:
    secret, unknown = keys.create(), new_secret()
    assert await is_taken(verifier, secret)
    changes.is_too_old = True

    for each in (secret, unknown, keys.create()):
        with pytest.raises(UnavailableError):
            await verifier.verify(each, now=_NOW_S)


async def test_a_key_that_can_not_be_looked_up_is_not_refused_later(
    verifier: ApiKeyVerifier, keys: Keys
) -> None:
    secret = keys.create()
    keys.is_away = True
    with pytest.raises(UnavailableError):
        await verifier.verify(secret, now=_NOW_S)
    keys.is_away = False

    assert await is_taken(verifier, secret)


async def test_look_ups_take_two_connections_at_a_time(verifier: ApiKeyVerifier, keys: Keys) -> None:
    keys.may_answer.clear()
    calls = [asyncio.create_task(is_taken(verifier, new_secret())) for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)

    assert keys.lookups == 2
    keys.may_answer.set()
    assert await asyncio.gather(*calls) == [False] * 5


class TestUses:
    async def test_the_last_use_of_each_key_is_recorded_in_one_go(
        self, verifier: ApiKeyVerifier, keys: Keys
    ) -> None:
        secret, other = keys.create(), keys.create()
        for second in (0, 1, 2):
            await verifier.verify(secret, now=_NOW_S + second)
        await verifier.verify(other, now=_NOW_S)

        await verifier.record_uses()
        await verifier.record_uses()

        assert keys.uses == [{keys.id_of(secret): _NOW + timedelta(seconds=2), keys.id_of(other): _NOW}]

    async def test_a_refused_key_was_not_used(self, verifier: ApiKeyVerifier, keys: Keys) -> None:
        assert not await is_taken(verifier, keys.create(lifetime_s=0))

        await verifier.record_uses()

        assert keys.uses == []

    async def test_uses_that_could_not_be_recorded_are_recorded_later(
        self, verifier: ApiKeyVerifier, keys: Keys
    ) -> None:
        secret, other = keys.create(), keys.create()
        for each in (secret, other):
            await verifier.verify(each, now=_NOW_S)
        keys.is_away = True
        await verifier.record_uses()
        await verifier.verify(secret, now=_NOW_S + 5)
        keys.is_away = False

        await verifier.record_uses()

        assert keys.uses == [{keys.id_of(secret): _NOW + timedelta(seconds=5), keys.id_of(other): _NOW}]

    @pytest.mark.parametrize("is_away", [False, True])
    async def test_they_are_recorded_when_the_gateway_stops(
        self, keys: Keys, changes: Changes, *, is_away: bool
    ) -> None:
        opened = open_api_key_verifier(cast("ApiKeyStore", keys), cast("Revocations", changes))
        async with opened as verifier:
            await verifier.verify(keys.create(), now=_NOW_S)
            keys.is_away = is_away

        assert len(keys.uses) == (0 if is_away else 1)

    async def test_they_are_recorded_every_minute(
        self, verifier: ApiKeyVerifier, keys: Keys, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                raise asyncio.CancelledError

        monkeypatch.setattr("gateway.auth.api_key_verifier.asyncio.sleep", sleep)
        await verifier.verify(keys.create(), now=_NOW_S)

        with pytest.raises(asyncio.CancelledError):
            await verifier.run()

        assert slept == [60, 60]
        assert len(keys.uses) == 1
