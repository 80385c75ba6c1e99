"""The fate of deliveries: each ECG they name becomes terminal, waits for another try, or was so before."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from processor.analysis import analyse
from processor.deliveries.circuit_breaker import CircuitBreaker, CircuitOpenError
from processor.deliveries.isolation import Room
from processor.deliveries.messages import give_back, named_ecgs
from processor.deliveries.shielding import shielded
from shared.domain.errors import (
    AnalysisError,
    InvalidEcgError,
    IsolineError,
    UnavailableError,
)
from shared.domain.findings import Insights
from shared.events import failed, processed
from shared.observability.logs import Logger
from shared.ports.ecgs import Settlement
from shared.relay import tell
from shared.runtime import failpoint
from shared.runtime.retry import backoff_s, retry_until_available

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from shared.domain.insights import Insight
    from shared.events import EcgKey
    from shared.ports.broker import Delivery, Publisher
    from shared.ports.ecgs import Claim, Claims, EcgStore, StoredEcg
    from shared.ports.installation import Installation
    from shared.ports.outbox import Outbox

# A message may name 64 ECGs, and a batch 64 messages: results of 4,096 at once took 60 MB more. Nor is more
# claimed at once: what was claimed when a processor died is analysed one by one.
_BATCH_ECGS: Final = 512
# So many samples are decoded and measured within 3 ms, and then it is the event loop's turn. A thread is for
# longer ECGs only: being handed work and handing it back takes 0.1 ms and more, its memory goes back to the
# system after each array, and of two each keeps the interpreter from the other. An ECG of 12 x 5000 samples
# takes 320 us of CPU in the loop's own thread, 360 to 520 in another and 700 in two.
_INLINE_SAMPLES: Final = 500_000
_FIRST_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0

_log = Logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a processor works with.

    Attributes:
        insights: What is measured, in the order of `shared.domain.insights.ordered`.
        max_attempts: After so many an ECG is failed.
        batch_samples: Samples that may be in memory for one batch; a larger ECG is a batch by itself.
        room: Who is analysed beside whom in this process.
        breaker: Interrupts waiting for the store.
    """

    store: EcgStore
    outbox: Outbox
    publisher: Publisher
    installation: Installation
    insights: Sequence[Insight]
    max_attempts: int
    batch_samples: int
    room: Room = field(default_factory=Room)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)


async def settle_deliveries(deliveries: Sequence[Delivery], *, bench: Bench) -> None:
    """Settle every ECG that these deliveries name; each delivery ends once all of its ECGs have.

    An ECG that was tried before is analysed while nothing else is, and counted when that begins: if it kills
    the process, it takes no other ECG's attempts with it. While storage is away for a moment the deliveries
    stay in hand; once the circuit opens, those are given back that name an ECG without a result, and the
    results are kept until they can be committed. Cancelled, it finishes the commit that it is in and ends
    what that settled; the other deliveries come again.
    """
    hand = _Hand({delivery: await named_ecgs(delivery) for delivery in deliveries})
    if not hand.open:
        return
    with bench.breaker.holding(hand.give_back):
        try:
            await _settle_all(hand, bench)
        except CircuitOpenError:
            await hand.give_back()


async def _settle_all(hand: _Hand, bench: Bench) -> None:
    tried_before: list[EcgKey] = []
    async with bench.room.shared():
        for keys in _portions(hand.open):
            claims = await _claimed(keys, hand, bench)
            tried_before += claims.tried_before
            await hand.close(keys.difference(claims.tried_before, (claim.key for claim in claims.claimed)))
            for batch in _batches(claims.claimed, bench.batch_samples):
                await _settle(batch, claims.loaded, hand, bench)
    for key in tried_before:
        async with bench.room.alone():
            again = await _claimed({key}, hand, bench, tried_before=True)
            await _settle(again.claimed, again.loaded, hand, bench)
            await hand.close({key})


