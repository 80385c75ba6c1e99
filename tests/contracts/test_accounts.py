from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from gateway.accounts.logins import begin_login, refresh_login
from shared.domain.account import Account, Role
from shared.domain.errors import ConflictError
from shared.ports.logins import Login
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.checks import check_accounts
from shared.storage.postgres.logins import PostgresLoginStore

if TYPE_CHECKING:
    from uuid import UUID

    from shared.storage.pool.database import Database


def an_account(name: str = "ada", *roles: Role) -> Account:
    return Account(name, "a hash", frozenset(roles or [Role.USER]))


@pytest.fixture
def accounts(database: Database) -> PostgresAccountStore:
    return PostgresAccountStore(database)


@pytest.fixture
def logins(database: Database) -> PostgresLoginStore:
    return PostgresLoginStore(database)


async def begun(logins: PostgresLoginStore, account: Account, secret: bytes = b"1", life_s: int = 60) -> UUID:
    login_id = uuid4()
    await logins.add(Login(login_id, account, secret, life_s))
    return login_id


class TestAccounts:
    async def test_an_account_is_found_as_it_was_added(self, accounts: PostgresAccountStore) -> None:
        assert await accounts.add(an_account("ada", Role.USER, Role.ADMIN))

        assert await accounts.find("ada") == an_account("ada", Role.USER, Role.ADMIN)

    async def test_pages_give_each_account_once_in_the_order_of_names(
        self, accounts: PostgresAccountStore
    ) -> None:
        for name in ("b", "A", "a", "c"):
            await accounts.add(an_account(name))

        first = await accounts.page(limit=3)
        second = await accounts.page(limit=3, after=first[-1].name)

        assert [account.name for account in first + second] == ["A", "a", "b", "c"]

    async def test_other_roles_or_another_password_make_another_version(
        self, accounts: PostgresAccountStore
    ) -> None:
        await accounts.add(an_account())

        assert await accounts.set_roles("ada", [Role.ADMIN])
        assert await accounts.set_password("ada", "another")

        assert await accounts.find("ada") == Account("ada", "another", frozenset({Role.ADMIN}), version=3)
        assert (await accounts.recent_changes()).versions == {"ada": 3}

    async def test_a_new_account_has_changed_nothing(self, accounts: PostgresAccountStore) -> None:
        await accounts.add(an_account())

        assert (await accounts.recent_changes()).versions == {}

    async def test_a_rehash_is_no_change(self, accounts: PostgresAccountStore) -> None:
        await accounts.add(an_account())

        await accounts.rehash(an_account(), "the same password")

        assert await accounts.find("ada") == Account("ada", "the same password", frozenset({Role.USER}))
        assert (await accounts.recent_changes()).versions == {}

    async def test_a_rehash_of_a_password_that_has_changed_meanwhile_is_dropped(
        self, accounts: PostgresAccountStore
    ) -> None:
        await accounts.add(an_account())
        await accounts.set_password("ada", "another")

        await accounts.rehash(an_account(), "the old password")

        found = await accounts.find("ada")
        assert found
        assert found.password_hash == "another"

    async def test_what_is_not_there_can_not_be_changed(self, accounts: PostgresAccountStore) -> None:
        assert not await accounts.set_roles("ada", [Role.USER])
        assert not await accounts.set_password("ada", "x")
        assert not await accounts.delete("ada")

    async def test_a_deleted_account_is_gone_and_its_name_with_it(
        self, accounts: PostgresAccountStore
    ) -> None:
        await accounts.add(an_account())

        assert await accounts.delete("ada")

        assert await accounts.find("ada") is None
        assert await accounts.page(limit=10) == []
        assert not await accounts.add(an_account())
        assert not await accounts.delete("ada")
        assert not await accounts.set_password("ada", "x")
        assert (await accounts.recent_changes()).versions == {"ada": 2}

    async def test_it_returns_its_time(self, accounts: PostgresAccountStore, database: Database) -> None:
        times = []
        for _ in range(2):
            async with database.connection() as connection:
                times.append(
                    await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
                )
            times.append((await accounts.recent_changes()).now_s)

        assert times == sorted(times)
        assert times[-1] - times[0] < 60

    async def test_changes_are_returned_for_longer_than_a_token_lives_even_with_a_clock_two_hours_wrong(
        self, accounts: PostgresAccountStore, database: Database
    ) -> None:
        await accounts.add(an_account())
        await accounts.set_password("ada", "another")

        for hours, is_told in [(-2.5, True), (-3.5, False), (2, True)]:
            async with database.connection() as connection:
                await connection.execute(
                    "UPDATE account SET changed_at = now() + $1::float8 * interval '1 hour'", hours
                )
            assert ("ada" in (await accounts.recent_changes()).versions) == is_told

    async def test_the_last_admin_stays_one(self, accounts: PostgresAccountStore) -> None:
        await accounts.add(an_account("root", Role.ADMIN))
        await accounts.add(an_account("ada"))

        with pytest.raises(ConflictError, match="root is the last administrator"):
            await accounts.delete("root")
        with pytest.raises(ConflictError):
            await accounts.set_roles("root", [Role.USER])

        assert await accounts.set_roles("root", [Role.USER, Role.ADMIN])
        assert await accounts.delete("ada")

    async def test_of_admins_that_remove_each_other_at_once_one_remains(
        self, accounts: PostgresAccountStore
    ) -> None:
        names = ["root"]
        await accounts.add(an_account("root", Role.ADMIN))
        for _ in range(10):
            names += [f"root-{uuid4().hex}" for _ in range(3)]
            for name in names[1:]:
                await accounts.add(an_account(name, Role.ADMIN))

            outcomes = await asyncio.gather(
                *(accounts.delete(name) for name in names[:2]),
                *(accounts.set_roles(name, [Role.USER]) for name in names[2:]),
                return_exceptions=True,
            )

            names = [each.name for each in await accounts.page(limit=1000) if Role.ADMIN in each.roles]
            assert len(names) == 1
            assert [type(outcome) for outcome in outcomes if outcome is not True] == [ConflictError]

    async def test_an_account_comes_back_as_it_was_added(self, accounts: PostgresAccountStore) -> None:
        account = Account("ada", "$argon2id$...", frozenset(Role))

        assert await accounts.add(account)

        assert await accounts.find("ada") == account

    async def test_a_taken_name_keeps_its_account(self, accounts: PostgresAccountStore) -> None:
        account = Account("ada", "$argon2id$...", frozenset([Role.USER]))
        await accounts.add(account)

        assert not await accounts.add(Account("ada", "another", frozenset([Role.ADMIN])))

        assert await accounts.find("ada") == account

    async def test_a_name_differs_from_the_same_name_in_capitals(
        self, accounts: PostgresAccountStore
    ) -> None:
        await accounts.add(Account("ada", "x", frozenset([Role.USER])))

        assert await accounts.find("Ada") is None
        assert await accounts.add(Account("Ada", "x", frozenset([Role.USER])))


