"""Clocks that jump, for PostgreSQL and every service, or differ between two gateways.

RabbitMQ's stays as it is: it measures by its monotonic clock.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Final

import aiohttp

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from shared.domain.account import Role
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.programs.faults.fault import Harm, fault
from tests.programs.faults.load import PASSWORD

if TYPE_CHECKING:
    from typing import Any

    from tests.programs.faults.installation.installation import Installation
    from tests.programs.faults.installation.service import Service

_JUMP: Final = timedelta(hours=2)
# Behind and ahead, by what NTP may leave between two machines; and ahead by a wrong time zone.
_SKEWS: Final = tuple(timedelta(seconds=seconds) for seconds in (-2, 2, 7200))
_SKEW_TOLERANCE: Final = timedelta(seconds=1.9)  # `Date` has whole seconds
_REVOKED_WITHIN_S: Final = 5.0  # what docs/security.md promises
_POLL_S: Final = 0.1


def _begin_at(offset: timedelta) -> Harm:
    async def prepare(installation: Installation) -> None:
        installation.clock.set(offset)
        environment = installation.clock.environment()
        await installation.postgres.stop()
        await installation.postgres.start(environment)
        await asyncio.gather(*(service.restart_by(environment) for service in installation.services))
        await _until_all_show(installation)

    return prepare


async def _restore(installation: Installation) -> None:
    installation.clock.set(timedelta())
    await installation.postgres.stop()
    await installation.postgres.start()
    pids = [service.pid for service in installation.services]
    await asyncio.gather(*(service.restart_by({}) for service in installation.services))
    for pid in pids:
        installation.clock.remove_shared_memory(pid)


@fault("clock: two hours forward", random=False, prepare=_begin_at(timedelta()), restore=_restore)
async def jump_forward(installation: Installation) -> None:
    """Every client's token is expired."""
    installation.clock.set(_JUMP)
    await _until_all_show(installation)


@fault("clock: two hours back", random=False, prepare=_begin_at(_JUMP), restore=_restore)
async def jump_back(installation: Installation) -> None:
    """Every client's token and every due time is in the future."""
    installation.clock.set(timedelta())
    await _until_all_show(installation)


async def _until_all_show(installation: Installation) -> None:
    is_right = installation.clock.shows()
    for service in installation.services:
        await service.until_clock(is_right)
    while not is_right((await installation.postgres.query("SELECT clock_timestamp()"))[0][0]):
        await asyncio.sleep(_POLL_S)


async def _begin_by_a_clock_of_its_own(installation: Installation) -> None:
    installation.clock_of_one.set(timedelta())
    await installation.gateways[1].restart_by(installation.clock_of_one.environment())


async def _end_its_own_clock(installation: Installation) -> None:
    pid = installation.gateways[1].pid
    await installation.gateways[1].restart_by({})
    installation.clock_of_one.remove_shared_memory(pid)


@fault(
    "clock: two gateways apart",
    spares_clients=True,
    random=False,
    prepare=_begin_by_a_clock_of_its_own,
    restore=_end_its_own_clock,
)
async def set_gateways_apart(installation: Installation) -> None:
    """Each gateway accepts tokens that the other has just issued, but none of a deleted account."""
    other = installation.gateways[1]
    for number, skew in enumerate(_SKEWS):
        installation.clock_of_one.set(skew)
        await other.until_clock(installation.clock_of_one.shows(_SKEW_TOLERANCE))
        async with aiohttp.ClientSession() as session:
            for first, second in permutations(installation.gateways, 2):
                await _log_in_and_change(session, first, second)
            await _end_an_account(installation, session, f"eve-{number}")


async def _log_in_and_change(session: aiohttp.ClientSession, first: Service, second: Service) -> None:
    made = await _tokens(session, first, "/token", user="ada", password=PASSWORD)
    renewed = await _tokens(session, second, "/token/refresh", refresh_token=made["refresh_token"])
    found = await _status(session, second, made), await _status(session, first, renewed)
    assert found == (404, 404), f"new tokens were answered {found}"


async def _end_an_account(installation: Installation, session: aiohttp.ClientSession, name: str) -> None:
    async with open_database(installation.postgres.url) as database:
        accounts = PostgresAccountStore(database)
        await create_account(name, PASSWORD, [Role.USER], accounts=accounts, passwords=PasswordHashing())
        found = [
            await _tokens(session, gateway, "/token", user=name, password=PASSWORD)
            for gateway in installation.gateways
        ]
        await accounts.delete(name)
    await asyncio.sleep(_REVOKED_WITHIN_S)
    for gateway in installation.gateways:
        statuses = [await _status(session, gateway, tokens) for tokens in found]
        assert statuses == [401, 401], f"tokens of an account that has ended were answered {statuses}"


async def _tokens(session: aiohttp.ClientSession, gateway: Service, path: str, **body: str) -> dict[str, Any]:
    async with session.post(f"http://127.0.0.1:{gateway.port}{path}", json=body) as answer:
        assert answer.status == 200, f"{path}: {answer.status} {await answer.text()}"
        tokens: dict[str, Any] = await answer.json()
        return tokens


async def _status(session: aiohttp.ClientSession, gateway: Service, tokens: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with session.get(f"http://127.0.0.1:{gateway.port}/ecg/nothing", headers=headers) as answer:
        return answer.status
