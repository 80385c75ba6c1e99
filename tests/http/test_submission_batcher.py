from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.ecgs import submission_batcher as batcher_module
from gateway.ecgs.submission_batcher import SubmissionBatcher, open_submission_batcher
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, read_submitted
from shared.ports.ecgs import Submission
from shared.storage.postgres.ecgs import PostgresEcgStore
from tests.support.builders import AnEventSource, a_lead, a_submission, an_ecg
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from shared.domain.errors import UnroutableError
    from shared.events import Event
    from shared.ports.ecgs import Receipt
    from shared.ports.event_source import EventSource
    from shared.storage.pool.database import Database

_LIMIT_S = 20


class GatedStore(PostgresEcgStore):
    """Records its batches, and prepares and adds while its gates are open."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[list[str]] = []
        self.num_stored = 0
        self.prepared: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.prepare_gate = asyncio.Event()
        self.prepare_gate.set()

    async def prepare(self, submission: Submission) -> Submission:
        self.prepared.append(submission.ecg.header.id)
        await self.prepare_gate.wait()
        return await super().prepare(submission)

    async def add(self, submissions: Sequence[Submission]) -> list[Receipt]:
        self.batches.append([submission.ecg.header.id for submission in submissions])
        await self.gate.wait()
        receipts = await super().add(submissions)
        self.num_stored += 1
        return receipts


class GatedPublisher:
    """Records published events, and confirms while its gate is open."""

    def __init__(self) -> None:
        self.published: list[list[Event]] = []
        self.outcome: UnroutableError | UnavailableError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        self.published.append(list(events))
        await self.gate.wait()
        return [self.outcome] * len(events)

    @property
    def announced(self) -> list[list[str]]:
        """The ids of each event."""
        return [
            [key.id for key in read_submitted(event.body)] for events in self.published for event in events
        ]


class UnknownEventSource:
    """The event source while the database is unavailable."""

    async def uri(self) -> str:
        raise UnavailableError("not known")


@pytest.fixture
def store(database: Database) -> GatedStore:
    return GatedStore(database)


@pytest.fixture
def publisher() -> GatedPublisher:
    return GatedPublisher()


def open_batcher(
    store: PostgresEcgStore,
    publisher: GatedPublisher,
    *,
    event_source: EventSource | None = None,
    publish_timeout_s: float = _LIMIT_S,
) -> AbstractAsyncContextManager[SubmissionBatcher]:
    return open_submission_batcher(
        store=store,
        publisher=publisher,
        event_source=event_source or AnEventSource(),
        publish_timeout_s=publish_timeout_s,
    )


def outages_in(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The outages that a batcher logged, without records of a gateway that runs in the same process."""
    return [record for record in records if str(record.get("what", "")).startswith("announcing")]


async def submit_all(
    batcher: SubmissionBatcher, *submissions: Submission | str
) -> list[asyncio.Task[Receipt]]:
    """Submit from one task each; return once all are pending or in a batch."""
    tasks = [
        asyncio.create_task(batcher.submit(a_submission(s) if isinstance(s, str) else s)) for s in submissions
    ]
    await let_tasks_run()
    return tasks


async def let_tasks_run() -> None:
    """Let each task run until it waits for I/O or an event."""
    for _ in range(10):
        await asyncio.sleep(0)


async def receipts_of(tasks: Sequence[asyncio.Task[Receipt]]) -> list[Any]:
    async with asyncio.timeout(_LIMIT_S):
        return await asyncio.gather(*tasks, return_exceptions=True)


def numbers(count: int) -> list[str]:
    return [f"{n:04d}" for n in range(count)]


