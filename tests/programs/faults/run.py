"""One fault from load to verdict."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from shared.runtime.supervision import failure_of
from tests.programs.faults.invariants import (
    Breach,
    broken_invariants,
    until_back,
    until_followed,
    until_quiet,
)
from tests.programs.faults.load import Load

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.programs.faults.fault import Fault
    from tests.programs.faults.installation.installation import Installation

ECGS: Final = 640
_BEGIN_AT: Final = 0.15
# No fault needs a fifth of these on a quiet machine.
_STEP_WITHIN_S: Final = 300.0
_QUIET_WITHIN_S: Final = 300.0
_FOLLOWED_WITHIN_S: Final = 300.0  # a webhook waits for minutes once its receiver has failed some times


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one fault.

    Attributes:
        accepted: ECGs answered with 202, or injected as such.
        retries: Requests that clients had to send again.
        duplicates: Event deliveries beyond the first of each event.
        events: Event deliveries in all.
        stall_s: The longest time in which the subscriber received nothing, from the first event to the last.
        drain_s: From when the last ECG was accepted and the fault was over until nothing was left to do.
        took_s: From the preparation to the verdict.
        note: What the fault has to say besides.
    """

    name: str
    accepted: int
    retries: int
    duplicates: int
    events: int
    stall_s: float
    drain_s: float
    took_s: float
    breaches: list[Breach]
    note: str = ""

    def count(self, kind: str) -> int:
        """The number of broken promises of this kind."""
        return sum(breach.number for breach in self.breaches if breach.kind == kind)


async def run_fault(installation: Installation, fault: Fault, *, ecgs: int = ECGS) -> Outcome:
    """Load the installation, inject the fault, wait until no work is left, check every invariant."""
    begun_s = time.monotonic()
    installation.note = ""
    accepted = len(installation.accepted)
    breaches = await _broken_by(_prepare(installation, fault))
    deliveries, received = installation.listener.deliveries.total(), len(installation.listener.received_s)
    load = Load(installation.balancer.address, ecgs, f"{len(installation.known)}")
    installation.load = load
    breaches = breaches or await _broken_by(_load_and_harm(installation, fault, load))
    breaches += _broken_by_load(load, ecgs, spares_clients=fault.spares_clients)
    installation.known |= load.ecgs
    installation.accepted |= load.accepted - installation.forgotten
    loaded_s = time.monotonic()
    breaches += await until_quiet(installation, within_s=_QUIET_WITHIN_S)
    drain_s = time.monotonic() - loaded_s
    await until_followed(installation, within_s=_FOLLOWED_WITHIN_S)
    breaches += await _broken_by(installation.until_ready())
    installation.plateau = installation.plateau or installation.largest_footprints()
    breaches += await until_back(installation) + await broken_invariants(installation)
    if fault.restore:
        breaches += await _broken_by(fault.restore(installation))
    breaches += await _broken_by(installation.until_verdict.aclose())
    times = sorted(installation.listener.received_s.values())[received:]
    events = installation.listener.deliveries.total() - deliveries
    return Outcome(
        name=fault.name,
        accepted=len(installation.accepted) - accepted,
        retries=load.retries,
        duplicates=events - (len(installation.listener.received_s) - received),
        events=events,
        stall_s=max((later - one for one, later in pairwise(times)), default=0.0),
        drain_s=drain_s,
        took_s=time.monotonic() - begun_s,
        breaches=breaches,
        note=installation.note,
    )


async def _prepare(installation: Installation, fault: Fault) -> None:
    if fault.prepare:
        await fault.prepare(installation)
    await installation.until_ready()


async def _load_and_harm(installation: Installation, fault: Fault, load: Load) -> None:
    loading = asyncio.create_task(load.run())
    try:
        await load.until_accepted(_BEGIN_AT)
        failure = await failure_of(fault.harm(installation))
        installation.heal()
        load.finish()
        await loading
        if failure:
            raise failure
    finally:
        installation.heal()
        loading.cancel()
        await asyncio.wait([loading])


def _broken_by_load(load: Load, ecgs: int, *, spares_clients: bool) -> list[Breach]:
    breaches = [Breach("other", f"a client was refused {refusal}") for refusal in load.refused]
    if missing := max(ecgs - len(load.accepted), 0):
        breaches.append(Breach("stuck", f"{missing} ECGs were not accepted in time", missing))
    if spares_clients and load.retries:
        breaches.append(Breach("other", f"{load.retries} requests of clients failed"))
    return breaches


async def _broken_by(step: Awaitable[object]) -> list[Breach]:
    async def in_time() -> None:
        async with asyncio.timeout(_STEP_WITHIN_S):
            await step

    failure = await failure_of(in_time())
    return [Breach("other", f"the fault itself failed: {failure!r}")] if failure else []
