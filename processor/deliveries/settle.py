"""Settle deliveries: analyse, postpone or skip (if finished) each ECG they name; then acknowledge."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.analysis import analyse
from processor.deliveries import ecg_records, metrics
from processor.deliveries.circuit_breaker import CircuitBreaker, CircuitOpenError
from processor.deliveries.isolation import Isolation
from processor.deliveries.messages import read_or_dead_letter
from processor.deliveries.pace import Pace
from processor.deliveries.shielding import run_shielded
from processor.deliveries.spans import EcgSpans
from processor.deliveries.tracker import DeliveryTracker
from shared.domain.errors import (
    AnalysisError,
    InvalidEcgError,
    IsolineError,
    UnavailableError,
)
from shared.domain.findings import Insights
from shared.events import MAX_ECGS_PER_EVENT, failed_event, processed_event, submitted_event
from shared.observability.logs import Logger
from shared.observability.tracing import now_ns
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.ports.ecgs import Settlement, given_up_after
from shared.publishing import publish_batches
from shared.runtime import failpoint
from shared.runtime.retry import backoff_s, retry_while_unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from shared.domain.insights import Insight
    from shared.events import EcgKey
    from shared.ports.broker import Delivery, Publisher
    from shared.ports.ecgs import Claim, Claims, EcgStore, StoredEcg
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import Outbox

# A message names up to 64 ECGs, and a batch has 64 messages: results of 4,096 at once took 60 MB more. No
# more are claimed at once either: ECGs that were claimed when a processor died are analysed one by one.
_BATCH_ECGS: Final = 512
# Decoding and measuring this many takes 3 ms; then the event loop runs other tasks. Only a longer ECG goes to
# a thread: the hand-over takes 0.1 ms and more, a thread's memory goes back to the system after each array,
# and two threads compete for the interpreter. An ECG of 12 x 5000 samples takes 320 us of CPU in the loop's
# own thread, 360 to 520 in another and 700 in two.
_INLINE_SAMPLES: Final = 500_000
_INLINE_S: Final = 0.02  # they may take longer than expected
_FIRST_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 60.0

_log = Logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Dependencies and limits of a processor.

    Attributes:
        insights: To measure, in the order of `shared.domain.insights.order_by_needs`.
        max_attempts: An ECG with more failed attempts is failed.
        batch_samples: Limit of samples in memory for one batch; a larger ECG is a batch by itself.
        isolation: Held by analyses, exclusively by those of ECGs that were tried before.
        breaker: Interrupts waiting for the store.
        claim_ids: Name this process in each claim.
        pace: How long ECGs take, which limits how many are claimed at once and how many are kept.
    """

    store: EcgStore
    outbox: Outbox
    publisher: Publisher
    event_source: EventSource
    insights: Sequence[Insight]
    max_attempts: int
    batch_samples: int
    isolation: Isolation = field(default_factory=Isolation)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    claim_ids: ClaimIds = field(default_factory=lambda: ClaimIds(new_process_id()))
    pace: Pace = field(default_factory=Pace)


class _Measured(NamedTuple):
    """What some ECGs gave, how many seconds it took, and which of them each insight."""

    outcomes: dict[EcgKey, Insights | IsolineError]
    seconds: float
    spent_s: Mapping[str, float]


async def settle_deliveries(deliveries: Sequence[Delivery], *, deps: Dependencies) -> None:
    """Settle every ECG that these deliveries name; acknowledge a delivery once all of its ECGs are settled.

    An ECG that was tried before is analysed while nothing else is, and its attempt is counted just before: if
    it kills the process, no other ECG loses an attempt. During a short outage of the store the deliveries are
    kept; once the circuit opens, deliveries that name an ECG without a result are given back, and results are
    kept until they can be committed. On cancellation a commit that has begun is finished and its deliveries
    are acknowledged; the others come again.
    """
    received_ns = now_ns()
    tracker = DeliveryTracker({delivery: await read_or_dead_letter(delivery) for delivery in deliveries})
    if not tracker.unsettled_ecgs:
        return
    deps.pace.record_messages(len(deliveries), len(tracker.unsettled_ecgs))
    spans = EcgSpans(received_ns)
    with metrics.holding(len(tracker.unsettled_ecgs)), deps.breaker.give_back_on_open(tracker.give_back):
        try:
            await deps.isolation.isolate_retries(
                partial(_settle_together, tracker, spans, deps),
                partial(_settle_alone, tracker=tracker, spans=spans, deps=deps),
            )
        except CircuitOpenError:
            await tracker.give_back()
        finally:
            spans.end_unsettled()


async def _settle_together(tracker: DeliveryTracker, spans: EcgSpans, deps: Dependencies) -> list[EcgKey]:
    """Settle the ECGs without an earlier attempt; return the others."""
    tried_before: list[EcgKey] = []
    unsettled: Sequence[EcgKey] = tracker.unsettled_ecgs
    while unsettled:
        size = deps.pace.ecgs_to_claim(_BATCH_ECGS)
        keys, unsettled = set(unsettled[:size]), unsettled[size:]
        claims = await _claim(keys, tracker, spans, deps)
        tried_before += claims.tried_before
        await tracker.mark_settled(
            keys.difference(claims.tried_before, (claim.key for claim in claims.claimed))
        )
        for batch in _batches(claims.claimed, deps.batch_samples):
            await _settle(batch, claims.loaded, tracker, spans, deps)
        unsettled = await _offer_to_others(unsettled, tracker, deps)
    return tried_before