class TestBatches:
    async def test_a_single_submission_is_a_batch_by_itself_without_delay(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            receipt = await batcher.submit(a_submission("10"))

        assert receipt.key == EcgKey("ada", "10", 1)
        assert receipt.is_new
        assert store.batches == [["10"]]
        assert publisher.announced == [["10"]]

    async def test_submissions_made_while_two_batches_are_written_form_the_next(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            first = await submit_all(batcher, "first")
            second = await submit_all(batcher, "second")
            rest = await submit_all(batcher, *numbers(50))
            batches_before = list(store.batches)
            store.gate.set()
            receipts = await receipts_of([*first, *second, *rest])

        assert batches_before == [["first"], ["second"]]
        assert store.batches[2:] == [numbers(50)]
        assert [receipt.key.id for receipt in receipts] == ["first", "second", *numbers(50)]

    async def test_only_an_ecg_of_many_samples_is_prepared_before_its_batch(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        small, large = (
            a_submission(ecg=an_ecg(str(size), leads=[a_lead(signal=range(size))])) for size in (500, 501)
        )
        async with open_batcher(store, publisher) as batcher:
            receipts = await receipts_of(await submit_all(batcher, small, large))

        assert store.prepared == ["501"]
        assert [receipt.is_new for receipt in receipts] == [True, True]

    async def test_two_large_ecgs_are_prepared_at_a_time(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        large = [
            a_submission(ecg=an_ecg(ecg_id, leads=[a_lead(signal=range(501))])) for ecg_id in ("1", "2", "3")
        ]
        store.prepare_gate.clear()
        async with open_batcher(store, publisher) as batcher:
            tasks = await submit_all(batcher, *large)
            prepared_meanwhile = list(store.prepared)
            store.prepare_gate.set()
            await receipts_of(tasks)

        assert prepared_meanwhile == ["1", "2"]
        assert store.prepared == ["1", "2", "3"]

    async def test_a_request_whose_body_is_being_read_joins_the_batch(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            first = asyncio.create_task(batcher.submit(a_submission("first")))
            for _ in range(3):  # head, body, parsing
                await asyncio.sleep(0)
            await receipts_of([first, *await submit_all(batcher, "second")])

        assert store.batches == [["first", "second"]]

    async def test_each_that_joins_the_batch_lets_another_join(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        tasks = []
        async with open_batcher(store, publisher) as batcher:
            for ecg_id in "12345":
                tasks.append(asyncio.create_task(batcher.submit(a_submission(ecg_id))))
                for _ in range(2):
                    await asyncio.sleep(0)
            await receipts_of(tasks)

        assert store.batches == [["1", "2", "3", "4", "5"]]

    async def test_the_first_of_a_batch_does_not_wait_until_submissions_stop_arriving(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher_module, "_BATCH_ECGS", 10**9)
        tasks: list[asyncio.Task[Receipt]] = []
        async with open_batcher(store, publisher) as batcher, asyncio.timeout(_LIMIT_S):
            while not store.batches:
                tasks.append(asyncio.create_task(batcher.submit(a_submission(str(len(tasks))))))
                await asyncio.sleep(0)
            await receipts_of(tasks)

        assert store.batches[0][0] == "0"

    async def test_a_batch_has_two_hundred_at_the_most(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            receipts = await receipts_of(await submit_all(batcher, *numbers(401)))

        assert [len(batch) for batch in store.batches] == [200, 200, 1]
        assert [receipt.key.id for receipt in receipts] == numbers(401)

    async def test_a_batch_has_so_many_samples_at_the_most_and_a_larger_ecg_is_one_by_itself(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher_module, "_BATCH_SAMPLES", 10)
        sizes = {"a": 4, "b": 6, "c": 1, "d": 11, "e": 1}
        submissions = [
            a_submission(ecg=an_ecg(ecg_id, leads=[a_lead(signal=[1] * size)]))
            for ecg_id, size in sizes.items()
        ]

        async with open_batcher(store, publisher) as batcher:
            await receipts_of(await submit_all(batcher, *submissions))

        assert store.batches == [["a", "b"], ["c"], ["d"], ["e"]]


class TestReceipts:
    async def test_each_gets_its_own(self, store: GatedStore, publisher: GatedPublisher) -> None:
        await store.add([a_submission("there"), a_submission("taken")])
        other = a_submission(ecg=an_ecg("taken", leads=[a_lead(signal=[9])]))

        async with open_batcher(store, publisher) as batcher:
            new, there, taken = await receipts_of(await submit_all(batcher, "new", "there", other))

        assert (new.is_new, new.is_conflict) == (True, False)
        assert (there.is_new, there.is_conflict) == (False, False)
        assert (taken.is_new, taken.is_conflict) == (False, True)
        assert publisher.announced == [["new"]]

    async def test_unavailable_storage_fails_each_submission_of_the_batch(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(_: object) -> list[Receipt]:
            raise UnavailableError("PostgreSQL: away")

        async with open_batcher(store, publisher) as batcher:
            monkeypatch.setattr(store, "add", away)
            failures = await receipts_of(await submit_all(batcher, "1", "2", "3"))
            monkeypatch.undo()
            afterwards = await batcher.submit(a_submission("1"))

        assert [repr(failure) for failure in failures] == ["UnavailableError('PostgreSQL: away')"] * 3
        assert afterwards.is_new

    async def test_a_submission_that_waited_too_long_fails_and_is_not_stored(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            in_progress = [*await submit_all(batcher, "1"), *await submit_all(batcher, "2")]
            late = await submit_all(batcher, "late", "later")
            monkeypatch.setattr(batcher_module, "_MAX_WAIT_S", 0.0)
            store.gate.set()
            kept, rejected = await receipts_of(in_progress), await receipts_of(late)

        assert all(receipt.is_new for receipt in kept)
        assert [type(response) for response in rejected] == [UnavailableError] * 2
        assert store.batches == [["1"], ["2"]]

    async def test_one_that_storage_can_not_hold_fails_alone(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        unfit = a_submission(ecg=an_ecg("unfit", date="2023\0"))

        async with open_batcher(store, publisher) as batcher:
            before, failure, after = await receipts_of(await submit_all(batcher, "before", unfit, "after"))

        assert before.is_new
        assert after.is_new
        assert isinstance(failure, Exception)
        assert not isinstance(failure, UnavailableError)
        assert store.batches == [["before", "unfit", "after"], ["before"], ["unfit"], ["after"]]
        assert publisher.announced == [["before"], ["after"]]

    async def test_a_submission_cancelled_while_pending_is_not_stored_and_cancels_no_other(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            in_progress = [*await submit_all(batcher, "1"), *await submit_all(batcher, "2")]
            gone, stays = await submit_all(batcher, "gone", "stays")
            gone.cancel()
            await let_tasks_run()
            store.gate.set()
            receipts = await receipts_of([*in_progress, stays])

        assert all(receipt.is_new for receipt in receipts)
        assert store.batches == [["1"], ["2"], ["stays"]]

    async def test_no_submission_is_held_any_longer_than_its_sender_waits(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            await batcher.submit(a_submission("1"))
            store.gate.clear()
            in_progress = [*await submit_all(batcher, "2"), *await submit_all(batcher, "3")]
            [gone] = await submit_all(batcher, "gone")
            gone.cancel()
            await let_tasks_run()
            held = len(batcher._pending), len(batcher._unresolved)
            store.gate.set()
            await receipts_of(in_progress)

        assert held == (0, 2)

    async def test_a_submission_cancelled_while_being_stored_cancels_no_other(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            gone, stays = await submit_all(batcher, "gone", "stays")
            gone.cancel()
            await let_tasks_run()
            store.gate.set()
            [receipt] = await receipts_of([stays])

        assert receipt.is_new
        assert publisher.announced == [["gone", "stays"]]

    async def test_a_submission_cancelled_while_storage_fails_takes_no_other_along(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(_: object) -> list[Receipt]:
            await store.gate.wait()
            raise UnavailableError("PostgreSQL: away")

        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            monkeypatch.setattr(store, "add", away)
            gone, stays = await submit_all(batcher, "gone", "stays")
            gone.cancel()
            await let_tasks_run()
            store.gate.set()
            [failure] = await receipts_of([stays])
            monkeypatch.undo()
            afterwards = await batcher.submit(a_submission("stays"))

        assert repr(failure) == "UnavailableError('PostgreSQL: away')"
        assert afterwards.is_new


class TestAnnouncements:
    async def test_a_batch_is_announced_by_one_event_for_up_to_64(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            await receipts_of(await submit_all(batcher, *numbers(130)))

        assert publisher.announced == [numbers(130)[:64], numbers(130)[64:128], numbers(130)[128:]]
        assert len(publisher.published) == 1

    async def test_an_announcement_carries_the_trace_of_its_first_ecg(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        ids = numbers(65)
        traces = [f"00-{number:032x}-00f067aa0ba902b7-01" for number in range(1, 66)]
        submissions = [
            Submission("ada", an_ecg(ecg_id), trace) for ecg_id, trace in zip(ids, traces, strict=True)
        ]

        async with open_batcher(store, publisher) as batcher:
            await receipts_of(await submit_all(batcher, *submissions))

        [events] = publisher.published
        assert [orjson.loads(event.body)["traceparent"] for event in events] == [traces[0], traces[64]]

    async def test_a_new_ecg_waits_for_the_publisher_confirm_and_a_known_one_does_not(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        await store.add([a_submission("there")])
        publisher.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            new, there = await submit_all(batcher, "new", "there")
            [receipt] = await receipts_of([there])
            waited = not new.done()
            publisher.gate.set()
            await receipts_of([new])

        assert waited
        assert not receipt.is_new

    async def test_after_the_publish_timeout_a_slow_broker_is_no_longer_waited_for_and_the_relay_publishes(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.gate.clear()
        async with open_batcher(store, publisher, publish_timeout_s=0.05) as batcher:
            with capture_logs() as records:
                receipts = await receipts_of(await submit_all(batcher, "1", "2"))

        assert [receipt.is_new for receipt in receipts] == [True, True]
        assert outages_in(records) == [
            {
                "message": "not available",
                "level": "warning",
                "what": "announcing stored ECGs, which the relay does then",
                "reason": "no answer from the broker within 0.05 s",
            }
        ]

    async def test_a_broker_that_refuses_fails_no_submission_and_is_logged_once(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.outcome = UnavailableError("away")
        async with open_batcher(store, publisher) as batcher:
            with capture_logs() as records:
                receipts = await receipts_of(await submit_all(batcher, *numbers(100)))
                receipts += await receipts_of(await submit_all(batcher, "later"))

        assert all(receipt.is_new for receipt in receipts)
        assert [record["reason"] for record in outages_in(records)] == ["away"]

    async def test_when_the_broker_takes_announcements_again_it_is_logged_how_long_it_did_not(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.runtime.outages.QUIET_S", 0)
        publisher.outcome = UnavailableError("away")
        async with open_batcher(store, publisher) as batcher:
            with capture_logs() as records:
                await batcher.submit(a_submission("1"))
                publisher.outcome = None
                await batcher.submit(a_submission("2"))

        began, ended = outages_in(records)
        assert (began["reason"], ended["reasons"]) == ("away", ["away"])
        assert 0 <= ended["lasted_at_least_s"] <= _LIMIT_S

    async def test_a_source_that_is_not_known_leaves_announcing_to_the_relay(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher, event_source=UnknownEventSource()) as batcher:
            with capture_logs() as records:
                receipts = await receipts_of(await submit_all(batcher, *numbers(100)))

        assert all(receipt.is_new for receipt in receipts)
        assert publisher.published == []
        assert [record["reason"] for record in outages_in(records)] == ["not known"]

    async def test_the_next_batches_do_not_wait_for_the_broker(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            tasks = []
            for ecg_id in numbers(5):
                tasks += await submit_all(batcher, ecg_id)
                await until(lambda: len(publisher.published) == len(tasks))  # noqa: B023 - awaited here
            any_done = any(task.done() for task in tasks)
            publisher.gate.set()
            await receipts_of(tasks)

        assert not any_done
        assert publisher.announced == [[ecg_id] for ecg_id in numbers(5)]

    async def test_known_ones_do_not_wait_for_batches_that_the_broker_has_not_confirmed(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher_module, "_MAX_UNCONFIRMED_BATCHES", 1)
        publisher.gate.clear()
        async with open_batcher(store, publisher) as batcher, asyncio.timeout(_LIMIT_S):
            tasks = await submit_all(batcher, "1")
            await until(lambda: publisher.published)

            receipts = [await batcher.submit(a_submission("1")) for _ in range(3)]  # one more than flushers

            publisher.gate.set()
            await receipts_of(tasks)
        assert [receipt.is_new for receipt in receipts] == [False] * 3

    async def test_unconfirmed_batches_are_bounded(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher_module, "_MAX_UNCONFIRMED_BATCHES", 1)
        publisher.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            tasks = await submit_all(batcher, "1")
            await until(lambda: publisher.published)
            for ecg_id in ("2", "3", "4"):
                tasks += await submit_all(batcher, ecg_id)
            await until(lambda: store.num_stored == 3)
            await let_tasks_run()
            announced_meanwhile = publisher.announced
            batches_meanwhile = list(store.batches)
            publisher.gate.set()
            await receipts_of(tasks)

        assert announced_meanwhile == [["1"]]
        assert batches_meanwhile == [["1"], ["2"], ["3"]]  # and both flushers wait
        assert sorted(publisher.announced) == [["1"], ["2"], ["3"], ["4"]]


class TestClosing:
    async def test_a_failed_flusher_cancels_the_gateway_and_fails_pending_submissions(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def defective(_: object) -> list[Receipt]:
            return []

        monkeypatch.setattr(store, "add", defective)
        tasks: list[asyncio.Task[Receipt]] = []

        async def serve() -> None:
            async with open_batcher(store, publisher) as batcher:
                tasks.extend(asyncio.create_task(batcher.submit(a_submission(ecg_id))) for ecg_id in "12")
                await asyncio.Event().wait()

        async with asyncio.timeout(_LIMIT_S):
            with pytest.raises(RuntimeError, match="batching submissions ended"):
                await serve()

        assert [type(response) for response in await receipts_of(tasks)] == [UnavailableError] * 2

    async def test_a_closed_batcher_refuses_submissions(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with open_batcher(store, publisher) as batcher:
            await batcher.submit(a_submission("10"))

        async with asyncio.timeout(_LIMIT_S):
            with pytest.raises(UnavailableError):
                await batcher.submit(a_submission("11"))

    async def test_closing_fails_pending_submissions(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with open_batcher(store, publisher) as batcher:
            tasks = await submit_all(batcher, "1", "2")

        assert [type(response) for response in await receipts_of(tasks)] == [UnavailableError] * 2

    async def test_closing_leaves_a_submission_alone_that_is_cancelled_meanwhile(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        for iterations in range(10):
            async with open_batcher(store, publisher) as batcher:
                tasks = await submit_all(batcher, *"12345678")
                cancelling = asyncio.create_task(cancel_after(iterations, tasks[::2]))
            await cancelling

            responses = await receipts_of(tasks)
            assert all(isinstance(each, asyncio.CancelledError | UnavailableError) for each in responses[::2])
            assert all(isinstance(each, UnavailableError) for each in responses[1::2])


async def cancel_after(iterations: int, tasks: Iterable[asyncio.Task[Receipt]]) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
