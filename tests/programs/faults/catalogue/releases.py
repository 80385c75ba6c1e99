"""Rolling upgrades: the previous release and this one on one database while one replaces the other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp

from shared.storage.schema.compatibility import NEWEST_SCHEMA
from shared.storage.schema.migrations import migrate
from tests.programs.faults.fault import fault
from tests.programs.faults.installation.service import THIS_CODE
from tests.support.releases import RELEASE_BEFORE, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.programs.faults.installation.installation import Installation
    from tests.programs.faults.installation.service import Service

_POLL_S: Final = 0.1
_RUNNING: Final = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE application_name ~ '^isoline (gateway|processor) '
"""


async def _begin_with_the_release_before(installation: Installation) -> None:
    installation.has_run_release_before = True
    installation.log_is_kept = False
    await migrate(installation.postgres.url, to=RELEASE_BEFORE.schema)
    await installation.restart_all(_release_before(installation))
    await _until_all_know(installation, RELEASE_BEFORE.schema)


async def _end_with_this_release(installation: Installation) -> None:
    await migrate(installation.postgres.url)
    await installation.restart_all(THIS_CODE)
    for reader in installation.followers_of_log:
        reader.exempt = frozenset(installation.accepted)
    installation.log_is_kept = True


@fault(
    "rolling upgrade: migrate, roll out, and back",
    spares_clients=True,
    random=False,
    prepare=_begin_with_the_release_before,
    restore=_end_with_this_release,
)
async def migrate_first(installation: Installation) -> None:
    async with _with_a_compatible_schema(installation):
        await migrate(installation.postgres.url)
        await installation.roll(THIS_CODE)
        await _until_all_know(installation, NEWEST_SCHEMA)
        await installation.roll(_release_before(installation))
        await _until_all_know(installation, RELEASE_BEFORE.schema)
        await migrate(installation.postgres.url, to=RELEASE_BEFORE.schema)


@fault(
    "rolling upgrade: roll out, migrate, and back",
    spares_clients=True,
    random=False,
    prepare=_begin_with_the_release_before,
    restore=_end_with_this_release,
)
async def roll_out_first(installation: Installation) -> None:
    async with _with_a_compatible_schema(installation):
        await installation.roll(THIS_CODE)
        await _until_all_know(installation, NEWEST_SCHEMA)
        await migrate(installation.postgres.url)
        await migrate(installation.postgres.url, to=RELEASE_BEFORE.schema)
        await installation.roll(_release_before(installation))
        await _until_all_know(installation, RELEASE_BEFORE.schema)


def _release_before(installation: Installation) -> Path:
    folder = installation.logs / RELEASE_BEFORE.name
    return folder if folder.exists() else unpack(RELEASE_BEFORE, folder)


async def _until_all_know(installation: Installation, schema: int) -> None:
    """Return when all services are of the release whose newest schema this is, and none of the other."""
    while True:
        names = [row["application_name"] for row in await installation.postgres.query(_RUNNING)]
        if len(names) == 2 and all(name.endswith(f"..{schema}") for name in names):
            return
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def _with_a_compatible_schema(installation: Installation) -> AsyncIterator[None]:
    """Assert that no service reports an incompatible schema inside.

    Clients alone would not notice: the balancer uses a gateway that is not ready if no other is.
    """
    refused: set[str] = set()
    watching = asyncio.create_task(_watch(installation, refused))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    assert not refused, f"not ready: {sorted(refused)}"


async def _watch(installation: Installation, refused: set[str]) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1)) as session:
        while True:
            for service in installation.services:
                refused |= await _refusals(session, service)
            await asyncio.sleep(_POLL_S)


async def _refusals(session: aiohttp.ClientSession, service: Service) -> set[str]:
    try:
        async with session.get(f"http://127.0.0.1:{service.port}/health/ready") as answer:
            reasons = (await answer.json()).get("reasons", {})
    except (aiohttp.ClientError, TimeoutError):  # it is being replaced
        return set()
    return {f"{service.module}: {reasons['schema']}"} if "schema" in reasons else set()
