from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.ecgs import submission_batcher as intake_module
from gateway.ecgs.submission_batcher import Intake, open_intake
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, read_submitted
from shared.ports.ecgs import Submission
from shared.storage.postgres.ecgs import PostgresEcgStore
from tests.support.builders import AnInstallation, a_lead, a_submission, an_ecg
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from shared.domain.errors import UnroutableError
    from shared.events import Event
    from shared.ports.ecgs import Receipt
    from shared.ports.installation import Installation
    from shared.storage.postgres.database import Database

_LIMIT_S = 20


class GatedStore(PostgresEcgStore):
    """Remembers what was added together, and adds while its gate is open."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[list[str]] = []
        self.prepared: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def prepare(self, submission: Submission) -> Submission:
        self.prepared.append(submission.ecg.header.id)
        return await super().prepare(submission)

    async def add(self, submissions: Sequence[Submission]) -> list[Receipt]:
        self.batches.append([submission.ecg.header.id for submission in submissions])
        await self.gate.wait()
        return await super().add(submissions)


class GatedPublisher:
    """Remembers what was published, and confirms while its gate is open."""

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


class UnknownInstallation:
    """An installation whose database is away."""

    async def source(self) -> str:
        raise UnavailableError("not known")


@pytest.fixture
def store(database: Database) -> GatedStore:
    return GatedStore(database)


@pytest.fixture
def publisher() -> GatedPublisher:
    return GatedPublisher()


def opened(
    store: PostgresEcgStore,
    publisher: GatedPublisher,
    *,
    installation: Installation | None = None,
    publish_timeout_s: float = _LIMIT_S,
) -> AbstractAsyncContextManager[Intake]:
    return open_intake(
        store=store,
        publisher=publisher,
        installation=installation or AnInstallation(),
        publish_timeout_s=publish_timeout_s,
    )


def told(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What an intake said; a gateway that tests of the same process share may have spoken meanwhile."""
    return [record for record in records if str(record.get("what", "")).startswith("announcing")]


async def taking(intake: Intake, *submissions: Submission | str) -> list[asyncio.Task[Receipt]]:
    """These, as requests that have got as far as they can without anybody's answer."""
    tasks = [
        asyncio.create_task(intake.take(a_submission(s) if isinstance(s, str) else s)) for s in submissions
    ]
    await moments_later()
    return tasks