async def _settle_alone(
    key: EcgKey, *, tracker: DeliveryTracker, spans: EcgSpans, deps: Dependencies
) -> None:
    claims = await _claim({key}, tracker, spans, deps, tried_before=True)
    for claim in claims.claimed:
        ecg_records.log_repeated_attempt(claim)
    await _settle(claims.claimed, claims.loaded, tracker, spans, deps)
    await tracker.mark_settled({key})


async def _offer_to_others(
    keys: Sequence[EcgKey], tracker: DeliveryTracker, deps: Dependencies
) -> Sequence[EcgKey]:
    """Announce anew, in parts, what would take this processor too long; return what it keeps."""
    kept = deps.pace.ecgs_to_keep(len(keys))
    if kept == len(keys):
        return keys
    tracker.check()
    size = min(kept, MAX_ECGS_PER_EVENT)
    parts = [keys[start : start + size] for start in range(kept, len(keys), size)]
    async with deps.breaker.interrupt_on_open():
        source = await retry_while_unavailable(deps.event_source.uri)
    now = datetime.now(UTC)
    outcomes = await deps.publisher.publish([submitted_event(part, source=source, now=now) for part in parts])
    offered = list(zip(parts, outcomes, strict=True))
    await tracker.mark_settled([key for part, failure in offered if failure is None for key in part])
    return [*keys[:kept], *(key for part, failure in offered if failure is not None for key in part)]


async def _claim(
    keys: Collection[EcgKey],
    tracker: DeliveryTracker,
    spans: EcgSpans,
    deps: Dependencies,
    *,
    tried_before: bool = False,
) -> Claims:
    tracker.check()
    # An ECG that may have killed a processor is not loaded before this attempt is counted.
    load_samples = 0 if tried_before else deps.batch_samples
    claim = partial(
        deps.store.claim,
        keys,
        claim_id=deps.claim_ids.next(),
        tried_before=tried_before,
        load_samples=load_samples,
    )
    async with deps.breaker.interrupt_on_open():
        began_ns = now_ns()
        with metrics.CLAIM.time():
            claims = await retry_while_unavailable(claim)
    metrics.count_claims(claims, are_repeated=tried_before)
    failpoint.reach("after-claim")
    claimed = spans.begin(claims.claimed)
    spans.record("claim", claimed, began_ns=began_ns)
    return claims._replace(claimed=claimed)


def _batches(claims: Sequence[Claim], batch_samples: int) -> Iterator[list[Claim]]:
    """The claims in batches of at most so many samples; a larger ECG is a batch by itself."""
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
    claims: Sequence[Claim],
    loaded: dict[EcgKey, StoredEcg],
    tracker: DeliveryTracker,
    spans: EcgSpans,
    deps: Dependencies,
) -> None:
    tracker.check()
    exhausted = [claim for claim in claims if claim.attempt > deps.max_attempts]
    tried = [claim for claim in claims if claim.attempt <= deps.max_attempts]
    stored = await _load(tried, loaded, spans, deps)
    with metrics.MEASURE.time():
        found = await _measure([claim for claim in tried if claim.key in stored], stored, spans, deps)
    tracker.exclude_from_give_back(claim.key for claim in claims)
    async with deps.breaker.interrupt_on_open(only_if_draining=True):
        source = await retry_while_unavailable(deps.event_source.uri)
    now = datetime.now(UTC)
    settlements = [
        _failed_settlement(claim, given_up_after(claim.attempt - 1), source=source, now=now)
        for claim in exhausted
    ]
    for _ in exhausted:
        metrics.count_failure(None)
    for claim in tried:
        outcome = found.get(claim.key)
        if isinstance(outcome, IsolineError):
            metrics.count_failure(outcome)
        if isinstance(outcome, AnalysisError) and claim.attempt < deps.max_attempts:
            await _postpone(claim, outcome, deps)
            spans.end(claim.key, failure=str(outcome))
        elif outcome is not None:
            settlements.append(_settlement(claim, outcome, source=source, now=now))
    await run_shielded(_conclude(settlements, claims, tracker, spans, deps))


async def _load(
    claims: Sequence[Claim], loaded: dict[EcgKey, StoredEcg], spans: EcgSpans, deps: Dependencies
) -> Mapping[EcgKey, StoredEcg]:
    """The stored ECGs of these claims: those that were loaded with the claims, and the others now."""
    stored = {claim.key: loaded.pop(claim.key) for claim in claims if claim.key in loaded}
    missing = [claim for claim in claims if claim.key not in stored]
    if missing:
        async with deps.breaker.interrupt_on_open():
            began_ns = now_ns()
            with metrics.LOAD.time():
                stored |= await retry_while_unavailable(partial(deps.store.load, missing))
        spans.record("load", missing, began_ns=began_ns)
    return stored


