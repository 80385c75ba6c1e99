"""Faults of PostgreSQL, and of the connection to it around a commit."""

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

    from tests.programs.faults.installation.installation import Installation

_MOMENT_S: Final = 2.0
_LOST: Final = 25
_POLL_S: Final = 0.05
_GAP_S: Final = 1.0
_TERMINAL_WITHIN_S: Final = 60.0


@fault("PostgreSQL: a backend killed -9")
async def kill_backend(installation: Installation) -> None:
    [first, *_] = await installation.postgres.until_served()
    os.kill(first, signal.SIGKILL)
    await asyncio.sleep(_MOMENT_S)


@fault("PostgreSQL: restarted immediately")
async def restart_postgres(installation: Installation) -> None:
    await installation.postgres.stop(immediately=True)
    await installation.postgres.start()


@fault("PostgreSQL: stopped 30 s", random=False)
async def stop_postgres(installation: Installation) -> None:
    await installation.postgres.stop()
    await asyncio.sleep(30)
    await installation.postgres.start()


@fault("PostgreSQL: backends frozen 12 s")
async def freeze_backends(installation: Installation) -> None:
    frozen = await installation.postgres.until_served()
    for number, pause_s in ((signal.SIGSTOP, 12.0), (signal.SIGCONT, 0.0)):
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        await asyncio.sleep(pause_s)


@fault("PostgreSQL: commits whose reply is lost")
async def lose_replies(installation: Installation) -> None:
    await _lose(installation, "lose_answers")


@fault("PostgreSQL: commits that are swallowed")
async def swallow_commits(installation: Installation) -> None:
    await _lose(installation, "swallow_statements")


async def _lose(installation: Installation, what: str) -> None:
    proxies = [installation.proxies["gateway-postgres"], installation.proxies["processor-postgres"]]
    before = [proxy.lost for proxy in proxies]
    for proxy in proxies:
        setattr(proxy, what, _LOST)
    while any(proxy.lost - lost < _LOST for proxy, lost in zip(proxies, before, strict=True)):
        await asyncio.sleep(_POLL_S)


@fault("PostgreSQL: slow (100 ms more each way)")
async def slow_postgres(installation: Installation) -> None:
    for proxy in (installation.proxies["gateway-postgres"], installation.proxies["processor-postgres"]):
        proxy.delay_s = 0.1
    await asyncio.sleep(2 * _MOMENT_S)


@fault("PostgreSQL: disk full", random=False)
async def fill_disk(installation: Installation) -> None:
    assert installation.disk.is_mounted, "needs root, to mount a small disk"
    installation.disk.fill()
    await asyncio.sleep(2 * _MOMENT_S)
    installation.disk.free()
    await installation.postgres.stop(immediately=True)  # it may have ended by itself
    await installation.postgres.start()


@fault("PostgreSQL: a migration is pending", random=False)
async def pending_migration(installation: Installation) -> None:
    hide = "UPDATE public._pogo_migration SET schema_name = $2 WHERE migration_id ^@ $1"
    needed = f"{OLDEST_SCHEMA:04}_"
    await installation.postgres.query(hide, needed, "hidden")
    try:
        for service in installation.services:
            await service.until_not_ready()
    finally:
        await installation.postgres.query(hide, needed, "public")


@fault("PostgreSQL: read-only and back", random=False)
async def read_only(installation: Installation) -> None:
    """A primary that an administrator sets read-only, or that is a standby for a while after a failover."""
    async with _without_exits(installation):
        await installation.postgres.query("ALTER DATABASE isoline SET default_transaction_read_only = on")
        await installation.postgres.end_sessions(SERVICE_ROLE)
        await _until_none_is_ready(installation)
        await installation.postgres.query("ALTER DATABASE isoline RESET default_transaction_read_only")
        await installation.until_ready()


@fault("PostgreSQL: killed -9, its synchronous standby promoted", random=False, has_standby=True)
async def promote_standby(installation: Installation) -> None:
    """Services find the new primary by themselves: their URL names both hosts."""
    assert installation.standby is not None
    async with _without_exits(installation):
        await installation.postgres.kill()
        await asyncio.sleep(_MOMENT_S)
        await installation.standby.promote()
        installation.postgres = installation.standby
        await installation.until_ready()


@fault("PostgreSQL: lost, a base backup from under load restored", random=False)
async def restore_backup(installation: Installation) -> None:
    """Services go on with what was in the backup; subscribers may hear again what they have heard."""
    postgres = installation.postgres
    backup = installation.logs / "disk" / f"backup-{len(installation.accepted)}" / "postgres"
    async with _without_exits(installation):
        await postgres.back_up(backup)
        await asyncio.sleep(_GAP_S)
        await postgres.kill()
        await postgres.restore(backup)
        for reader in installation.log_readers:
            reader.begin_anew()  # as docs/operations.md tells them
        await _forget_what_came_after_the_backup(installation)
        await installation.until_ready()
        async with asyncio.timeout(_TERMINAL_WITHIN_S):
            await _until_terminal(installation)


async def _forget_what_came_after_the_backup(installation: Installation) -> None:
    assert installation.load is not None
    accepted = list(installation.load.accepted)
    gone = await installation.postgres.query(
        "SELECT id FROM unnest($1::text[]) AS accepted (id) WHERE id NOT IN (SELECT id FROM ecg)", accepted
    )
    installation.forgotten |= {row["id"] for row in gone}


async def _until_terminal(installation: Installation) -> None:
    """Return when all ECGs that are there now are terminal."""
    [[last]] = await installation.postgres.query("SELECT max(row) FROM ecg")
    while await installation.postgres.query(
        "SELECT FROM ecg WHERE status = 'queued' AND row <= $1 LIMIT 1", last
    ):
        await asyncio.sleep(_POLL_S)


@fault("PostgreSQL: password rotated", random=False)
async def rotate_password(installation: Installation) -> None:
    """The services keep the old password until it is valid again."""
    async with _without_exits(installation):
        await installation.postgres.query(f"ALTER ROLE {SERVICE_ROLE} PASSWORD 'another'")
        await installation.postgres.end_sessions(SERVICE_ROLE)
        await _until_none_is_ready(installation)
        await installation.postgres.query(f"ALTER ROLE {SERVICE_ROLE} PASSWORD '{SERVICE_PASSWORD}'")
        await installation.until_ready()


@asynccontextmanager
async def _without_exits(installation: Installation) -> AsyncIterator[None]:
    """Assert that no service process ends inside."""
    pids = [service.pid for service in installation.services]
    yield
    assert [service.pid for service in installation.services] == pids, "a service ended"


async def _until_none_is_ready(installation: Installation) -> None:
    await asyncio.gather(*(service.until_not_ready() for service in installation.services))
    await asyncio.sleep(_MOMENT_S)
