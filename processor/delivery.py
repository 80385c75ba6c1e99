"""The fate of deliveries: each ECG they name becomes terminal, waits for another try, or was so before."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from processor.analysis import analyse
from shared.domain.errors import (
    AnalysisError,
    InvalidEcgError,
    IsolineError,
    UnavailableError,
    UnreadableMessageError,
)
from shared.domain.insights import Insights
from shared.events import failed, processed, read_submitted
from shared.patience import jittered_pause_s, until_available
from shared.ports import Settlement
from shared.relay import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.domain.ecg import Ecg
    from shared.domain.insights import Insight
    from shared.events import EcgKey
    from shared.ports import Claim, Delivery, EcgStore, Outbox, Publisher

_FIRST_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a processor works with.

    Attributes:
        insights: What is measured.
        max_attempts: After so many an ECG is failed.
        batch_samples: Samples that may be in memory for one batch; a larger ECG is a batch by itself.
    """

    store: EcgStore
    outbox: Outbox
    publisher: Publisher
    insights: Sequence[Insight]
    max_attempts: int
    batch_samples: int


async def settle_deliveries(deliveries: Sequence[Delivery], *, bench: Bench) -> None:
    """Settle every ECG that these deliveries name, then end each delivery.

    While storage is away it waits: the deliveries stay in hand and nothing is analysed twice. When it is
    cancelled the deliveries come again.
    """
    keys = {delivery: await _named(delivery) for delivery in deliveries}
    wanted = {key for named in keys.values() for key in named}
    if wanted:
        for batch in _batches(await until_available(partial(bench.store.claim, wanted)), bench.batch_samples):
            await _settle(batch, bench)
    for delivery, named in keys.items():
        if named:
            await delivery.ack()


async def _named(delivery: Delivery) -> list[EcgKey]:
    """The ECGs that a delivery names; none when it can't be read and was put aside."""
    try:
        return read_submitted(delivery.body)
    except UnreadableMessageError as error:
        _log.warning("a message can't be read and was put aside", reason=str(error))
        await delivery.dead_letter()
        return []


def _batches(claims: Sequence[Claim], batch_samples: int) -> Iterator[list[Claim]]:
    """First attempts together, up to a number of samples; each later one alone: it may be what kills us."""
    batch: list[Claim] = []
    for claim in claims:
        if claim.attempt > 1:
            yield [claim]
            continue
        if batch and sum(other.num_samples for other in batch) + claim.num_samples > batch_samples:
            yield batch
            batch = []
        batch.append(claim)
    if batch:
        yield batch


async def _settle(claims: Sequence[Claim], bench: Bench) -> None:
    exhausted = [claim for claim in claims if claim.attempt > bench.max_attempts]
    tried = [claim for claim in claims if claim.attempt <= bench.max_attempts]
    ecgs = await until_available(partial(bench.store.load, tried)) if tried else {}
    found = await asyncio.to_thread(_measured, ecgs, bench.insights)
    settlements = [_failed(claim, f"Given up after {bench.max_attempts} attempts.") for claim in exhausted]
    for claim in tried:
        outcome = found.get(claim.key)
        if isinstance(outcome, AnalysisError) and claim.attempt < bench.max_attempts:
            await _postpone(claim, outcome, bench)
        elif outcome is not None:
            settlements.append(_settlement(claim, outcome))
    if settlements:
        await _commit_and_tell(settlements, bench)


def _measured(
    ecgs: Mapping[EcgKey, Ecg | InvalidEcgError], insights: Sequence[Insight]
) -> dict[EcgKey, Insights | IsolineError]:
    return {key: _insights_or_error(ecg, insights) for key, ecg in ecgs.items()}


def _insights_or_error(ecg: Ecg | InvalidEcgError, insights: Sequence[Insight]) -> Insights | IsolineError:
    if isinstance(ecg, InvalidEcgError):
        return ecg
    try:
        return analyse(ecg, insights)
    except AnalysisError as error:
        return error


async def _postpone(claim: Claim, error: AnalysisError, bench: Bench) -> None:
    delay_s = jittered_pause_s(claim.attempt, first_s=_FIRST_RETRY_S, longest_s=_LONGEST_RETRY_S)
    _log.warning("an analysis failed and will be tried again", reason=str(error), attempt=claim.attempt)
    await until_available(partial(bench.store.postpone, [claim.key], delay_s=delay_s))


def _settlement(claim: Claim, outcome: Insights | IsolineError) -> Settlement:
    if not isinstance(outcome, Insights):
        return _failed(claim, str(outcome))
    document = outcome.document()
    event = processed(claim.key, document, now=datetime.now(UTC), traceparent=claim.traceparent)
    return Settlement(claim, event, document=document)


def _failed(claim: Claim, error: str) -> Settlement:
    event = failed(claim.key, error, now=datetime.now(UTC), traceparent=claim.traceparent)
    return Settlement(claim, event, error=error)


async def _commit_and_tell(settlements: Sequence[Settlement], bench: Bench) -> None:
    settled = await until_available(partial(bench.store.settle, settlements))
    events = [settlement.event for settlement in settlements if settlement.claim.key in settled]
    _log.info("ECGs were settled", settled=len(events), settled_before=len(settlements) - len(events))
    try:
        await tell(events, outbox=bench.outbox, publisher=bench.publisher)
    except UnavailableError as error:
        _log.warning("events stay in the outbox for the relay", reason=str(error))