async def _conclude(
    settlements: Sequence[Settlement],
    claims: Sequence[Claim],
    tracker: DeliveryTracker,
    spans: EcgSpans,
    deps: Dependencies,
) -> None:
    if settlements:
        await _commit_and_publish(settlements, spans, deps)
        for settlement in settlements:
            spans.end(settlement.claim.key, failure=settlement.error)
    await tracker.mark_settled([claim.key for claim in claims])


async def _measure(
    claims: Sequence[Claim], stored: Mapping[EcgKey, StoredEcg], spans: EcgSpans, deps: Dependencies
) -> dict[EcgKey, Insights | IsolineError]:
    found: dict[EcgKey, Insights | IsolineError] = {}
    measure = partial(_measure_within, stored=stored, spans=spans, insights=deps.insights)
    for batch in _batches(claims, _INLINE_SAMPLES):
        left = batch
        while left:
            if deps.pace.is_slow or batch[0].num_samples > _INLINE_SAMPLES:
                measured = await asyncio.to_thread(measure, left[:1])
            else:
                measured = measure(left, within_s=_INLINE_S)
                await asyncio.sleep(0)
            metrics.count_insight_seconds(measured.spent_s)
            deps.pace.record_measured(len(measured.outcomes), measured.seconds)
            found |= measured.outcomes
            left = left[len(measured.outcomes) :]
    return found


def _measure_within(
    claims: Sequence[Claim],
    *,
    stored: Mapping[EcgKey, StoredEcg],
    spans: EcgSpans,
    insights: Sequence[Insight],
    within_s: float = math.inf,
) -> _Measured:
    """Measure these ECGs, or the first ones if time runs out."""
    outcomes: dict[EcgKey, Insights | IsolineError] = {}
    spent_s: dict[str, float] = {}
    are_traced, began_ns, began_s = not spans.are_none, now_ns(), time.perf_counter()
    for claim in claims:
        outcomes[claim.key] = _insights_or_error(stored[claim.key], insights, spent_s)
        if are_traced:
            spans.record("measure", [claim], began_ns=began_ns)
            began_ns = now_ns()
        if time.perf_counter() - began_s > within_s:
            break
    return _Measured(outcomes, time.perf_counter() - began_s, spent_s)


def _insights_or_error(
    stored: StoredEcg, insights: Sequence[Insight], spent_s: dict[str, float]
) -> Insights | IsolineError:
    try:
        return analyse(stored.decode(), insights, spent_s=spent_s)
    except (InvalidEcgError, AnalysisError) as error:
        return error


async def _postpone(claim: Claim, error: AnalysisError, deps: Dependencies) -> None:
    delay_s = backoff_s(claim.attempt, first_s=_FIRST_BACKOFF_S, longest_s=_LONGEST_BACKOFF_S)
    ecg_records.log_postponed(claim, error, delay_s=delay_s)
    async with deps.breaker.interrupt_on_open(only_if_draining=True):  # of other ECGs in the batch
        postpone = partial(deps.store.postpone, [claim.key], delay_s=delay_s, reason=str(error))
        await retry_while_unavailable(postpone)


def _settlement(claim: Claim, outcome: Insights | IsolineError, *, source: str, now: datetime) -> Settlement:
    if not isinstance(outcome, Insights):
        return _failed_settlement(claim, str(outcome), source=source, now=now)
    document = outcome.document()
    event = processed_event(claim.key, document, source=source, now=now, traceparent=claim.traceparent)
    return Settlement(claim, event, document=document, series=outcome.series())


def _failed_settlement(claim: Claim, error: str, *, source: str, now: datetime) -> Settlement:
    event = failed_event(claim.key, error, source=source, now=now, traceparent=claim.traceparent)
    return Settlement(claim, event, error=error)


async def _commit_and_publish(settlements: Sequence[Settlement], spans: EcgSpans, deps: Dependencies) -> None:
    failpoint.reach("before-commit")
    async with deps.breaker.interrupt_on_open(only_if_draining=True):
        began_ns = now_ns()
        with metrics.COMMIT.time():
            batch = await retry_while_unavailable(partial(deps.store.settle, settlements))
    spans.record("commit", [settlement.claim for settlement in settlements], began_ns=began_ns)
    failpoint.reach("after-commit")
    events = {event.id for event in batch.events}
    settled = [settlement for settlement in settlements if settlement.event.id in events]
    _log.info(
        "ECGs were settled",
        settled=len(settled),
        failed=sum(settlement.error is not None for settlement in settled),
        settled_before=len(settlements) - len(settled),
    )
    if not settled:
        return
    metrics.observe_settled(settled)
    ecg_records.log_settled(settled)
    try:
        with metrics.PUBLISH.time():
            await publish_batches([batch], outbox=deps.outbox, publisher=deps.publisher)
    except UnavailableError as error:
        if not error.is_logged:
            _log.warning("events stay in the outbox for the relay", reason=str(error))
