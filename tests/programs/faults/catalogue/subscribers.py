"""Faults of subscribers: they are killed, or do not take what they are sent."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final

from tests.programs.faults.fault import fault
from tests.programs.faults.followers.inbox import InboxFollower, open_inbox_follower
from tests.programs.faults.followers.webhook_receiver import (
    Behaviour,
    WebhookReceiver,
    open_webhook_receiver,
)
from tests.programs.faults.installation.installation import SUBSCRIBER

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_FOR_S: Final = 60.0
_LIVES_S: Final = (0.3, 4.0)
_BAD_S: Final = (0.5, 3.0)
_GOOD_S: Final = (2.0, 6.0)  # what was not taken is sent again after 2.5 s at the earliest
_BAD_BEFORE_A_KILL: Final = 3
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


async def _create_webhook(installation: Installation) -> None:
    receiver = await installation.until_verdict.enter_async_context(
        open_webhook_receiver(installation, user=SUBSCRIBER, seed=_SEED)
    )
    installation.follow(receiver)


async def _note_its_behaviour(installation: Installation) -> None:
    receiver = _receiver_of(installation)
    behaved = ", ".join(f"{it} {receiver.behaved[it]:,}" for it in Behaviour if receiver.behaved[it])
    installation.note = (
        f"each of {len(receiver.deliveries):,} events is in its inbox once, {receiver.repeated} came again "
        f"after they were kept; requests by what the receiver did: {behaved}"
    )


@fault(
    "receiver of webhooks: fails, hangs, resets, is slow or away for a minute",
    random=False,
    prepare=_create_webhook,
    restore=_note_its_behaviour,
)
async def misbehave(installation: Installation) -> None:
    """Its inbox has every event exactly once in the end, though processors are killed meanwhile too."""
    receiver = _receiver_of(installation)
    chance = random.Random(_SEED)  # noqa: S311 - the same for each run
    bad = [it for it in Behaviour if it is not Behaviour.GOOD]
    to_kill = cycle(installation.processors)
    until_s = time.monotonic() + _FOR_S
    while time.monotonic() < until_s:
        for behaviour in chance.sample(bad, len(bad))[:_BAD_BEFORE_A_KILL]:
            await receiver.behave(behaviour)
            await asyncio.sleep(chance.uniform(*_BAD_S))
            await receiver.behave(Behaviour.GOOD)
            await asyncio.sleep(chance.uniform(*_GOOD_S))
        next(to_kill).send(signal.SIGKILL)


def _receiver_of(installation: Installation) -> WebhookReceiver:
    [found] = [it for it in installation.followers_of_fault if isinstance(it, WebhookReceiver)]
    return found


def _inbox_of(installation: Installation) -> InboxFollower:
    [found] = [it for it in installation.followers_of_fault if isinstance(it, InboxFollower)]
    return found
