"""The contracts of storage in `shared.ports`, tested on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from uuid import uuid4

import asyncpg
import numpy as np
import pytest

from shared.domain.errors import InvalidEcgError, UnavailableError
from shared.domain.findings import Series
from shared.domain.header import Header, LeadHeader
from shared.events import EcgKey, deleted_event, failed_event, processed_event
from shared.ports.ecgs import Settlement, Status, Submission
from shared.ports.outbox import Backoff
from shared.storage.pool.database import open_database
from shared.storage.postgres import submissions as postgres_submissions
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.signals.stored_ecg import encode_ecg
from tests.support.builders import SOURCE, a_lead, a_submission, an_ecg
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.events import Event, EventBatch
    from shared.ports.ecgs import Claim, EcgState
    from shared.ports.owned_ecgs import EcgSummary
    from shared.storage.pool.database import Database
    from shared.storage.signals.stored_ecg import EncodedEcg, JoinedSignals

_LIMIT_S = 20
_BACKOFF = Backoff(first_s=10, longest_s=300)
_FAIL = "UPDATE ecg SET status = 'failed', error = 'why', due_at = NULL, finished_at = now()"
_MOVE_ON = """
UPDATE ecg SET generation = generation + 1, status = 'queued', attempts = 0, error = NULL, due_at = now(),
    finished_at = NULL
"""
_DOCUMENT: dict[str, Any] = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}


@pytest.fixture
def store(database: Database) -> PostgresEcgStore:
    return PostgresEcgStore(database)


@pytest.fixture
def outbox(database: Database) -> PostgresOutbox:
    return PostgresOutbox(database)


async def execute(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, *arguments)


async def row(database: Database, ecg_id: str = "10") -> dict[str, Any]:
    """An ECG's row, and how many seconds it has until it is due."""
    async with database.connection() as connection:
        found = await connection.fetchrow(
            "SELECT *, extract(epoch FROM due_at - now())::float8 AS due_in_s FROM ecg WHERE id = $1", ecg_id
        )
    assert found is not None
    return dict(found)


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        counted: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    return counted


async def make_due(database: Database, table: str = "ecg") -> None:
    await execute(database, f"UPDATE {table} SET due_at = now()")  # noqa: S608 - ours


async def read_in_no_order(database: Database) -> None:
    """From now on the one connection of the test reads no index: what comes in order was asked to."""
    await execute(database, "SET enable_indexscan = off")
    await execute(database, "SET enable_bitmapscan = off")


async def are_waiting_for_a_row(database: Database, count: int) -> bool:
    """Whether so many sessions wait for a row that another one has changed."""
    async with database.connection() as connection:
        waiting: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    return waiting >= count


async def move_on(database: Database) -> None:
    """Replay: queue the next generation."""
    await execute(database, _MOVE_ON)


async def queued(store: PostgresEcgStore, *ids: str) -> list[EcgKey]:
    return [receipt.key for receipt in await store.add([a_submission(ecg_id) for ecg_id in ids])]


