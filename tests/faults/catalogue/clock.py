"""The clock of the host jumps, for PostgreSQL and every service; RabbitMQ measures by its monotonic clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tests.faults.fault import Harm, fault

if TYPE_CHECKING:
    from tests.faults.world import World

_JUMP: Final = timedelta(hours=2)
_POLL_S: Final = 0.1


def _begin_at(offset: timedelta) -> Harm:
    async def prepare(world: World) -> None:
        world.clock.set(offset)
        environment = world.clock.environment()
        await world.postgres.stop()
        await world.postgres.start(environment)
        await asyncio.gather(*(service.restart_by(environment) for service in world.services))
        await _until_all_show(world)

    return prepare


async def _restore(world: World) -> None:
    world.clock.set(timedelta())
    await world.postgres.stop()
    await world.postgres.start()
    pids = [service.pid for service in world.services]
    await asyncio.gather(*(service.restart_by({}) for service in world.services))
    for pid in pids:
        world.clock.forget(pid)


@fault("clock: two hours forward", random=False, prepare=_begin_at(timedelta()), restore=_restore)
async def jump_forward(world: World) -> None:
    """Every token that a client has is past its time."""
    world.clock.set(_JUMP)
    await _until_all_show(world)


@fault("clock: two hours back", random=False, prepare=_begin_at(_JUMP), restore=_restore)
async def jump_back(world: World) -> None:
    """Every token that a client has is from the future, and so is every due time."""
    world.clock.set(timedelta())
    await _until_all_show(world)


async def _until_all_show(world: World) -> None:
    is_right = world.clock.shows()
    for service in world.services:
        await service.until_clock(is_right)
    while not is_right((await world.postgres.query("SELECT clock_timestamp()"))[0][0]):
        await asyncio.sleep(_POLL_S)