class _Hand:
    """Deliveries in hand, and which of the ECGs that they name are still open."""

    def __init__(self, named: Mapping[Delivery, Collection[EcgKey]]) -> None:
        self._open = {delivery: len(keys) for delivery, keys in named.items()}
        self._naming: dict[EcgKey, list[Delivery]] = {}
        for delivery, keys in named.items():
            for key in keys:
                self._naming.setdefault(key, []).append(delivery)
        self._measured: set[EcgKey] = set()
        self._is_given_back = False

    @property
    def open(self) -> list[EcgKey]:
        """The ECGs that nothing was decided about yet."""
        return list(self._naming)

    async def close(self, keys: Iterable[EcgKey]) -> None:
        """Nothing is left to do for these; a delivery that names no other is done."""
        done: list[Delivery] = []
        for delivery in chain.from_iterable(self._naming.pop(key, ()) for key in keys):
            self._open[delivery] -= 1
            if not self._open[delivery]:
                done.append(delivery)
        if done:
            failpoint.reach("before-ack")
            await asyncio.gather(*(delivery.ack() for delivery in done))  # in one write

    def measured(self, keys: Iterable[EcgKey]) -> None:
        """Keep the deliveries of these: their results are about to be committed."""
        self._measured.update(keys)

    async def give_back(self) -> None:
        """Give back each delivery that names an ECG without a result."""
        self._is_given_back = True
        unmeasured = self._naming.keys() - self._measured
        await give_back({delivery for key in unmeasured for delivery in self._naming.pop(key)})

    def check(self) -> None:
        """Return unless deliveries were given back.

        Raises:
            CircuitOpenError: They were: nothing more is to be begun.
        """
        if self._is_given_back:
            raise CircuitOpenError


def _portions(keys: Sequence[EcgKey]) -> Iterator[set[EcgKey]]:
    for start in range(0, len(keys), _BATCH_ECGS):
        yield set(keys[start : start + _BATCH_ECGS])


async def _claimed(
    keys: Collection[EcgKey], hand: _Hand, bench: Bench, *, tried_before: bool = False
) -> Claims:
    hand.check()
    # What may have killed a processor is not looked at before that attempt is counted.
    load_samples = 0 if tried_before else bench.batch_samples
    claim = partial(
        bench.store.claim, keys, claim_id=uuid4(), tried_before=tried_before, load_samples=load_samples
    )
    async with bench.breaker.interruptible():
        claims = await retry_until_available(claim)
    failpoint.reach("after-claim")
    return claims


def _batches(claims: Sequence[Claim], batch_samples: int) -> Iterator[list[Claim]]:
    """The claims in portions of so many samples at the most; a larger ECG is one by itself."""
    batch: list[Claim] = []
    samples = 0
    for claim in claims:
        if batch and samples + claim.num_samples > batch_samples:
            yield batch
            batch, samples = [], 0
        batch.append(claim)
        samples += claim.num_samples
    if batch:
        yield batch


async def _settle(
    claims: Sequence[Claim], loaded: dict[EcgKey, StoredEcg], hand: _Hand, bench: Bench
) -> None:
    hand.check()
    exhausted = [claim for claim in claims if claim.attempt > bench.max_attempts]
    tried = [claim for claim in claims if claim.attempt <= bench.max_attempts]
    stored = await _loaded(tried, loaded, bench)
    found = await _measured([claim for claim in tried if claim.key in stored], stored, bench.insights)
    hand.measured(claim.key for claim in claims)
    async with bench.breaker.interruptible(holds_results=True):
        source = await retry_until_available(bench.installation.source)
    now = datetime.now(UTC)
    given_up = f"Given up after {bench.max_attempts} attempts."
    settlements = [_failed(claim, given_up, source=source, now=now) for claim in exhausted]
    for claim in tried:
        outcome = found.get(claim.key)
        if isinstance(outcome, AnalysisError) and claim.attempt < bench.max_attempts:
            await _postpone(claim, outcome, bench)
        elif outcome is not None:
            settlements.append(_settlement(claim, outcome, source=source, now=now))
    await shielded(_conclude(settlements, claims, hand, bench))


