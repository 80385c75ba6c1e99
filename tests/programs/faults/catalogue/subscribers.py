"""Faults of subscribers: they are killed and start again."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from tests.programs.faults.fault import fault
from tests.programs.faults.followers.inbox import InboxFollower, open_inbox_follower

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_FOR_S: Final = 60.0
_LIVES_S: Final = (0.3, 4.0)
_SEED: Final = 1


async def _subscribe(installation: Installation) -> None:
    follower = await installation.until_verdict.enter_async_context(open_inbox_follower(installation))
    installation.follow(follower)


async def _note_its_kills(installation: Installation) -> None:
    follower = _inbox_of(installation)
    installation.note = (
        f"killed {follower.kills} times; each of {len(follower.deliveries):,} events is in its table once, "
        f"{follower.repeated} came again after their commit"
    )


@fault(
    "subscriber with an inbox: killed -9 at random for a minute",
    spares_clients=True,
    random=False,
    prepare=_subscribe,
    restore=_note_its_kills,
)
async def kill_subscriber(installation: Installation) -> None:
    """Its table has every event exactly once in the end, wherever it was killed."""
    follower = _inbox_of(installation)
    lives = random.Random(_SEED)  # noqa: S311 - the same for each run
    until_s = time.monotonic() + _FOR_S
    while time.monotonic() < until_s:
        await asyncio.sleep(lives.uniform(*_LIVES_S))
        await follower.kill()


def _inbox_of(installation: Installation) -> InboxFollower:
    [found] = [it for it in installation.others if isinstance(it, InboxFollower)]
    return found
