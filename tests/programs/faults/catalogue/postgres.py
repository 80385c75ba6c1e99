"""Faults of PostgreSQL, and of the way to it as far as a commit is concerned."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from shared.storage.schema.compatibility import OLDEST_SCHEMA
from tests.programs.faults.fault import fault
from tests.programs.faults.installation.installation import SERVICE_PASSWORD, SERVICE_ROLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.programs.faults.installation.installation import World

_MOMENT_S: Final = 2.0
_LOST: Final = 25
_POLL_S: Final = 0.05


@fault("PostgreSQL: a backend killed -9")
async def kill_backend(world: World) -> None:
    [first, *_] = await world.postgres.until_served()
    os.kill(first, signal.SIGKILL)
    await asyncio.sleep(_MOMENT_S)


@fault("PostgreSQL: restarted immediately")
async def restart_postgres(world: World) -> None:
    await world.postgres.stop(immediately=True)
    await world.postgres.start()


@fault("PostgreSQL: stopped 30 s", random=False)
async def stop_postgres(world: World) -> None:
    await world.postgres.stop()
    await asyncio.sleep(30)
    await world.postgres.start()


@fault("PostgreSQL: backends frozen 12 s")
async def freeze_backends(world: World) -> None:
    frozen = await world.postgres.until_served()
    for number, pause_s in ((signal.SIGSTOP, 12.0), (signal.SIGCONT, 0.0)):
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        await asyncio.sleep(pause_s)


@fault("PostgreSQL: commits whose reply is lost")
async def lose_replies(world: World) -> None:
    await _lose(world, "lose_answers")


@fault("PostgreSQL: commits that are swallowed")
async def swallow_commits(world: World) -> None:
    await _lose(world, "swallow_statements")


async def _lose(world: World, what: str) -> None:
    legs = [world.legs["gateway-postgres"], world.legs["processor-postgres"]]
    before = [leg.lost for leg in legs]
    for leg in legs:
        setattr(leg, what, _LOST)
    while any(leg.lost - lost < _LOST for leg, lost in zip(legs, before, strict=True)):
        await asyncio.sleep(_POLL_S)


@fault("PostgreSQL: slow (100 ms more each way)")
async def slow_postgres(world: World) -> None:
    for leg in (world.legs["gateway-postgres"], world.legs["processor-postgres"]):
        leg.delay_s = 0.1
    await asyncio.sleep(2 * _MOMENT_S)


@fault("PostgreSQL: disk full", random=False)
async def fill_disk(world: World) -> None:
    assert world.disk.is_mounted, "needs root, to mount a small disk"
    world.disk.fill()
    await asyncio.sleep(2 * _MOMENT_S)
    world.disk.free()
    await world.postgres.stop(immediately=True)  # it may have ended by itself
    await world.postgres.start()


@fault("PostgreSQL: a migration is pending", random=False)
async def pending_migration(world: World) -> None:
    hide = "UPDATE public._pogo_migration SET schema_name = $2 WHERE migration_id ^@ $1"
    needed = f"{OLDEST_SCHEMA:04}_"
    await world.postgres.query(hide, needed, "hidden")
    try:
        for service in world.services:
            await service.until_not_ready()
    finally:
        await world.postgres.query(hide, needed, "public")


@fault("PostgreSQL: read-only and back", random=False)
async def read_only(world: World) -> None:
    """As a primary that an operator sets so, or one that a failover has made a standby for a while."""
    async with _bearing(world):
        await world.postgres.query("ALTER DATABASE isoline SET default_transaction_read_only = on")
        await world.postgres.end_sessions(SERVICE_ROLE)
        await _until_none_is_ready(world)
        await world.postgres.query("ALTER DATABASE isoline RESET default_transaction_read_only")
        await world.until_ready()


@fault("PostgreSQL: password rotated", random=False)
async def rotate_password(world: World) -> None:
    """The services have the old one, until it is valid again."""
    async with _bearing(world):
        await world.postgres.query(f"ALTER ROLE {SERVICE_ROLE} PASSWORD 'another'")
        await world.postgres.end_sessions(SERVICE_ROLE)
        await _until_none_is_ready(world)
        await world.postgres.query(f"ALTER ROLE {SERVICE_ROLE} PASSWORD '{SERVICE_PASSWORD}'")
        await world.until_ready()


@asynccontextmanager
async def _bearing(world: World) -> AsyncIterator[None]:
    """No service ends meanwhile."""
    pids = [service.pid for service in world.services]
    yield
    assert [service.pid for service in world.services] == pids, "a service ended"


async def _until_none_is_ready(world: World) -> None:
    await asyncio.gather(*(service.until_not_ready() for service in world.services))
    await asyncio.sleep(_MOMENT_S)