async def _loaded(
    claims: Sequence[Claim], loaded: dict[EcgKey, StoredEcg], bench: Bench
) -> Mapping[EcgKey, StoredEcg]:
    """These as they are stored: taken out of what came with their claims, or loaded now."""
    stored = {claim.key: loaded.pop(claim.key) for claim in claims if claim.key in loaded}
    missing = [claim for claim in claims if claim.key not in stored]
    if missing:
        async with bench.breaker.interruptible():
            stored |= await retry_until_available(partial(bench.store.load, missing))
    return stored


async def _conclude(
    settlements: Sequence[Settlement], claims: Sequence[Claim], hand: _Hand, bench: Bench
) -> None:
    if settlements:
        await _commit_and_tell(settlements, bench)
    await hand.close([claim.key for claim in claims])


async def _measured(
    claims: Sequence[Claim], stored: Mapping[EcgKey, StoredEcg], insights: Sequence[Insight]
) -> dict[EcgKey, Insights | IsolineError]:
    found: dict[EcgKey, Insights | IsolineError] = {}
    for portion in _batches(claims, _INLINE_SAMPLES):
        measure = partial(_outcomes, [claim.key for claim in portion], stored, insights)
        if portion[0].num_samples > _INLINE_SAMPLES:
            found |= await asyncio.to_thread(measure)
        else:
            found |= measure()
            await asyncio.sleep(0)
    return found


def _outcomes(
    keys: Sequence[EcgKey], stored: Mapping[EcgKey, StoredEcg], insights: Sequence[Insight]
) -> dict[EcgKey, Insights | IsolineError]:
    return {key: _insights_or_error(stored[key], insights) for key in keys}


def _insights_or_error(stored: StoredEcg, insights: Sequence[Insight]) -> Insights | IsolineError:
    try:
        return analyse(stored.decoded(), insights)
    except (InvalidEcgError, AnalysisError) as error:
        return error


async def _postpone(claim: Claim, error: AnalysisError, bench: Bench) -> None:
    delay_s = backoff_s(claim.attempt, first_s=_FIRST_RETRY_S, longest_s=_LONGEST_RETRY_S)
    _log.warning("an analysis failed and will be tried again", reason=str(error), attempt=claim.attempt)
    async with bench.breaker.interruptible(holds_results=True):  # those of the others in its batch
        await retry_until_available(partial(bench.store.postpone, [claim.key], delay_s=delay_s))


def _settlement(claim: Claim, outcome: Insights | IsolineError, *, source: str, now: datetime) -> Settlement:
    if not isinstance(outcome, Insights):
        return _failed(claim, str(outcome), source=source, now=now)
    document = outcome.document()
    event = processed(claim.key, document, source=source, now=now, traceparent=claim.traceparent)
    return Settlement(claim, event, document=document, series=outcome.series())


def _failed(claim: Claim, error: str, *, source: str, now: datetime) -> Settlement:
    event = failed(claim.key, error, source=source, now=now, traceparent=claim.traceparent)
    return Settlement(claim, event, error=error)


async def _commit_and_tell(settlements: Sequence[Settlement], bench: Bench) -> None:
    failpoint.reach("before-commit")
    async with bench.breaker.interruptible(holds_results=True):
        bundle = await retry_until_available(partial(bench.store.settle, settlements))
    failpoint.reach("after-commit")
    settled = len(bundle.events)
    _log.info("ECGs were settled", settled=settled, settled_before=len(settlements) - settled)
    if not settled:
        return
    try:
        await tell([bundle], outbox=bench.outbox, publisher=bench.publisher)
    except UnavailableError as error:
        if not error.is_logged:
            _log.warning("events stay in the outbox for the relay", reason=str(error))