async def erase(database: Database, *ids: str, owner: str = "ada") -> None:
    ecgs = PostgresOwnedEcgs(database)
    event_of = partial(deleted_event, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await asyncio.gather(*(ecgs.erase(owner, ecg_id, event_of=event_of) for ecg_id in ids))


async def due_keys(outbox: PostgresOutbox, limit: int, backoff: Backoff) -> list[EcgKey]:
    return [ecg.key for ecg in await outbox.take_due_ecgs(limit, backoff)]


async def claim_all(store: PostgresEcgStore, keys: Collection[EcgKey]) -> list[Claim]:
    """Claim them all, tried before or not."""
    return (await store.claim(keys, claim_id=uuid4(), tried_before=True)).claimed


async def claimed(store: PostgresEcgStore, *ids: str) -> list[Claim]:
    claims = await claim_all(store, await queued(store, *ids))
    return sorted(claims, key=lambda claim: ids.index(claim.key.id))


def completion(claim: Claim) -> Settlement:
    event = processed_event(claim.key, _DOCUMENT, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    return Settlement(claim, event, document=_DOCUMENT)


def failure(claim: Claim) -> Settlement:
    return Settlement(
        claim,
        failed_event(claim.key, "why", source=SOURCE, now=datetime.now(UTC), traceparent=None),
        error="why",
    )


async def state_of(store: PostgresEcgStore, ecg_id: str = "10") -> Status:
    return (await store.find([("ada", ecg_id)]))["ada", ecg_id].status


async def one_of(store: PostgresEcgStore) -> EcgState:
    """The ECG 10 as its owner sees it."""
    return (await store.find([("ada", "10")]))["ada", "10"]


async def listed(database: Database, status: Status | None = None) -> list[EcgSummary]:
    return await PostgresOwnedEcgs(database).page("ada", limit=10, status=status)


async def store_time(database: Database) -> datetime:
    async with database.connection() as connection:
        now: datetime = await connection.fetchval("SELECT now()")
    return now


async def settled(store: PostgresEcgStore, *ids: str) -> list[Settlement]:
    settlements = [completion(claim) for claim in await claimed(store, *ids)]
    await store.settle(settlements)
    return settlements


async def settled_one_by_one(store: PostgresEcgStore, *ids: str) -> list[Settlement]:
    """Each with a batch of its own."""
    return [settlement for ecg_id in ids for settlement in await settled(store, ecg_id)]


async def due_batches(outbox: PostgresOutbox, database: Database) -> list[EventBatch]:
    """All event batches in the outbox, taken as a relay does when they are due."""
    await make_due(database, "outbox")
    return await outbox.take_due_events(10, _BACKOFF)


def events_of(batches: Sequence[EventBatch]) -> list[Event]:
    return [event for batch in batches for event in batch.events]


class TestAdding:
    async def test_what_is_new_is_queued(self, store: PostgresEcgStore) -> None:
        [receipt] = await store.add([a_submission("10", owner="ada")])

        assert receipt == (EcgKey("ada", "10", 1), Status.QUEUED, True, False, 0.0)
        assert await state_of(store) is Status.QUEUED

    async def test_what_is_new_is_due_for_the_relay_in_ten_seconds(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await queued(store, "10")

        assert 5 < (await row(database))["due_in_s"] <= 10

    async def test_the_same_again_is_not_new_and_changes_nothing(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await queued(store, "10")
        before = await row(database)

        [receipt] = await store.add([a_submission("10")])

        assert receipt == (EcgKey("ada", "10", 1), Status.QUEUED, False, False, ANY)
        after = await row(database)
        assert {**after, "due_in_s": 0} == {**before, "due_in_s": 0}

    async def test_the_same_again_has_the_age_of_the_first(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await queued(store, "10")
        async with database.connection() as connection:
            await connection.execute("UPDATE ecg SET submitted_at = submitted_at - interval '1 hour'")

        [late] = await store.add([a_submission("10")])
        await erase(database, "10")
        [anew] = await store.add([a_submission("10")])
        [at_once] = await store.add([a_submission("10")])

        assert 3600 < late.age_s < 4000
        assert anew.age_s == 0
        assert 0 < at_once.age_s < 400

    async def test_resubmitting_the_same_content_returns_its_status(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")

        [receipt] = await store.add([a_submission("10")])
        await move_on(database)
        [receipt_of_the_next] = await store.add([a_submission("10")])

        assert receipt == (EcgKey("ada", "10", 1), Status.COMPLETED, False, False, ANY)
        assert receipt_of_the_next == (EcgKey("ada", "10", 2), Status.QUEUED, False, False, ANY)

    async def test_other_content_is_a_conflict_and_keeps_what_is_there(self, store: PostgresEcgStore) -> None:
        [key] = await queued(store, "10")
        other = an_ecg("10", leads=[a_lead(signal=[9, 9])])

        [receipt] = await store.add([a_submission(ecg=other)])

        assert receipt.is_conflict
        assert not receipt.is_new
        [kept] = (await store.load(await claim_all(store, [key]))).values()
        assert kept.decode().leads[0].signal.tolist() == [1, -1, 1]

    async def test_owners_do_not_share_ids(self, store: PostgresEcgStore) -> None:
        receipts = await store.add([a_submission("10", owner="ada"), a_submission("10", owner="bob")])

        assert [receipt.is_new for receipt in receipts] == [True, True]

    async def test_receipts_come_in_the_order_of_their_submissions(self, store: PostgresEcgStore) -> None:
        await queued(store, "2")

        receipts = await store.add([a_submission(ecg_id) for ecg_id in "3214"])

        assert [(receipt.key.id, receipt.is_new) for receipt in receipts] == [
            ("3", True),
            ("2", False),
            ("1", True),
            ("4", True),
        ]

    async def test_of_many_at_once_one_is_kept(self, store: PostgresEcgStore, database: Database) -> None:
        async with asyncio.timeout(_LIMIT_S):
            receipts = await asyncio.gather(*(store.add([a_submission("10")]) for _ in range(10)))

        assert sorted(receipt.is_new for [receipt] in receipts) == [False] * 9 + [True]
        assert {receipt.key for [receipt] in receipts} == {EcgKey("ada", "10", 1)}
        assert (await count(database, "ecg"), await count(database, "ecg_signal")) == (1, 1)

    async def test_of_different_contents_at_once_one_is_kept_and_the_other_is_a_conflict(
        self, store: PostgresEcgStore
    ) -> None:
        other = a_submission(ecg=an_ecg("10", leads=[a_lead(signal=[9])]))

        async with asyncio.timeout(_LIMIT_S):
            receipts = await asyncio.gather(store.add([a_submission("10")]), store.add([other]))

        assert sorted((receipt.is_new, receipt.is_conflict) for [receipt] in receipts) == [
            (False, True),
            (True, False),
        ]

    async def test_of_the_same_twice_in_a_batch_the_first_is_new(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        receipts = await store.add([a_submission("10"), a_submission("11"), a_submission("10")])

        assert [receipt.is_new for receipt in receipts] == [True, True, False]
        assert not any(receipt.is_conflict for receipt in receipts)
        assert receipts[2].key == receipts[0].key
        assert await count(database, "ecg_signal") == 2

    async def test_of_different_contents_in_a_batch_the_first_is_kept_and_the_other_is_a_conflict(
        self, store: PostgresEcgStore
    ) -> None:
        other = a_submission(ecg=an_ecg("10", leads=[a_lead(signal=[9, 9])]))

        first, second = await store.add([a_submission("10"), other])

        assert (first.is_new, first.is_conflict) == (True, False)
        assert (second.is_new, second.is_conflict) == (False, True)
        [kept] = (await store.load(await claim_all(store, [first.key]))).values()
        assert kept.decode().leads[0].signal.tolist() == [1, -1, 1]

    async def test_each_in_a_batch_keeps_its_own_signals(self, store: PostgresEcgStore) -> None:
        signals = {f"{n * 7 % 30}": [n, -n, 5] * (n + 1) for n in range(30)}

        receipts = await store.add(
            [
                a_submission(ecg=an_ecg(ecg_id, leads=[a_lead(signal=signal)]))
                for ecg_id, signal in signals.items()
            ]
        )

        loaded = await store.load(await claim_all(store, [receipt.key for receipt in receipts]))
        kept = {key.id: stored.decode().leads[0].signal.tolist() for key, stored in loaded.items()}
        assert kept == signals

    async def test_an_erased_ecg_begins_its_next_generation_beside_new_and_existing_ones(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "finished", "erased", "erased too")
        await erase(database, "erased", "erased too")

        receipts = await store.add(
            [a_submission(ecg_id) for ecg_id in ("new", "erased too", "finished", "erased")]
        )

        assert receipts == [
            (EcgKey("ada", "new", 1), Status.QUEUED, True, False, 0.0),
            (EcgKey("ada", "erased too", 2), Status.QUEUED, True, False, 0.0),
            (EcgKey("ada", "finished", 1), Status.COMPLETED, False, False, ANY),
            (EcgKey("ada", "erased", 2), Status.QUEUED, True, False, 0.0),
        ]
        keys = [receipt.key for receipt in receipts if receipt.is_new]
        claims = await claim_all(store, keys)
        assert {claim.attempt for claim in claims} == {1}
        assert set(await store.load(claims)) == set(keys)

    async def test_a_resubmitted_erased_ecg_has_the_row_of_a_new_one(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, "10", "11")
        await make_due(database)
        keys = await due_keys(outbox, 10, _BACKOFF)
        await store.settle([failure(claim) for claim in await claim_all(store, keys)])
        await erase(database, "10", "11")
        sent = {ecg_id: Submission("ada", an_ecg(ecg_id), "00-trace") for ecg_id in ("10", "new")}

        await store.add(list(sent.values()))

        back, new = await row(database, "10"), await row(database, "new")
        assert (back.pop("generation"), new.pop("generation")) == (2, 1)
        for each in (back, new):
            assert each.pop("due_at") - each.pop("submitted_at") == timedelta(seconds=10)
            del each["row"], each["id"], each["due_in_s"]
        assert back == new
        assert await store.find([("ada", "11")]) == {}

    async def test_erased_ecgs_that_come_back_together_each_have_their_own_content(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        for ecg_id in ("2", "3", "1"):  # neither in the order of their ids nor in that of coming back
            await queued(store, ecg_id)
        await erase(database, "1", "2", "3")
        signals = {"1": [1, -1], "3": [3], "2": [2, -2, 2]}
        submissions = [
            Submission("ada", an_ecg(ecg_id, leads=[a_lead(signal=signal)]), f"00-{ecg_id}")
            for ecg_id, signal in signals.items()
        ]

        receipts = await store.add(submissions)

        assert [(receipt.key.generation, receipt.is_new) for receipt in receipts] == [(2, True)] * 3
        claims = await claim_all(store, [receipt.key for receipt in receipts])
        assert {claim.key.id: (claim.num_samples, claim.traceparent) for claim in claims} == {
            ecg_id: (len(signal), f"00-{ecg_id}") for ecg_id, signal in signals.items()
        }
        kept = (await store.load(claims)).items()
        assert {key.id: stored.decode().leads[0].signal.tolist() for key, stored in kept} == signals
        assert not any(receipt.is_conflict for receipt in await store.add(submissions))

    async def test_an_erased_id_comes_back_for_its_owner_alone(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        everyone = [Submission(owner, an_ecg()) for owner in ("ada", "bob", "cy")]
        await store.add(everyone)
        await erase(database, "10", owner="ada")
        await erase(database, "10", owner="bob")

        [receipt] = await store.add(everyone[1:2])

        assert receipt == (EcgKey("bob", "10", 2), Status.QUEUED, True, False, 0.0)
        found = await store.find([(submission.owner, "10") for submission in everyone])
        assert found.keys() == {("bob", "10"), ("cy", "10")}
        assert await store.add(everyone[2:]) == [(EcgKey("cy", "10", 1), Status.QUEUED, False, False, ANY)]
        [again] = await store.add(everyone[:1])
        assert again.key == EcgKey("ada", "10", 2)

    async def test_an_id_that_several_owners_send_again_is_each_ones_own(
        self, store: PostgresEcgStore
    ) -> None:
        signals = {"ada": [1, -1], "bob": [2, -2, 2], "cy": [3]}
        submissions = [
            Submission(owner, an_ecg(leads=[a_lead(signal=signal)])) for owner, signal in signals.items()
        ]
        await store.add(submissions[:2])

        receipts = await store.add([*submissions, Submission("bob", submissions[0].ecg)])

        assert receipts == [
            (EcgKey("ada", "10", 1), Status.QUEUED, False, False, ANY),
            (EcgKey("bob", "10", 1), Status.QUEUED, False, False, ANY),
            (EcgKey("cy", "10", 1), Status.QUEUED, True, False, 0.0),
            (EcgKey("bob", "10", 1), Status.QUEUED, False, True, ANY),
        ]
        loaded = await store.load(await claim_all(store, [receipt.key for receipt in receipts]))
        kept = {key.owner: stored.decode().leads[0].signal.tolist() for key, stored in loaded.items()}
        assert kept == signals

    async def test_batches_at_once_of_the_same_ids_in_any_order_keep_each_once(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        for ids in ([str(n) for n in range(m, m + 30)] for m in range(0, 150, 30)):
            some, others = [a_submission(ecg_id) for ecg_id in ids], [a_submission(i) for i in ids[::-1]]

            async with asyncio.timeout(_LIMIT_S):
                receipts = await asyncio.gather(*(store.add(batch) for batch in (some, others) * 4))

            new = [receipt.key.id for batch in receipts for receipt in batch if receipt.is_new]
            assert sorted(new) == sorted(ids)
        assert (await count(database, "ecg"), await count(database, "ecg_signal")) == (150, 150)

    async def test_batches_at_once_of_erased_ids_begin_one_generation_of_each(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        ids = [str(n) for n in range(30)]
        for generation in range(2, 6):
            await settled(store, *ids)
            await erase(database, *ids)

            async with asyncio.timeout(_LIMIT_S):
                receipts = await asyncio.gather(
                    *(store.add([a_submission(i) for i in ids[::step]]) for step in (1, -1) * 4)
                )

            new = [receipt.key for batch in receipts for receipt in batch if receipt.is_new]
            assert sorted(new) == sorted(EcgKey("ada", ecg_id, generation) for ecg_id in ids)
        assert await count(database, "ecg_signal") == 30

    async def test_adding_while_others_erase_always_returns_a_receipt(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        ids = [str(n) for n in range(20)]

        async with asyncio.timeout(_LIMIT_S):
            for _ in range(5):
                receipts, others, _ = await asyncio.gather(
                    store.add([a_submission(ecg_id) for ecg_id in ids]),
                    store.add([a_submission(ecg_id) for ecg_id in ids[::-1]]),
                    erase(database, *ids[::-1]),
                )

                assert [receipt.key.id for receipt in receipts] == ids
                assert [receipt.key.id for receipt in others] == ids[::-1]
                generations = [receipt.key for receipt in [*receipts, *others] if receipt.is_new]
                assert len(generations) == len(set(generations))

    async def test_of_a_batch_that_fails_nothing_is_kept(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        unfit = a_submission(ecg=an_ecg("11", date="2023\0"))  # PostgreSQL has no NUL

        with pytest.raises(asyncpg.DataError):
            await store.add([a_submission("10"), unfit])

        assert (await count(database, "ecg"), await count(database, "ecg_signal")) == (0, 0)

    async def test_prepared_and_unprepared_submissions_are_stored_equally(
        self, store: PostgresEcgStore
    ) -> None:
        prepared = await store.prepare(a_submission("10"))
        assert await store.prepare(prepared) is prepared

        [receipt] = await store.add([prepared])
        [again] = await store.add([a_submission("10")])

        assert receipt == (EcgKey("ada", "10", 1), Status.QUEUED, True, False, 0.0)
        assert again == (EcgKey("ada", "10", 1), Status.QUEUED, False, False, ANY)

    async def test_a_large_ecg_is_prepared_off_the_event_loop(
        self, store: PostgresEcgStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads = []

        def spied(header: Header, joined: JoinedSignals) -> EncodedEcg:
            threads.append(threading.current_thread())
            return encode_ecg(header, joined)

        monkeypatch.setattr(postgres_submissions, "encode_ecg", spied)

        for size in (199_999, 200_000):
            leads = [a_lead("I", [0] * 100_000), a_lead("II", [0] * (size - 100_000))]
            await store.prepare(a_submission(ecg=an_ecg(leads=leads)))

        assert [thread is threading.main_thread() for thread in threads] == [True, False]


class TestFinding:
    async def test_unknown_ecgs_are_left_out(self, store: PostgresEcgStore) -> None:
        await queued(store, "10")

        assert set(await store.find([("ada", "10"), ("ada", "11"), ("bob", "10")])) == {("ada", "10")}

    async def test_nothing_is_found_of_nothing(self, store: PostgresEcgStore) -> None:
        assert await store.find([]) == {}

    async def test_a_completed_ecg_has_its_document(self, store: PostgresEcgStore) -> None:
        await settled(store, "10")

        state = (await store.find([("ada", "10")]))["ada", "10"]

        assert (state.status, state.error) == (Status.COMPLETED, None)
        assert json.loads(state.document or b"") == _DOCUMENT

    async def test_a_failed_ecg_has_its_error(self, store: PostgresEcgStore) -> None:
        [claim] = await claimed(store, "10")
        await store.settle([failure(claim)])

        assert (await store.find([("ada", "10")]))["ada", "10"][:4] == ("10", Status.FAILED, None, "why")

    async def test_a_state_has_the_attributes_and_times_of_the_submission(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        ecg = an_ecg(sampling_rate_hz=257.5, unit="mV")
        before = await store_time(database)
        [receipt] = await store.add([a_submission(ecg=ecg)])
        queued_state = await one_of(store)
        await store.settle([completion(claim) for claim in await claim_all(store, [receipt.key])])
        finished = await one_of(store)
        after = await store_time(database)

        assert finished.completed_at
        assert before < finished.submitted_at < finished.completed_at < after
        assert (queued_state.submitted_at, queued_state.completed_at) == (finished.submitted_at, None)
        for state in (queued_state, finished):
            described = (state.date, state.sampling_rate_hz, state.unit, state.generation, state.reanalysis)
            assert described == ("2023-07-30", 257.5, "mV", 1, None)
        assert (queued_state.is_final, finished.is_final) == (False, True)

    async def test_while_it_is_analysed_again_its_last_finished_generation_is_shown(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")
        finished = await one_of(store)
        await move_on(database)

        again = await one_of(store)

        assert again == finished._replace(reanalysis=Status.QUEUED)
        assert not again.is_final

    async def test_of_a_generation_that_had_failed_the_reason_is_shown_and_no_older_document(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")
        await move_on(database)
        await store.settle([failure(claim) for claim in await claim_all(store, [EcgKey("ada", "10", 2)])])
        failed_state = await one_of(store)
        await move_on(database)

        again = await one_of(store)

        assert failed_state[:5] == ("10", Status.FAILED, None, "why", 2)
        assert again == failed_state._replace(reanalysis=Status.QUEUED)

    async def test_the_next_generation_takes_the_place_of_the_one_before(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")
        await move_on(database)
        other: dict[str, Any] = {"leads": [{"I": {"zero_crossings": 3}}]}
        [claim] = await claim_all(store, [EcgKey("ada", "10", 2)])
        await store.settle([completion(claim)._replace(document=other)])

        state = await one_of(store)

        assert (state.status, state.generation, state.reanalysis) == (Status.COMPLETED, 2, None)
        assert json.loads(state.document or b"") == other

    async def test_of_an_erased_and_resubmitted_ecg_nothing_old_is_shown(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")
        await move_on(database)
        await erase(database, "10")
        await queued(store, "10")

        state = await one_of(store)

        assert state[:5] == ("10", Status.QUEUED, None, None, 3)
        assert (state.completed_at, state.reanalysis) == (None, None)

    async def test_on_a_schema_that_keeps_no_past_a_document_is_shown_all_the_same(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10", "11")
        before = await one_of(store)  # and the plan is made
        await execute(database, "DROP TRIGGER generation_is_kept ON ecg")
        await execute(database, "ALTER TABLE ecg_insights DROP past_error, DROP past_finished_at")
        await move_on(database)

        again = await one_of(store)

        assert again == before._replace(completed_at=None, reanalysis=Status.QUEUED)
        assert {each.reanalysis for each in await listed(database)} == {Status.QUEUED}


class TestCounting:
    async def test_only_those_that_are_queued_are_counted_and_none_past_the_limit(
        self, store: PostgresEcgStore
    ) -> None:
        await settled(store, "finished")
        await queued(store, "10", "11", "12")

        assert [await store.count_queued(limit) for limit in (2, 100)] == [2, 3]


class TestListing:
    async def test_an_ecg_that_is_analysed_again_is_listed_with_its_last_status(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "good")
        await store.settle([failure(claim) for claim in await claimed(store, "bad")])
        await move_on(database)
        await queued(store, "new")
        await settled(store, "done")

        found = {each.id: (each.status, each.reanalysis) for each in await listed(database)}

        assert found == {
            "done": (Status.COMPLETED, None),
            "new": (Status.QUEUED, None),
            "bad": (Status.FAILED, Status.QUEUED),
            "good": (Status.COMPLETED, Status.QUEUED),
        }
        assert list(found) == ["done", "new", "bad", "good"]

    async def test_a_status_asks_where_the_present_generation_stands(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "again")
        await move_on(database)
        await settled(store, "done")
        await queued(store, "new")

        by_status = {status: [each.id for each in await listed(database, status)] for status in Status}

        assert by_status == {
            Status.QUEUED: ["new", "again"],
            Status.COMPLETED: ["done"],
            Status.FAILED: [],
        }


class TestClaiming:
    async def test_a_claim_says_what_analysing_it_takes(self, store: PostgresEcgStore) -> None:
        leads = [a_lead("I", [1, 2, 3]), a_lead("II", [4, 5])]
        [receipt] = await store.add([a_submission(ecg=an_ecg("10", leads=leads))])

        [claim] = await claim_all(store, [receipt.key])

        assert (claim.key, claim.attempt, claim.num_samples) == (receipt.key, 1, 5)

    async def test_each_claim_is_one_more_attempt(self, store: PostgresEcgStore) -> None:
        keys = await queued(store, "10")

        attempts = [(await claim_all(store, keys))[0].attempt for _ in range(3)]

        assert attempts == [1, 2, 3]

    async def test_a_claim_that_is_repeated_is_one_attempt(self, store: PostgresEcgStore) -> None:
        keys, claim_id = await queued(store, "10"), uuid4()

        claims = [await store.claim(keys, claim_id=claim_id) for _ in range(2)]

        assert [[claim.attempt for claim in each.claimed] for each in claims] == [[1], [1]]

    async def test_a_key_that_is_named_twice_is_one_attempt(self, store: PostgresEcgStore) -> None:
        [key] = await queued(store, "10")

        claims = await claim_all(store, [key, key])

        assert [claim.attempt for claim in claims] == [1]

    async def test_what_is_finished_unknown_or_of_another_generation_is_left_out(
        self, store: PostgresEcgStore
    ) -> None:
        await settled(store, "finished")
        [key] = await queued(store, "10")

        keys = [
            EcgKey("ada", "finished"),
            EcgKey("ada", "unknown"),
            EcgKey("bob", "10"),
            key._replace(generation=2),
            key,
        ]
        claims = await store.claim(keys, claim_id=uuid4())

        assert [claim.key for claim in claims.claimed] == [key]
        assert claims.claimed[0].attempt == 1
        assert claims.tried_before == []

    @pytest.mark.parametrize("changes", [(_FAIL,), (_FAIL, _MOVE_ON)], ids=["finished", "replayed"])
    async def test_what_is_finished_or_replayed_while_it_is_claimed_or_postponed_stays_as_it_is(
        self, store: PostgresEcgStore, database: Database, changes: tuple[str, ...]
    ) -> None:
        keys = await queued(store, "10")

        async with asyncio.timeout(_LIMIT_S):
            async with database.connection() as connection, connection.transaction():
                await connection.execute(";".join(changes))
                claiming = asyncio.ensure_future(claim_all(store, keys))
                postponing = asyncio.ensure_future(store.postpone(keys, delay_s=100, reason="why"))
                await until(partial(are_waiting_for_a_row, database, 2))
            claims, _ = await asyncio.gather(claiming, postponing)

        assert claims == []
        after = await row(database)
        assert after["attempts"] == 0
        assert after["due_in_s"] is None or after["due_in_s"] <= 10

    async def test_neighbours_are_not_claimed(self, store: PostgresEcgStore, database: Database) -> None:
        _, key, _ = await queued(store, "before", "10", "after")

        assert [claim.key for claim in await claim_all(store, [key])] == [key]

        attempts = [(await row(database, ecg_id))["attempts"] for ecg_id in ("before", "10", "after")]
        assert attempts == [0, 1, 0]

    async def test_claims_at_once_of_the_same_ecgs_in_any_order_each_count(
        self, store: PostgresEcgStore
    ) -> None:
        keys = await queued(store, *(str(n) for n in range(40)))

        async with asyncio.timeout(_LIMIT_S):
            rounds = await asyncio.gather(
                *(claim_all(store, keys if n % 2 else keys[::-1]) for n in range(8)),
            )

        attempts = {
            key: sorted(c.attempt for claims in rounds for c in claims if c.key == key) for key in keys
        }
        assert set(map(tuple, attempts.values())) == {tuple(range(1, 9))}

    async def test_claims_and_settlements_and_postponements_at_once_do_not_deadlock(
        self, store: PostgresEcgStore, outbox: PostgresOutbox
    ) -> None:
        claims = await claimed(store, *(str(n) for n in range(60)))
        keys = [claim.key for claim in claims]

        async with asyncio.timeout(_LIMIT_S):
            for _ in range(5):
                await asyncio.gather(
                    claim_all(store, keys),
                    claim_all(store, keys[::-1]),
                    store.postpone(keys[::-1], delay_s=0, reason="why"),
                    store.postpone(keys, delay_s=0, reason="why"),
                    outbox.put_back_ecgs(keys[::-1]),
                    outbox.put_back_ecgs(keys),
                    due_keys(outbox, 30, _BACKOFF),
                )
            settled_by = await asyncio.gather(
                store.settle([completion(claim) for claim in claims]),
                store.settle([completion(claim) for claim in claims[::-1]]),
                claim_all(store, keys[::-1]),
                outbox.put_back_ecgs(keys[::-1]),
            )

        assert sorted(len(batch.events) for batch in settled_by[:2]) == [0, 60]

    async def test_only_repeatable_writes_are_committed_without_a_flush(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        keys = await queued(store, "10")
        await execute(database, "SET synchronous_commit = on")  # in the one connection that all of these have

        await claim_all(store, keys)
        await store.postpone(keys, delay_s=0, reason="why")
        await outbox.clear([uuid4()])

        async with database.connection() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"


class TestLoading:
    async def test_an_ecg_comes_back_as_it_was_added(self, store: PostgresEcgStore) -> None:
        wide = np.array([-(2**31), 2**31 - 1, 0], np.int32)
        leads = [
            a_lead("I", wide, baseline=-5, adc_gain=0.1),
            a_lead("V1 µ", [1], baseline=7, adc_gain=1000.0),
        ]
        ecg = an_ecg(leads=leads, date="2023-07-30T10:00:00+02:00", sampling_rate_hz=360.5, unit="mV")
        [receipt] = await store.add([a_submission(ecg=ecg)])

        [stored] = (await store.load(await claim_all(store, [receipt.key]))).values()

        loaded = stored.decode()
        said = (LeadHeader("I", 3, -5, 0.1), LeadHeader("V1 µ", 1, 7, 1000.0))
        assert loaded.header == Header("10", "2023-07-30T10:00:00+02:00", said, 360.5, "mV")
        assert [(lead.name, lead.signal.tolist()) for lead in loaded.leads] == [
            ("I", [-(2**31), 2**31 - 1, 0]),
            ("V1 µ", [1]),
        ]

    @pytest.mark.parametrize(
        ("load_samples", "expected"), [(0, []), (5, ["10"]), (6, ["10", "11"]), (8, ["10", "11"])]
    )
    async def test_the_first_come_with_their_claims_as_far_as_they_have_so_many_samples(
        self, store: PostgresEcgStore, load_samples: int, expected: list[str]
    ) -> None:
        receipts = await store.add([a_submission(each) for each in ("10", "11", "12")])  # 3 samples each
        keys = [receipt.key for receipt in receipts]

        claims = await store.claim(keys, claim_id=uuid4(), load_samples=load_samples)

        assert [claim.key for claim in claims.claimed] == keys
        assert [key.id for key in claims.loaded] == expected
        later = await store.load(claims.claimed)
        assert [stored.decode().leads[0].signal.tolist() for stored in claims.loaded.values()] == [
            later[key].decode().leads[0].signal.tolist() for key in claims.loaded
        ]

    async def test_what_was_erased_is_left_out(self, store: PostgresEcgStore, database: Database) -> None:
        claims = await claimed(store, "10", "11")
        await execute(database, "DELETE FROM ecg WHERE id = '10'")

        assert set(await store.load(claims)) == {EcgKey("ada", "11")}

    @pytest.mark.parametrize(
        "damage",
        [
            "samples = 'x'",
            "samples = ''",
            "encoding = 'int12be'",
            "encoding = 'int32le'",
            "header = '[]'",
            """header = '{"date": "2023-07-30"}'""",
            """header = '{"date": "2023-07-30", "leads": [], "more": 1}'""",
            "header = NULL, leads = '[]'",
            "header = NULL, leads = '{}'",
            "header = NULL, leads = 'null'",
            "header = NULL, leads = '[{}]'",
            """header = NULL, leads = '[{"name": "I", "baseline": 0, "adc_gain": 1, "num_samples": "3"}]'""",
            """header = NULL, leads = '[{"name": null, "baseline": 0, "adc_gain": 1, "num_samples": 3}]'""",
            """header = NULL, leads = '[{"name": "I", "baseline": 0, "adc_gain": 0, "num_samples": 3}]'""",
        ],
    )
    async def test_a_damaged_ecg_is_reported_and_does_not_affect_others(
        self, store: PostgresEcgStore, database: Database, damage: str
    ) -> None:
        claims = await claimed(store, "10", "11")
        await execute(
            database,
            f"UPDATE ecg_signal SET {damage} WHERE row = (SELECT row FROM ecg WHERE id = '10')",  # noqa: S608
        )

        loaded = await store.load(claims)

        with pytest.raises(InvalidEcgError, match=r"^The stored signals "):
            loaded[EcgKey("ada", "10")].decode()
        assert loaded[EcgKey("ada", "11")].decode().header.id == "11"


class TestSettling:
    async def test_an_ecg_becomes_terminal_with_its_event(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        [claim] = await claimed(store, "10")
        settlement = completion(claim)

        assert (await store.settle([settlement])).events == [settlement.event]

        assert await state_of(store) is Status.COMPLETED
        assert (await row(database))["due_at"] is None
        assert events_of(await due_batches(outbox, database)) == [settlement.event]

    async def test_neighbours_are_not_settled(self, store: PostgresEcgStore) -> None:
        _, claim, _ = await claimed(store, "before", "10", "after")

        await store.settle([completion(claim)])

        assert [await state_of(store, ecg_id) for ecg_id in ("before", "10", "after")] == [
            Status.QUEUED,
            Status.COMPLETED,
            Status.QUEUED,
        ]

    async def test_a_second_settlement_changes_nothing(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [claim] = await claimed(store, "10")
        await store.settle([completion(claim)])

        assert (await store.settle([completion(claim)])).events == []
        assert (await store.settle([failure(claim)])).events == []

        assert await state_of(store) is Status.COMPLETED
        assert (await count(database, "outbox"), await count(database, "ecg_insights")) == (1, 1)

    async def test_one_of_many_at_once_settles(self, store: PostgresEcgStore, database: Database) -> None:
        [claim] = await claimed(store, "10")

        async with asyncio.timeout(_LIMIT_S):
            outcomes = await asyncio.gather(*(store.settle([completion(claim)]) for _ in range(8)))

        assert sorted(len(outcome.events) for outcome in outcomes) == [0] * 7 + [1]
        assert (await count(database, "outbox"), await count(database, "ecg_insights")) == (1, 1)

    async def test_a_claim_of_an_older_generation_settles_nothing(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [claim] = await claimed(store, "10")
        await store.settle([completion(claim)])
        await move_on(database)

        assert (await store.settle([completion(claim)])).events == []

        assert (await row(database))["status"] == Status.QUEUED
        assert (await count(database, "outbox"), await count(database, "ecg_insights")) == (1, 1)

    async def test_an_erased_ecg_is_not_brought_back(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [claim] = await claimed(store, "10")
        await execute(database, "DELETE FROM ecg")

        assert (await store.settle([completion(claim)])).events == []

        assert [await count(database, table) for table in ("ecg", "outbox", "ecg_insights")] == [0, 0, 0]

    async def test_each_generation_keeps_a_document_of_its_own(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        await settled(store, "10")
        await move_on(database)
        [claim] = await claim_all(store, [EcgKey("ada", "10", 2)])

        assert len((await store.settle([completion(claim)])).events) == 1

        assert (await count(database, "outbox"), await count(database, "ecg_insights")) == (2, 2)

    async def test_completed_and_failed_and_finished_ones_may_be_settled_together(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        first, second, third = await claimed(store, "1", "2", "3")
        await store.settle([completion(third)])

        settlements = [completion(first), failure(second), completion(third)]
        batch = await store.settle(settlements)

        assert batch.events == [settlement.event for settlement in settlements[:2]]
        assert [await state_of(store, n) for n in "123"] == ["completed", "failed", "completed"]
        assert (await count(database, "outbox"), await count(database, "ecg_insights")) == (2, 2)
        assert batch in await due_batches(outbox, database)

    async def test_series_that_can_not_be_kept_are_refused_and_nothing_is_settled(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        first, second = await claimed(store, "10", "11")
        series = [Series("beats", "I", {"samples": np.array([10, 20])})]

        with pytest.raises(NotImplementedError, match="keeps no series"):
            await store.settle([completion(first), completion(second)._replace(series=series)])

        assert [await state_of(store, n) for n in ("10", "11")] == ["queued", "queued"]
        assert await count(database, "outbox") == 0

    async def test_when_the_event_can_not_be_kept_nothing_is(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [claim] = await claimed(store, "10")
        await execute(database, "ALTER TABLE outbox RENAME TO outbox_away")

        with pytest.raises(UnavailableError):
            await store.settle([completion(claim)])

        assert await state_of(store) is Status.QUEUED
        assert await count(database, "ecg_insights") == 0


class TestPostponing:
    async def test_a_postponed_ecg_stays_queued_and_is_due_after_the_delay(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        keys = await queued(store, "10")

        await store.postpone(keys, delay_s=45, reason="why")

        assert await state_of(store) is Status.QUEUED
        assert 40 < (await row(database))["due_in_s"] <= 45

    async def test_neighbours_are_not_postponed(self, store: PostgresEcgStore, database: Database) -> None:
        _, key, _ = await queued(store, "before", "10", "after")

        await store.postpone([key], delay_s=45, reason="why")

        assert [(await row(database, ecg_id))["due_in_s"] <= 10 for ecg_id in ("before", "10", "after")] == [
            True,
            False,
            True,
        ]

    async def test_a_finished_ecg_can_not_be_postponed(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [settlement] = await settled(store, "10")

        await store.postpone([settlement.claim.key], delay_s=1, reason="why")

        assert (await row(database))["due_at"] is None

    async def test_another_generation_is_not_postponed(
        self, store: PostgresEcgStore, database: Database
    ) -> None:
        [key] = await queued(store, "10")

        await store.postpone([key._replace(generation=2)], delay_s=1000, reason="why")

        assert (await row(database))["due_in_s"] <= 10


class TestDueEcgs:
    async def test_what_is_not_due_is_not_taken(
        self, store: PostgresEcgStore, outbox: PostgresOutbox
    ) -> None:
        await queued(store, "10")

        assert await due_keys(outbox, 10, _BACKOFF) == []

    async def test_what_is_finished_is_not_taken(
        self, store: PostgresEcgStore, outbox: PostgresOutbox
    ) -> None:
        await settled(store, "10")

        assert await due_keys(outbox, 10, _BACKOFF) == []

    async def test_what_is_taken_is_due_again_after_twice_the_time(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        [key] = await queued(store, "10")
        due_in_s = []

        for _ in range(8):
            await make_due(database)
            assert await due_keys(outbox, 10, _BACKOFF) == [key]
            due_in_s.append((await row(database))["due_in_s"])

        assert [round(due, -1) for due in due_in_s] == [10, 20, 40, 80, 160, 300, 300, 300]

    async def test_the_backoff_is_the_one_that_is_asked_for(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, "10")
        due_in_s = []

        for _ in range(3):
            await make_due(database)
            await due_keys(outbox, 10, Backoff(first_s=100, longest_s=150))
            due_in_s.append((await row(database))["due_in_s"])

        assert [round(due, -1) for due in due_in_s] == [100, 150, 150]

    async def test_a_due_time_beyond_twice_the_longest_backoff_counts_as_passed(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, "ahead", "waiting")
        await execute(database, "UPDATE ecg SET due_at = now() + interval '11 minutes' WHERE id = 'ahead'")
        await execute(database, "UPDATE ecg SET due_at = now() + interval '9 minutes' WHERE id = 'waiting'")

        taken = await due_keys(outbox, 10, _BACKOFF)

        assert [key.id for key in taken] == ["ahead"]
        assert 5 < (await row(database, "ahead"))["due_in_s"] <= 10

    async def test_those_of_another_clock_are_taken_after_the_due_and_within_the_limit(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, *(str(n) for n in range(6)))
        await execute(
            database,
            "UPDATE ecg SET due_at = now() - id::integer * interval '1 second'"
            " + (id::integer / 4 * 2 - 1) * interval '2 hours'",
        )

        await read_in_no_order(database)

        taken = await due_keys(outbox, 5, _BACKOFF)

        assert {key.id for key in taken} == {"0", "1", "2", "3", "5"}

    async def test_no_more_are_taken_than_asked_for_and_the_oldest_first(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, *(str(n) for n in range(20)))
        await execute(database, "UPDATE ecg SET due_at = now() - id::integer * interval '1 second'")
        await read_in_no_order(database)

        first = await due_keys(outbox, 5, _BACKOFF)
        second = await due_keys(outbox, 20, _BACKOFF)

        assert {key.id for key in first} == {"15", "16", "17", "18", "19"}
        assert len(second) == 15

    async def test_two_who_take_at_once_take_different_ones(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        keys = await queued(store, *(str(n) for n in range(40)))
        await make_due(database)

        async with asyncio.timeout(_LIMIT_S):
            taken = await asyncio.gather(*(due_keys(outbox, 10, _BACKOFF) for _ in range(4)))

        assert sorted(key for some in taken for key in some) == sorted(keys)

    async def test_a_locked_row_is_skipped(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await queued(store, "10", "11", "ahead")
        await make_due(database)
        await execute(database, "UPDATE ecg SET due_at = now() + interval '2 hours' WHERE id = 'ahead'")

        async with database.connection() as connection, connection.transaction(), asyncio.timeout(_LIMIT_S):
            await connection.execute("SELECT 1 FROM ecg WHERE id IN ('10', 'ahead') FOR UPDATE")
            taken = await due_keys(outbox, 10, _BACKOFF)

        assert [key.id for key in taken] == ["11"]

    async def test_ecgs_that_are_put_back_are_due_shortly_with_their_earlier_backoff(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        keys = await queued(store, "10")
        await make_due(database)
        await due_keys(outbox, 10, _BACKOFF)

        await outbox.put_back_ecgs(keys)

        found = await row(database)
        assert 0 < found["due_in_s"] <= 1
        assert found["republished"] == 0

    async def test_each_time_that_it_is_put_back_undoes_one_time_that_it_was_taken(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        keys = await queued(store, "10")
        for _ in range(2):
            await make_due(database)
            await due_keys(outbox, 10, _BACKOFF)
        republished = []

        for _ in range(3):
            await outbox.put_back_ecgs(keys)
            republished.append((await row(database))["republished"])

        assert republished == [1, 0, 0]

    async def test_neighbours_are_not_put_back(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        _, key, _ = await queued(store, "before", "10", "after")

        await outbox.put_back_ecgs([key])

        due_in_s = [(await row(database, ecg_id))["due_in_s"] for ecg_id in ("before", "10", "after")]
        assert [due <= 1 for due in due_in_s] == [False, True, False]

    async def test_all_that_is_queued_and_all_events_can_be_made_due(
        self, store: PostgresEcgStore, outbox: PostgresOutbox
    ) -> None:
        [settlement] = await settled(store, "done")
        keys = await queued(store, "10", "11")

        await outbox.make_all_due()

        assert sorted(await due_keys(outbox, 10, _BACKOFF)) == sorted(keys)
        assert events_of(await outbox.take_due_events(10, _BACKOFF)) == [settlement.event]

    async def test_a_finished_ecg_is_not_put_back(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        [settlement] = await settled(store, "10")

        await outbox.put_back_ecgs([settlement.claim.key])

        assert (await row(database))["due_at"] is None


class TestDueEvents:
    async def test_an_event_that_is_due_later_than_was_ever_given_out_is_taken(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        [settlement] = await settled(store, "10")
        await execute(database, "UPDATE outbox SET due_at = now() + interval '2 hours'")

        assert events_of(await outbox.take_due_events(10, _BACKOFF)) == [settlement.event]
        assert await outbox.take_due_events(10, _BACKOFF) == []

    async def test_events_of_another_clock_are_taken_after_the_due_and_within_the_limit(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        settlements = await settled_one_by_one(store, *"012345")
        for settlement, due_in in zip(
            settlements, ("-1 s", "-2 s", "-3 s", "3 hours", "2 hours", "5 minutes"), strict=True
        ):
            await execute(
                database,
                f"UPDATE outbox SET due_at = now() + interval '{due_in}'"  # noqa: S608 - ours
                f" WHERE event_ids[1] = '{settlement.event.id}'",
            )

        await read_in_no_order(database)

        taken = [
            {event.id for event in events_of(await outbox.take_due_events(n, _BACKOFF))} for n in (2, 2, 2)
        ]

        ids = [settlement.event.id for settlement in settlements]
        assert taken == [{ids[1], ids[2]}, {ids[0], ids[4]}, {ids[3]}]

    async def test_no_more_are_locked_than_are_taken(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        settlements = await settled_one_by_one(store, *"0123456")
        due = [settlement.event.id for settlement in settlements[:2]]
        await execute(database, "UPDATE outbox SET due_at = now() + interval '2 hours'")
        await execute(database, "UPDATE outbox SET due_at = now() WHERE event_ids[1] = ANY($1::uuid[])", due)

        taken = await outbox.take_due_events(3, _BACKOFF)

        assert len(events_of(taken)) == 3
        async with database.connection() as connection:
            locked_only = await connection.fetchval(
                "SELECT count(*) FROM outbox WHERE xmax::text <> '0' AND republished = 0"
            )
        assert locked_only == 0

    async def test_a_locked_one_is_skipped(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        held, ahead, due = await settled_one_by_one(store, "held", "ahead", "due")
        await execute(database, "UPDATE outbox SET due_at = now()")
        await execute(
            database,
            f"UPDATE outbox SET due_at = now() + interval '2 hours' WHERE event_ids[1] = '{ahead.event.id}'",  # noqa: S608 - ours
        )

        async with database.connection() as connection, connection.transaction(), asyncio.timeout(_LIMIT_S):
            await connection.execute(
                "SELECT 1 FROM outbox WHERE event_ids[1] = ANY($1::uuid[]) FOR UPDATE",
                [held.event.id, ahead.event.id],
            )
            taken = await outbox.take_due_events(10, _BACKOFF)

        assert events_of(taken) == [due.event]

    async def test_an_event_is_due_ten_seconds_after_it_was_kept(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await settled(store, "10")

        assert await outbox.take_due_events(10, _BACKOFF) == []
        async with database.connection() as connection:
            due_in_s = await connection.fetchval("SELECT extract(epoch FROM due_at - now()) FROM outbox")
        assert 5 < due_in_s <= 10

    async def test_an_event_that_was_taken_is_due_again_after_twice_the_time(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await settled(store, "10")
        due_in_s = []

        for _ in range(7):
            assert len(await due_batches(outbox, database)) == 1
            async with database.connection() as connection:
                due_in_s.append(
                    await connection.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM outbox")
                )

        assert [round(due, -1) for due in due_in_s] == [10, 20, 40, 80, 160, 300, 300]

    async def test_no_more_are_taken_than_asked_for_and_none_twice(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        settlements = await settled_one_by_one(store, *(str(n) for n in range(30)))
        await make_due(database, "outbox")

        async with asyncio.timeout(_LIMIT_S):
            taken = await asyncio.gather(*(outbox.take_due_events(10, _BACKOFF) for _ in range(3)))

        assert [len(some) for some in taken] == [10, 10, 10]
        expected = {settlement.event.id for settlement in settlements}
        assert {event.id for some in taken for event in events_of(some)} == expected

    async def test_the_batch_that_reaches_the_limit_is_the_last(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        for number in range(5):
            await settled(store, *(f"{number}-{each}" for each in range(4)))
        await make_due(database, "outbox")

        taken = [await outbox.take_due_events(limit, _BACKOFF) for limit in (1, 8, 5, 1)]

        assert [[len(batch.events) for batch in some] for some in taken] == [[4], [4, 4], [4, 4], []]

    async def test_cleared_batches_are_deleted(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await settled_one_by_one(store, "10", "11")
        first, second = await due_batches(outbox, database)

        await outbox.clear([first.id])
        await outbox.clear([first.id])

        assert await due_batches(outbox, database) == [second]

    async def test_of_a_batch_that_was_published_in_part_the_rest_is_kept(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        first, second, third = await claimed(store, "10", "11", "12")
        await store.settle([completion(first), failure(second), failure(third)])
        [batch] = await due_batches(outbox, database)
        await settled(store, "another")
        [another] = [each for each in await due_batches(outbox, database) if each.id != batch.id]

        rest = batch._replace(events=batch.events[1:])
        await outbox.keep_unconfirmed(rest)

        assert sorted(await due_batches(outbox, database)) == sorted([rest, another])

    async def test_of_two_rests_of_a_batch_the_smaller_is_kept(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        await settled(store, "10", "11", "12")
        [batch] = await due_batches(outbox, database)

        rest = batch._replace(events=batch.events[2:])
        for events in (rest.events, batch.events[:2], batch.events[:1], batch.events):
            await outbox.keep_unconfirmed(batch._replace(events=events))

        assert await due_batches(outbox, database) == [rest]

    async def test_unrouted_events_are_dropped_after_the_grace(
        self, store: PostgresEcgStore, outbox: PostgresOutbox, database: Database
    ) -> None:
        [old, _] = await settled(store, "old", "old too")
        [routed] = await settled(store, "routed")
        await execute(database, "UPDATE outbox SET created_at = now() - interval '61 seconds'")
        [young] = await settled(store, "young")
        batches = await due_batches(outbox, database)
        unrouted = [batch.id for batch in batches if routed.event not in batch.events]

        dropped = await outbox.drop_unrouted(unrouted)

        assert dropped == {batch.id for batch in batches if old.event in batch.events}

        left = events_of(await due_batches(outbox, database))
        assert {event.id for event in left} == {routed.event.id, young.event.id}


async def test_every_method_raises_unavailable_while_storage_is_unavailable() -> None:
    key = EcgKey("ada", "10")
    async with open_database("postgresql://isoline@127.0.0.1:1/isoline") as nowhere:
        store, outbox = PostgresEcgStore(nowhere), PostgresOutbox(nowhere)
        asked: Sequence[Any] = [
            store.add([a_submission()]),
            store.find([("ada", "10")]),
            claim_all(store, [key]),
            store.load([]),
            store.settle([]),
            store.postpone([key], delay_s=1, reason="why"),
            due_keys(outbox, 1, _BACKOFF),
            outbox.put_back_ecgs([key]),
            outbox.take_due_events(1, _BACKOFF),
            outbox.clear([]),
            outbox.drop_unrouted([]),
            PostgresAccountStore(nowhere).find("ada"),
        ]

        async with asyncio.timeout(_LIMIT_S):
            outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