async def moments_later() -> None:
    """Whatever can go on without waiting for anything has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def answers(tasks: Sequence[asyncio.Task[Receipt]]) -> list[Any]:
    async with asyncio.timeout(_LIMIT_S):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def until(reached: Any) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not reached():
            await asyncio.sleep(0.005)


def numbers(count: int) -> list[str]:
    return [f"{n:04d}" for n in range(count)]


class TestBatches:
    async def test_one_that_comes_alone_is_taken_in_alone_and_at_once(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with opened(store, publisher) as intake:
            receipt = await intake.take(a_submission("10"))

        assert receipt.key == EcgKey("ada", "10", 1)
        assert receipt.is_new
        assert store.batches == [["10"]]
        assert publisher.announced == [["10"]]

    async def test_what_comes_while_two_batches_are_written_becomes_the_next(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with opened(store, publisher) as intake:
            first = await taking(intake, "first")
            second = await taking(intake, "second")
            rest = await taking(intake, *numbers(50))
            batches_before = list(store.batches)
            store.gate.set()
            receipts = await answers([*first, *second, *rest])

        assert batches_before == [["first"], ["second"]]
        assert store.batches[2:] == [numbers(50)]
        assert [receipt.key.id for receipt in receipts] == ["first", "second", *numbers(50)]

    async def test_only_an_ecg_of_many_samples_is_prepared_before_its_batch(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        large = a_submission(ecg=an_ecg("large", leads=[a_lead(signal=range(501))]))
        async with opened(store, publisher) as intake:
            receipts = await answers(await taking(intake, "small", large))

        assert store.prepared == ["large"]
        assert [receipt.is_new for receipt in receipts] == [True, True]

    async def test_who_is_nearly_here_comes_along(self, store: GatedStore, publisher: GatedPublisher) -> None:
        async with opened(store, publisher) as intake:
            first = asyncio.create_task(intake.take(a_submission("first")))
            for _ in range(3):  # its head is read, its body is, it is understood
                await asyncio.sleep(0)
            await answers([first, *await taking(intake, "second")])

        assert store.batches == [["first", "second"]]

    async def test_who_comes_first_does_not_wait_until_nobody_comes_any_more(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake_module, "_BATCH_ECGS", 10**9)
        tasks: list[asyncio.Task[Receipt]] = []
        async with opened(store, publisher) as intake, asyncio.timeout(_LIMIT_S):
            while not store.batches:
                tasks.append(asyncio.create_task(intake.take(a_submission(str(len(tasks))))))
                await asyncio.sleep(0)
            await answers(tasks)

        assert store.batches[0][0] == "0"

    async def test_a_batch_has_two_hundred_at_the_most(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with opened(store, publisher) as intake:
            receipts = await answers(await taking(intake, *numbers(401)))

        assert [len(batch) for batch in store.batches] == [200, 200, 1]
        assert [receipt.key.id for receipt in receipts] == numbers(401)

    async def test_a_batch_has_so_many_samples_at_the_most_and_a_larger_ecg_is_one_by_itself(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake_module, "_BATCH_SAMPLES", 10)
        sizes = {"a": 4, "b": 6, "c": 1, "d": 11, "e": 1}
        submissions = [
            a_submission(ecg=an_ecg(ecg_id, leads=[a_lead(signal=[1] * size)]))
            for ecg_id, size in sizes.items()
        ]

        async with opened(store, publisher) as intake:
            await answers(await taking(intake, *submissions))

        assert store.batches == [["a", "b"], ["c"], ["d"], ["e"]]


class TestReceipts:
    async def test_each_gets_its_own(self, store: GatedStore, publisher: GatedPublisher) -> None:
        await store.add([a_submission("there"), a_submission("taken")])
        other = a_submission(ecg=an_ecg("taken", leads=[a_lead(signal=[9])]))

        async with opened(store, publisher) as intake:
            new, there, taken = await answers(await taking(intake, "new", "there", other))

        assert (new.is_new, new.is_conflict) == (True, False)
        assert (there.is_new, there.is_conflict) == (False, False)
        assert (taken.is_new, taken.is_conflict) == (False, True)
        assert publisher.announced == [["new"]]

    async def test_all_of_a_batch_hear_that_storage_is_away(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(_: object) -> list[Receipt]:
            raise UnavailableError("PostgreSQL: away")

        async with opened(store, publisher) as intake:
            monkeypatch.setattr(store, "add", away)
            failures = await answers(await taking(intake, "1", "2", "3"))
            monkeypatch.undo()
            afterwards = await intake.take(a_submission("1"))

        assert [repr(failure) for failure in failures] == ["UnavailableError('PostgreSQL: away')"] * 3
        assert afterwards.is_new

    async def test_who_waited_for_too_long_is_turned_away_and_not_kept(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.gate.clear()
        async with opened(store, publisher) as intake:
            busy = [*await taking(intake, "1"), *await taking(intake, "2")]
            late = await taking(intake, "late", "later")
            monkeypatch.setattr(intake_module, "_LONGEST_WAIT_S", 0.0)
            store.gate.set()
            kept, turned_away = await answers(busy), await answers(late)

        assert all(receipt.is_new for receipt in kept)
        assert [type(answer) for answer in turned_away] == [UnavailableError] * 2
        assert store.batches == [["1"], ["2"]]

    async def test_one_that_storage_can_not_hold_fails_alone(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        unfit = a_submission(ecg=an_ecg("unfit", date="2023\0"))

        async with opened(store, publisher) as intake:
            before, failure, after = await answers(await taking(intake, "before", unfit, "after"))

        assert before.is_new
        assert after.is_new
        assert isinstance(failure, Exception)
        assert not isinstance(failure, UnavailableError)
        assert store.batches == [["before", "unfit", "after"], ["before"], ["unfit"], ["after"]]
        assert publisher.announced == [["before"], ["after"]]

    async def test_who_goes_while_waiting_is_not_taken_in_and_takes_nobody_along(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with opened(store, publisher) as intake:
            busy = [*await taking(intake, "1"), *await taking(intake, "2")]
            gone, stays = await taking(intake, "gone", "stays")
            gone.cancel()
            await moments_later()
            store.gate.set()
            receipts = await answers([*busy, stays])

        assert all(receipt.is_new for receipt in receipts)
        assert store.batches == [["1"], ["2"], ["stays"]]

    async def test_who_goes_while_being_taken_in_takes_nobody_along(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with opened(store, publisher) as intake:
            gone, stays = await taking(intake, "gone", "stays")
            gone.cancel()
            await moments_later()
            store.gate.set()
            [receipt] = await answers([stays])

        assert receipt.is_new
        assert publisher.announced == [["gone", "stays"]]


class TestAnnouncements:
    async def test_a_batch_is_announced_by_one_event_for_up_to_64(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with opened(store, publisher) as intake:
            await answers(await taking(intake, *numbers(130)))

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

        async with opened(store, publisher) as intake:
            await answers(await taking(intake, *submissions))

        [events] = publisher.published
        assert [orjson.loads(event.body)["traceparent"] for event in events] == [traces[0], traces[64]]

    async def test_who_is_new_waits_for_the_broker_and_who_is_not_does_not(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        await store.add([a_submission("there")])
        publisher.gate.clear()
        async with opened(store, publisher) as intake:
            new, there = await taking(intake, "new", "there")
            [receipt] = await answers([there])
            waited = not new.done()
            publisher.gate.set()
            await answers([new])

        assert waited
        assert not receipt.is_new

    async def test_a_slow_broker_is_waited_for_so_long_and_then_left_to_the_relay(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.gate.clear()
        async with opened(store, publisher, publish_timeout_s=0.05) as intake:
            with capture_logs() as records:
                receipts = await answers(await taking(intake, "1", "2"))

        assert [receipt.is_new for receipt in receipts] == [True, True]
        assert told(records) == [
            {
                "message": "not available",
                "level": "warning",
                "what": "announcing ECGs that were kept, which the relay does then",
                "reason": "no answer from the broker within 0.05 s",
            }
        ]

    async def test_a_broker_that_refuses_fails_nobody_and_is_told_once(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.outcome = UnavailableError("away")
        async with opened(store, publisher) as intake:
            with capture_logs() as records:
                receipts = await answers(await taking(intake, *numbers(100)))
                receipts += await answers(await taking(intake, "later"))

        assert all(receipt.is_new for receipt in receipts)
        assert [record["reason"] for record in told(records)] == ["away"]

    async def test_a_source_that_is_not_known_leaves_announcing_to_the_relay(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with opened(store, publisher, installation=UnknownInstallation()) as intake:
            with capture_logs() as records:
                receipts = await answers(await taking(intake, *numbers(100)))

        assert all(receipt.is_new for receipt in receipts)
        assert publisher.published == []
        assert [record["reason"] for record in told(records)] == ["not known"]

    async def test_the_next_batches_do_not_wait_for_the_broker(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        publisher.gate.clear()
        async with opened(store, publisher) as intake:
            tasks = []
            for ecg_id in numbers(5):
                tasks += await taking(intake, ecg_id)
                await until(lambda: len(publisher.published) == len(tasks))  # noqa: B023 - awaited here
            anybody_answered = any(task.done() for task in tasks)
            publisher.gate.set()
            await answers(tasks)

        assert not anybody_answered
        assert publisher.announced == [[ecg_id] for ecg_id in numbers(5)]

    async def test_announcements_in_flight_are_bounded(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake_module, "_UNCONFIRMED", 1)
        publisher.gate.clear()
        async with opened(store, publisher) as intake:
            tasks = await taking(intake, "1")
            await until(lambda: publisher.published)
            for ecg_id in ("2", "3", "4"):
                tasks += await taking(intake, ecg_id)
            await until(lambda: len(store.batches) == 3)
            await moments_later()
            announced_meanwhile = publisher.announced
            batches_meanwhile = list(store.batches)
            publisher.gate.set()
            await answers(tasks)

        assert announced_meanwhile == [["1"]]
        assert batches_meanwhile == [["1"], ["2"], ["3"]]  # and both flushers wait
        assert sorted(publisher.announced) == [["1"], ["2"], ["3"], ["4"]]


class TestEnding:
    async def test_a_flusher_that_dies_interrupts_what_depends_on_it_and_leaves_nobody_waiting(
        self, store: GatedStore, publisher: GatedPublisher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def defective(_: object) -> list[Receipt]:
            return []

        monkeypatch.setattr(store, "add", defective)
        tasks: list[asyncio.Task[Receipt]] = []

        async def serve() -> None:
            async with opened(store, publisher) as intake:
                tasks.extend(asyncio.create_task(intake.take(a_submission(ecg_id))) for ecg_id in "12")
                await asyncio.Event().wait()

        async with asyncio.timeout(_LIMIT_S):
            with pytest.raises(RuntimeError, match="taking submissions in ended"):
                await serve()

        assert [type(answer) for answer in await answers(tasks)] == [UnavailableError] * 2

    async def test_nothing_is_taken_in_after_the_end(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        async with opened(store, publisher) as intake:
            await intake.take(a_submission("10"))

        async with asyncio.timeout(_LIMIT_S):
            with pytest.raises(UnavailableError):
                await intake.take(a_submission("11"))

    async def test_who_waits_at_the_end_is_told_so(
        self, store: GatedStore, publisher: GatedPublisher
    ) -> None:
        store.gate.clear()
        async with opened(store, publisher) as intake:
            tasks = await taking(intake, "1", "2")

        assert [type(answer) for answer in await answers(tasks)] == [UnavailableError] * 2
