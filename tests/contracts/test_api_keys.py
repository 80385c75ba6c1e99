"""API keys in PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from gateway.api_keys.use_cases import create_api_key
from shared.domain.account import Account, Role
from shared.domain.api_key import hash_secret
from shared.domain.errors import UnavailableError
from shared.ports.api_keys import NewApiKey
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from shared.storage.schema.compatibility import OLDEST_SCHEMA
from shared.storage.schema.migrations import migrate

if TYPE_CHECKING:
    from shared.domain.api_key import ApiKey
    from shared.storage.pool.database import Database


def a_new_key(
    secret: bytes = b"1", *roles: Role, account: str = "ada", lifetime_s: int | None = None
) -> NewApiKey:
    return NewApiKey(
        uuid4(), account, "a monitor", "isk_01234567", secret, frozenset(roles or [Role.USER]), lifetime_s
    )


async def added(keys: PostgresApiKeyStore, new: NewApiKey) -> ApiKey:
    key = await keys.add(new, limit=100)
    assert key is not None
    return key


@pytest.fixture
async def accounts(database: Database) -> PostgresAccountStore:
    """With ada and bob, each user and subscriber."""
    accounts = PostgresAccountStore(database)
    for name in ("ada", "bob"):
        await accounts.add(Account(name, "a hash", frozenset([Role.USER, Role.SUBSCRIBER])))
    return accounts


@pytest.fixture
def keys(database: Database, accounts: PostgresAccountStore) -> PostgresApiKeyStore:  # noqa: ARG001
    return PostgresApiKeyStore(database)


async def test_a_key_is_found_by_its_secret_as_it_was_added(keys: PostgresApiKeyStore) -> None:
    new = a_new_key(b"1", Role.USER, lifetime_s=60)

    key = await added(keys, new)

    found = await keys.find(b"1")
    assert found is not None
    assert found == (key, None)
    assert (key.id, key.account, key.name, key.prefix) == (new.id, "ada", "a monitor", "isk_01234567")
    assert key.roles == {Role.USER}
    assert key.last_used_at is None
    assert key.expires_at is not None
    assert key.expires_at - key.created_at == timedelta(seconds=60)
    assert await keys.find(b"2") is None


async def test_a_key_without_a_lifetime_does_not_expire(keys: PostgresApiKeyStore) -> None:
    assert (await added(keys, a_new_key())).expires_at is None


async def test_keys_are_listed_by_account_and_the_newest_first(keys: PostgresApiKeyStore) -> None:
    first = await added(keys, a_new_key(b"1"))
    second = await added(keys, a_new_key(b"2"))
    await added(keys, a_new_key(b"3", account="bob"))

    assert await keys.keys_of("ada") == [second, first]
    assert await keys.keys_of("cy") == []


async def test_an_expired_key_is_found_and_listed_so_that_its_owner_sees_why_it_is_refused(
    keys: PostgresApiKeyStore, database: Database
) -> None:
    await added(keys, a_new_key(lifetime_s=1))
    async with database.connection() as connection:
        await connection.execute("UPDATE api_key SET expires_at = now() - interval '1 second'")

    found = await keys.find(b"1")
    assert found is not None
    assert found.key.expires_at is not None
    assert found.key.expires_at < datetime.now(UTC) + timedelta(hours=2)
    assert len(await keys.keys_of("ada")) == 1


async def test_a_key_loses_the_roles_that_its_account_loses_and_has_them_again_with_it(
    keys: PostgresApiKeyStore, accounts: PostgresAccountStore
) -> None:
    await added(keys, a_new_key(b"1", Role.USER, Role.SUBSCRIBER))

    roles = []
    for given in ([Role.USER], [Role.OBSERVER], [Role.USER, Role.SUBSCRIBER]):
        await accounts.set_roles("ada", given)
        found = await keys.find(b"1")
        assert found is not None
        roles.append(found.key.roles)

    assert roles == [{Role.USER}, set(), {Role.USER, Role.SUBSCRIBER}]


async def test_a_key_outlives_a_change_of_the_password(
    keys: PostgresApiKeyStore, accounts: PostgresAccountStore
) -> None:
    await added(keys, a_new_key())

    await accounts.set_password("ada", "another")

    assert await keys.find(b"1") is not None


async def test_the_keys_of_a_deleted_account_are_gone(
    keys: PostgresApiKeyStore, accounts: PostgresAccountStore, database: Database
) -> None:
    await added(keys, a_new_key())
    others = await added(keys, a_new_key(b"2", account="bob"))

    await accounts.delete("ada")

    assert await keys.find(b"1") is None
    assert await keys.keys_of("ada") == []
    assert await keys.keys_of("bob") == [others]
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM api_key") == 1


async def test_a_key_of_an_account_that_an_older_release_deleted_is_not_found(
    keys: PostgresApiKeyStore, database: Database
) -> None:
    await added(keys, a_new_key())
    async with database.connection() as connection:
        await connection.execute("UPDATE account SET deleted_at = now() WHERE name = 'ada'")

    assert await keys.find(b"1") is None
    assert await keys.keys_of("ada") == []


async def test_no_more_keys_are_added_than_the_limit_even_at_once(keys: PostgresApiKeyStore) -> None:
    await added(keys, a_new_key(b"0", account="bob"))

    outcomes = await asyncio.gather(
        *(keys.add(a_new_key(bytes([number])), limit=3) for number in range(1, 9))
    )

    assert len([key for key in outcomes if key is not None]) == 3
    assert len(await keys.keys_of("ada")) == 3


class TestRevoking:
    async def test_a_revoked_key_is_gone_and_no_other(self, keys: PostgresApiKeyStore) -> None:
        key, other = await added(keys, a_new_key(b"1")), await added(keys, a_new_key(b"2"))

        assert await keys.revoke(key.id, account="ada") == "ada"

        assert await keys.find(b"1") is None
        assert await keys.keys_of("ada") == [other]
        assert await keys.revoke(key.id, account="ada") is None

    async def test_anothers_key_stays(self, keys: PostgresApiKeyStore) -> None:
        key = await added(keys, a_new_key())

        assert await keys.revoke(key.id, account="bob") is None
        assert await keys.find(b"1") is not None
        assert await keys.revoke(key.id, account=None) == "ada"

    async def test_each_revocation_is_a_later_change_of_the_account_and_no_new_version(
        self, keys: PostgresApiKeyStore, accounts: PostgresAccountStore
    ) -> None:
        ids = [(await added(keys, a_new_key(bytes([number])))).id for number in range(5)]
        times = []
        for key_id in ids:
            await keys.revoke(key_id, account="ada")
            changes = await accounts.recent_changes()
            times.append(changes.times["ada"])

        assert times == sorted(set(times))
        assert changes.versions == {"ada": 1}

    async def test_it_is_a_later_change_though_the_last_one_was_noted_by_a_clock_ahead(
        self, keys: PostgresApiKeyStore, accounts: PostgresAccountStore, database: Database
    ) -> None:
        key = await added(keys, a_new_key())
        async with database.connection() as connection:
            await connection.execute("UPDATE account SET changed_at = now() + interval '1 hour'")
        before = (await accounts.recent_changes()).times["ada"]

        await keys.revoke(key.id, account="ada")

        assert (await accounts.recent_changes()).times["ada"] > before


class TestUses:
    async def test_the_last_use_is_recorded_and_never_goes_back(self, keys: PostgresApiKeyStore) -> None:
        key, unused = await added(keys, a_new_key(b"1")), await added(keys, a_new_key(b"2"))
        now = datetime.now(UTC)

        for used_at in (now, now - timedelta(minutes=1)):
            await keys.record_uses({key.id: used_at, uuid4(): used_at})

        listed = {each.id: each.last_used_at for each in await keys.keys_of("ada")}
        assert listed == {key.id: now, unused.id: None}

    async def test_gateways_that_record_the_same_keys_at_once_do_not_wait_for_each_other(
        self, keys: PostgresApiKeyStore, database: Database
    ) -> None:
        key, other = await added(keys, a_new_key(b"1")), await added(keys, a_new_key(b"2"))
        now = datetime.now(UTC)
        async with database.connection() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM api_key WHERE id = $1 FOR UPDATE", key.id)

            async with asyncio.timeout(10):
                await keys.record_uses({key.id: now, other.id: now})

        listed = {each.id: each.last_used_at for each in await keys.keys_of("ada")}
        assert listed == {key.id: None, other.id: now}


async def test_only_a_hash_of_the_secret_is_stored(
    keys: PostgresApiKeyStore, accounts: PostgresAccountStore, database: Database
) -> None:
    created = await create_api_key(
        "ada", "a monitor", roles=[Role.USER], lifetime_days=None, keys=keys, accounts=accounts
    )

    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM api_key")

    assert row is not None
    assert row["secret_hash"] == hash_secret(created.secret)
    assert created.secret[12:] not in repr(dict(row))
    assert created.secret[12:] not in repr(created.key)


async def test_beside_a_schema_without_keys_accounts_work_and_keys_are_refused(
    database: Database, database_url: str, accounts: PostgresAccountStore
) -> None:
    await migrate(database_url, to=OLDEST_SCHEMA, force=True)
    async with database.connection() as connection:
        await connection.execute("DROP TABLE api_key")  # which no older release made
    keys = PostgresApiKeyStore(database)

    for call in (
        keys.find(b"1"),
        keys.keys_of("ada"),
        keys.add(a_new_key(), limit=1),
        keys.revoke(uuid4(), account=None),
    ):
        with pytest.raises(UnavailableError, match="isoline migrate") as refusal:
            await call
        assert refusal.value.for_sender == "API keys are not set up here yet."
    assert await accounts.delete("ada")
    assert (await accounts.recent_changes()).versions == {"ada": 2}

    await migrate(database_url, force=True)
    assert (await added(keys, a_new_key(account="bob"))).account == "bob"
