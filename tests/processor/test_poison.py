"""A poison ECG costs the others no attempt."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.insights import INSIGHTS
from shared.domain.findings import Finding
from shared.events import EcgKey, submitted_event
from shared.ports.outbox import REPUBLISH_BACKOFF
from tests.processor.conftest import HandedOver, Listener
from tests.support.builders import SOURCE, AnEventSource, a_lead, a_lead_insight, a_submission, an_ecg
from tests.support.steady_pace import SteadyPace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.domain.insights import Insight, Signal
    from shared.storage.pool.database import Database
    from shared.storage.postgres.ecgs import PostgresEcgStore
    from shared.storage.postgres.outbox import PostgresOutbox

_POISON = 666


class ProcessKilledError(BaseException):
    """Ends everything, as kill -9 does."""


def _kill(signal: Signal, _: Mapping[str, Finding]) -> Finding:
    if signal.lead.signal[0] == _POISON:
        raise ProcessKilledError
    return Finding(0)


def _raise(signal: Signal, _: Mapping[str, Finding]) -> Finding:
    if signal.lead.signal[0] == _POISON:
        raise ValueError("poison")
    return Finding(0)


def some_dependencies(
    store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener, *more: Insight, max_attempts: int = 3
) -> Dependencies:
    return Dependencies(
        store=store,
        outbox=outbox,
        publisher=listener,
        event_source=AnEventSource(),
        insights=INSIGHTS + more,
        max_attempts=max_attempts,
        batch_samples=1000,
        pace=SteadyPace(ecg_s=1e-4),
    )


def a_delivery(*ids: str) -> HandedOver:
    keys = [EcgKey("ada", ecg_id) for ecg_id in ids]
    return HandedOver(submitted_event(keys, source=SOURCE, now=datetime.now(UTC)).body)


async def submit(store: PostgresEcgStore, *ids: str, poison: str) -> None:
    for ecg_id in ids:
        signal = (_POISON, -1) if ecg_id == poison else (1, -1, 1)
        await store.add([a_submission(ecg=an_ecg(ecg_id, leads=[a_lead(signal=signal)]))])


async def statuses(database: Database) -> dict[str, tuple[str, int]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id, status, attempts FROM ecg ORDER BY id")
    return {row["id"]: (row["status"], row["attempts"]) for row in rows}


async def test_an_ecg_that_kills_the_process_takes_no_other_with_it(
    database: Database, store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener
) -> None:
    await submit(store, "a", "b", "c", "d", poison="b")
    deps = some_dependencies(store, outbox, listener, a_lead_insight("killer", _kill))

    for _ in range(3):
        with pytest.raises(ProcessKilledError):
            await settle_deliveries([a_delivery("a", "b", "c", "d")], deps=deps)
    delivery = a_delivery("a", "b", "c", "d")
    await settle_deliveries([delivery], deps=deps)

    assert await statuses(database) == {
        "a": ("completed", 2),
        "b": ("failed", 4),
        "c": ("completed", 2),
        "d": ("completed", 2),
    }
    assert delivery.ended == ["ack"]
    assert sorted(event.type for event in listener.received) == ["ecg.failed"] + 3 * ["ecg.processed"]


async def test_an_insight_that_raises_is_tried_again_later_and_failed_at_the_limit(
    database: Database, store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener
) -> None:
    await submit(store, "a", poison="a")
    deps = some_dependencies(store, outbox, listener, a_lead_insight("raiser", _raise))

    for attempt in (1, 2):
        await settle_deliveries([a_delivery("a")], deps=deps)
        assert await statuses(database) == {"a": ("queued", attempt)}
        assert await outbox.take_due_ecgs(10, REPUBLISH_BACKOFF) == []
    await settle_deliveries([a_delivery("a")], deps=deps)

    assert await statuses(database) == {"a": ("failed", 3)}
    assert [event.type for event in listener.received] == ["ecg.failed"]


async def test_an_ecg_that_was_tried_before_is_analysed_while_nothing_else_is(
    store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener
) -> None:
    begun = asyncio.Event()
    deps = some_dependencies(store, outbox, listener)

    async def be_alone() -> None:
        begun.set()
        async with deps.isolation.exclusive():
            pass

    async with deps.isolation.shared():
        alone = asyncio.create_task(be_alone())
        await begun.wait()
        await asyncio.sleep(0)
        assert not alone.done()
    await asyncio.wait_for(alone, 1)


async def test_unreadable_is_put_aside_and_unknown_is_done(
    store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener
) -> None:
    garbage, unknown = HandedOver(b"not JSON"), a_delivery("nobody-knows")

    await settle_deliveries([garbage, unknown], deps=some_dependencies(store, outbox, listener))

    assert (garbage.ended, unknown.ended) == (["dead"], ["ack"])


async def test_a_commit_that_has_begun_is_finished_and_acked_though_its_task_is_cancelled(
    database: Database,
    store: PostgresEcgStore,
    outbox: PostgresOutbox,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await submit(store, "a", poison="")
    committing, go_on = asyncio.Event(), asyncio.Event()
    settle = store.settle

    async def slow_settle(settlements: object) -> object:
        committing.set()
        await go_on.wait()
        return await settle(settlements)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "settle", slow_settle)
    delivery = a_delivery("a")
    working = asyncio.create_task(
        settle_deliveries([delivery], deps=some_dependencies(store, outbox, listener))
    )
    await committing.wait()

    working.cancel()
    go_on.set()
    await asyncio.wait([working], timeout=5)

    assert working.cancelled()
    assert await statuses(database) == {"a": ("completed", 1)}
    assert delivery.ended == ["ack"]
