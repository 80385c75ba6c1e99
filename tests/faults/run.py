"""One fault from load to verdict."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tests.faults.invariants import broken_invariants, until_quiet
from tests.faults.load import Load

if TYPE_CHECKING:
    from tests.faults.catalogue import Fault
    from tests.faults.world import World

ECGS: Final = 640
_BEGIN_AT: Final = 0.15
_HARM_WITHIN_S: Final = 180.0
_QUIET_WITHIN_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one fault went.

    Attributes:
        accepted: ECGs answered with 202, or planted as such.
        lost: Of these, those that did not become terminal with their event.
        duplicates: Event deliveries beyond the first of each event.
        events: Event deliveries in all.
        stall_s: The longest time in which the subscriber heard nothing, from the first event to the last.
        drain_s: From when the last ECG was accepted and the fault was over until nothing was left to do.
        breaches: Every broken invariant in a sentence.
    """

    name: str
    accepted: int
    lost: int
    retries: int
    duplicates: int
    events: int
    stall_s: float
    drain_s: float
    breaches: list[str]


async def run_fault(world: World, fault: Fault, *, ecgs: int = ECGS) -> Outcome:
    """Load the installation, do the harm, wait for quiet, check every invariant."""
    if fault.prepare:
        await fault.prepare(world)
    deliveries, heard = world.listener.deliveries.total(), len(world.listener.heard_s)
    accepted = len(world.accepted)
    load = Load(world.balancer.address, ecgs, f"{len(world.known)}")
    world.known |= load.ecgs
    loading = asyncio.create_task(load.run())
    breaches = await _do_harm(world, fault, load)
    await asyncio.wait([loading], timeout=_HARM_WITHIN_S)
    begun_s = time.monotonic()
    world.accepted |= load.accepted
    stuck = await until_quiet(world, within_s=_QUIET_WITHIN_S)
    drain_s = time.monotonic() - begun_s
    await world.until_ready()
    breaches += ([stuck] if stuck else []) + load.refused + await broken_invariants(world)
    if len(load.accepted) < ecgs:
        breaches.append(f"{ecgs - len(load.accepted)} ECGs were not accepted in time")
    if fault.spares_clients and load.retries:
        breaches.append(f"{load.retries} requests of clients failed")
    loading.cancel()
    times = sorted(world.listener.heard_s.values())[heard:]
    events = world.listener.deliveries.total() - deliveries
    return Outcome(
        name=fault.name,
        accepted=len(world.accepted) - accepted,
        lost=len([breach for breach in breaches if breach.startswith(("I1", "I2"))]),
        retries=load.retries,
        duplicates=events - (len(world.listener.heard_s) - heard),
        events=events,
        stall_s=max((later - one for one, later in pairwise(times)), default=0.0),
        drain_s=drain_s,
        breaches=breaches,
    )


async def _do_harm(world: World, fault: Fault, load: Load) -> list[str]:
    try:
        async with asyncio.timeout(_HARM_WITHIN_S):
            await load.until_accepted(_BEGIN_AT)
            await fault.harm(world)
    except (AssertionError, TimeoutError) as error:
        return [f"the fault itself: {error!r}"]
    finally:
        world.heal()
    return []
