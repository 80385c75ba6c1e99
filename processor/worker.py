"""Run a processor: concurrent workers that settle deliveries, the relay and the circuit breaker."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from processor.deliveries.messages import give_back
from processor.deliveries.prefetch import Prefetch
from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.fault_injection import injected_insights
from shared.observability.logs import Logger
from shared.relay import run_relay
from shared.runtime.supervision import failure_of, run_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from processor.deliveries.circuit_breaker import CircuitBreaker
    from shared.domain.insights import Insight
    from shared.ports.broker import Consumer, Delivery, Publisher
    from shared.ports.claim_ids import ClaimIds
    from shared.ports.ecgs import EcgStore
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import Outbox
    from shared.runtime.settings import ProcessorOnlySettings

NO_ANALYSIS_IMPACT: Final = "This processor analyses nothing; ECGs stay queued, and none is lost."
_DRAIN_WITHIN_S: Final = 20.0

_log = Logger(__name__)


async def run_processor(
    settings: ProcessorOnlySettings,
    *,
    insights: Sequence[Insight],
    store: EcgStore,
    outbox: Outbox,
    publisher: Publisher,
    event_source: EventSource,
    consumer: Consumer,
    breaker: CircuitBreaker,
    claim_ids: ClaimIds,
    stop_requested: asyncio.Event,
    is_intake_paused: Callable[[], bool] = lambda: False,
    announcer: Publisher | None = None,
) -> None:
    """Work until a stop is requested, then settle received deliveries; unsettled ones are delivered again.

    They have 20 s, or no time while PostgreSQL can't be used. Messages are consumed only while it can. The
    announcer is the relay's, see there.
    """
    deps = Dependencies(
        store=store,
        outbox=outbox,
        publisher=publisher,
        event_source=event_source,
        insights=[*insights, *injected_insights()],
        max_attempts=settings.max_attempts,
        batch_samples=settings.batch_samples,
        breaker=breaker,
        claim_ids=claim_ids,
    )
    relay = partial(
        run_relay,
        outbox=outbox,
        publisher=publisher,
        event_source=event_source,
        interval_s=settings.relay_interval_s,
        is_intake_paused=is_intake_paused,
        announcer=announcer,
    )
    prefetch = Prefetch(consumer, deps.pace, most=settings.prefetch, concurrency=settings.concurrency)
    await prefetch.adjust()
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
            relaying = tasks.create_task(run_supervised(relay, "the relay"))
            breaking = tasks.create_task(
                run_supervised(partial(breaker.run, consumer), "the circuit breaker")
            )
            workers = [
                tasks.create_task(_work(prefetch, deps, settings.batch_messages, stop_requested))
                for _ in range(settings.concurrency)
            ]
            await stop_requested.wait()
            relaying.cancel()
            limit.reschedule(asyncio.get_running_loop().time() + _DRAIN_WITHIN_S)
            breaker.stop_holding_results()
            await give_back(await consumer.pause())
            await asyncio.wait(workers)
            breaking.cancel()
    except TimeoutError:
        _log.warning("stopped with unfinished work, which will be delivered again", waited_s=_DRAIN_WITHIN_S)


async def _work(
    prefetch: Prefetch, deps: Dependencies, batch_messages: int, stop_requested: asyncio.Event
) -> None:
    """Settle deliveries until a stop is requested.

    Raises:
        RuntimeError: It ended otherwise, for instance by a cancellation from within.
    """
    failure = await failure_of(_settle_until_stopped(prefetch, deps, batch_messages, stop_requested))
    if failure is not None:
        raise RuntimeError("a worker ended") from failure


async def _settle_until_stopped(
    prefetch: Prefetch, deps: Dependencies, batch_messages: int, stop_requested: asyncio.Event
) -> None:
    while deliveries := await _receive_batch(
        prefetch.consumer, min(batch_messages, prefetch.batch_messages), stop_requested
    ):
        await settle_deliveries(deliveries, deps=deps)
        await prefetch.adjust()


async def _receive_batch(consumer: Consumer, limit: int, stop_requested: asyncio.Event) -> list[Delivery]:
    """The next deliveries, or none after a stop request."""
    receiving = asyncio.ensure_future(consumer.receive(limit))
    stopping = asyncio.ensure_future(stop_requested.wait())
    try:
        await asyncio.wait((receiving, stopping), return_when=asyncio.FIRST_COMPLETED)
        deliveries = receiving.result() if receiving.done() else []
    finally:
        receiving.cancel()
        stopping.cancel()
    if not stop_requested.is_set():
        return deliveries
    for delivery in deliveries:
        await delivery.requeue()
    return []
