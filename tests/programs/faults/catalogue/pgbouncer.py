"""Faults of a PgBouncer in transaction mode, through which every service reaches PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.programs.faults.fault import fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_AWAY_S: Final = 3.0
_TIMES: Final = 3


async def _put_between(installation: Installation) -> None:
    await installation.put_pgbouncer_between()


async def _take_away(installation: Installation) -> None:
    await installation.take_pgbouncer_away()


@fault(
    "PgBouncer: killed -9 and started, three times",
    random=False,
    prepare=_put_between,
    restore=_take_away,
)
async def kill_pgbouncer(installation: Installation) -> None:
    assert installation.pgbouncer is not None
    for _ in range(_TIMES):
        await installation.pgbouncer.kill()
        await asyncio.sleep(_AWAY_S)
        await installation.pgbouncer.start()
        await asyncio.sleep(_AWAY_S)
    await _assert_used(installation)


async def _assert_used(installation: Installation) -> None:
    """Assert that services are behind it: PostgreSQL shows them as pooled."""
    names = await installation.postgres.query(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'isoline % pooled %'"
    )
    assert names, "no service is behind PgBouncer"