async def test_checking_whether_accounts_and_logins_can_be_written_writes_none(database: Database) -> None:
    await check_accounts(database)

    async with database.connection() as connection:
        for table in ("account", "login"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - ours


class TestLogins:
    async def test_a_secret_rotates_a_login_once(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        login_id = await begun(logins, an_account())

        assert await logins.rotate(login_id, spent=b"1", fresh=b"2") == an_account()
        assert await logins.rotate(login_id, spent=b"2", fresh=b"3") == an_account()

    async def test_a_spent_secret_changes_nothing(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        login_id = await begun(logins, an_account())
        await logins.rotate(login_id, spent=b"1", fresh=b"2")

        assert await logins.rotate(login_id, spent=b"1", fresh=b"3") is None
        assert await logins.rotate(login_id, spent=b"3", fresh=b"4") is None
        assert await logins.rotate(login_id, spent=b"2", fresh=b"3") == an_account()

    async def test_of_two_at_once_one_succeeds(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        for _ in range(10):
            login_id = await begun(logins, an_account())

            outcomes = await asyncio.gather(
                logins.rotate(login_id, spent=b"1", fresh=b"2"),
                logins.rotate(login_id, spent=b"1", fresh=b"3"),
            )

            assert sorted(map(bool, outcomes)) == [False, True]
            winner, loser = (b"2", b"3") if outcomes[0] else (b"3", b"2")
            assert await logins.rotate(login_id, spent=loser, fresh=b"4") is None
            assert await logins.rotate(login_id, spent=winner, fresh=b"4") == an_account()

    async def test_time_ends_a_login_however_often_it_was_rotated(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        login_id = await begun(logins, an_account(), life_s=1)
        await logins.rotate(login_id, spent=b"1", fresh=b"2")
        await asyncio.sleep(1.1)

        assert await logins.rotate(login_id, spent=b"2", fresh=b"3") is None

    @pytest.mark.parametrize("change", ["roles", "password", "deletion"])
    async def test_a_change_of_the_account_ends_its_logins(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore, change: str
    ) -> None:
        await accounts.add(an_account())
        login_id = await begun(logins, an_account())

        if change == "roles":
            await accounts.set_roles("ada", [Role.ADMIN])
        elif change == "password":
            await accounts.set_password("ada", "x")
        else:
            await accounts.delete("ada")

        assert await logins.rotate(login_id, spent=b"1", fresh=b"2") is None

    async def test_a_login_that_began_while_the_account_changed_can_not_go_on(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        await accounts.set_password("ada", "x")

        login_id = await begun(logins, an_account())

        assert await logins.rotate(login_id, spent=b"1", fresh=b"2") is None

    async def test_a_login_gives_the_account_that_logged_in_and_no_other(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        names = ("ada", "bob", "cy")
        for name in names:
            await accounts.add(an_account(name))
        login_ids = [await begun(logins, an_account(name)) for name in names]

        for login_id, name in zip(login_ids, names, strict=True):
            assert await logins.rotate(login_id, spent=b"1", fresh=b"2") == an_account(name)

    async def test_a_rotation_changes_no_other_login_with_the_same_secret(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        one, other = await begun(logins, an_account()), await begun(logins, an_account())

        await logins.rotate(one, spent=b"1", fresh=b"2")

        assert await logins.rotate(other, spent=b"1", fresh=b"2") == an_account()

    async def test_what_ends_one_login_ends_no_other(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        for name in ("ada", "bob"):
            await accounts.add(an_account(name))
        others = [await begun(logins, an_account(name)) for name in ("ada", "bob")]
        ended = await begun(logins, an_account())

        await logins.end(ended)
        await accounts.set_password("bob", "x")

        rotated = [await logins.rotate(each, spent=b"1", fresh=b"2") is not None for each in others]
        assert rotated == [True, False]

    async def test_logins_beyond_a_hundred_end_none_of_another_account(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        for name in ("ada", "bob"):
            await accounts.add(an_account(name))
        oldest = await begun(logins, an_account("bob"))

        for _ in range(101):
            await begun(logins, an_account("ada"))

        assert await logins.rotate(oldest, spent=b"1", fresh=b"2") == an_account("bob")

    async def test_an_ended_login_can_not_be_rotated_and_ending_it_again_is_no_error(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        login_id = await begun(logins, an_account())

        await logins.end(login_id)
        await logins.end(login_id)

        assert await logins.rotate(login_id, spent=b"1", fresh=b"2") is None

    async def test_the_oldest_logins_beyond_a_hundred_end(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        login_ids = [await begun(logins, an_account()) for _ in range(102)]

        rotated = [await logins.rotate(each, spent=b"1", fresh=b"2") is not None for each in login_ids]

        assert rotated == [False] * 2 + [True] * 100

    async def test_a_login_that_begins_stays_though_the_clock_was_ahead_when_the_others_began(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore, database: Database
    ) -> None:
        await accounts.add(an_account())
        for _ in range(100):
            await begun(logins, an_account())
        async with database.connection() as connection:
            await connection.execute("UPDATE login SET began_at = began_at + interval '8 seconds'")

        login_id = await begun(logins, an_account())

        assert await logins.rotate(login_id, spent=b"1", fresh=b"2") is not None


class TestRefreshingALogin:
    async def test_each_token_gives_the_next_and_the_account(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        first = await begin_login(an_account(), lifetime_s=60, logins=logins)

        second = await refresh_login(first.refresh_token, logins=logins)
        third = await refresh_login(second.refresh_token, logins=logins) if second else None

        assert second is not None
        assert third is not None
        assert second.account == third.account == an_account()
        assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3

    async def test_a_spent_token_ends_its_login_and_no_other(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        other = await begin_login(an_account(), lifetime_s=60, logins=logins)
        first = await begin_login(an_account(), lifetime_s=60, logins=logins)
        second = await refresh_login(first.refresh_token, logins=logins)
        assert second is not None

        assert await refresh_login(first.refresh_token, logins=logins) is None

        assert await refresh_login(second.refresh_token, logins=logins) is None
        assert await refresh_login(other.refresh_token, logins=logins) is not None

    async def test_of_two_uses_at_once_one_succeeds_and_the_login_ends(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore
    ) -> None:
        await accounts.add(an_account())
        for _ in range(10):
            first = await begin_login(an_account(), lifetime_s=60, logins=logins)

            grants = await asyncio.gather(
                refresh_login(first.refresh_token, logins=logins),
                refresh_login(first.refresh_token, logins=logins),
            )

            succeeded = [grant for grant in grants if grant is not None]
            assert len(succeeded) == 1
            assert await refresh_login(succeeded[0].refresh_token, logins=logins) is None

    async def test_no_row_is_kept_of_a_login_that_can_not_go_on(
        self, accounts: PostgresAccountStore, logins: PostgresLoginStore, database: Database
    ) -> None:
        await accounts.add(an_account())
        first = await begin_login(an_account(), lifetime_s=60, logins=logins)
        await accounts.set_password("ada", "x")

        assert await refresh_login(first.refresh_token, logins=logins) is None

        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM login") == 0
