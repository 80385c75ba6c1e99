"""The contract of `shared.ports.ecgs.RecordingStore`, tested on PostgreSQL."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count as count_from
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import pytest

from shared.domain.ecg import Ecg
from shared.domain.errors import InvalidEcgError, UnavailableError
from shared.domain.recording import recording_of
from shared.events import deleted_event, failed_event, processed_event
from shared.ports.ecgs import RecordingSubmission, Settlement, Status, Submission
from shared.ports.outbox import REPUBLISH_BACKOFF
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres.recordings import PostgresRecordingStore, dry_run_add_recording
from tests.support.builders import SOURCE, a_lead, an_ecg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.ecg import Samples
    from shared.events import EcgKey
    from shared.storage.pool.database import Database

_NARROW: Final = (1, -2, 3, -4, 5, -6, 7, -8, 9, -10)
_LIMIT_S: Final = 20
# The two before find the width and the hash.
_READ_THAT_WRITES: Final = 3


def two_leads(*, ecg_id: str = "10", date: str = "2023-07-30") -> Ecg:
    wide = a_lead("II", np.array([*_NARROW, 100_000], np.int32), baseline=7, adc_gain=0.5)
    return an_ecg(ecg_id, leads=[a_lead("I", _NARROW), wide], date=date, sampling_rate_hz=250.0, unit="mV")


def submission_of(ecg: Ecg, *, owner: str = "ada") -> RecordingSubmission:
    return RecordingSubmission(owner, recording_of(ecg, block_samples=4), "00-trace")


@pytest.fixture
def recordings(database: Database) -> PostgresRecordingStore:
    return PostgresRecordingStore(database)


@pytest.fixture
def store(database: Database) -> PostgresEcgStore:
    return PostgresEcgStore(database)


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        counted: int = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    return counted


async def row(database: Database, ecg_id: str) -> dict[str, Any]:
    async with database.connection() as connection:
        found = await connection.fetchrow("SELECT * FROM ecg WHERE id = $1", ecg_id)
    assert found is not None
    return dict(found)


async def erased(database: Database) -> None:
    """Erase the ECG 10 of ada."""
    await PostgresOwnedEcgs(database).erase(
        "ada",
        "10",
        event_of=lambda key: deleted_event(key, source=SOURCE, now=datetime.now(UTC), traceparent=None),
    )


async def loaded(store: PostgresEcgStore, key: EcgKey) -> Ecg:
    claims = await store.claim([key], claim_id=uuid4(), load_samples=1_000)
    assert not claims.loaded  # its parts are read by themselves
    return (await store.load(claims.claimed))[key].decode()


@pytest.mark.parametrize("ecg", [an_ecg(leads=[a_lead("I", _NARROW)]), two_leads()])
async def test_a_recording_is_loaded_as_the_ecg_that_it_is(
    ecg: Ecg, recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    receipt = await recordings.add(submission_of(ecg))

    found = await loaded(store, receipt.key)
    assert (receipt.is_new, receipt.is_conflict, receipt.status) == (True, False, Status.QUEUED)
    assert isinstance(found, Ecg)
    assert found.header == ecg.header
    for lead, sent in zip(found.leads, ecg.leads, strict=True):
        assert lead.signal.tolist() == sent.signal.tolist()
    assert await count(database, "recording_part") == 3 * len(ecg.leads)


@pytest.mark.parametrize("ecg", [an_ecg(leads=[a_lead("I", _NARROW)]), two_leads()])
async def test_the_same_content_is_the_same_ecg_whichever_way_it_comes(
    ecg: Ecg, recordings: PostgresRecordingStore, store: PostgresEcgStore
) -> None:
    first = await recordings.add(submission_of(ecg))
    [as_ecg] = await store.add([Submission("ada", ecg)])
    again = await recordings.add(submission_of(ecg))
    [of_another] = await store.add([Submission("bob", ecg)])
    of_another_again = await recordings.add(submission_of(ecg, owner="bob"))

    assert [first.is_new, as_ecg.is_new, again.is_new, of_another.is_new] == [True, False, False, True]
    assert not of_another_again.is_new
    assert not any(receipt.is_conflict for receipt in (as_ecg, again, of_another_again))


async def test_other_content_of_the_same_id_is_a_conflict_and_changes_nothing(
    recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    first = await recordings.add(submission_of(two_leads()))

    receipt = await recordings.add(submission_of(two_leads(date="2023-07-31")))

    assert receipt.is_conflict
    assert await count(database, "recording_part") == 6
    found = await loaded(store, first.key)
    assert isinstance(found, Ecg)
    assert found.header.date == "2023-07-30"


async def test_a_recording_that_comes_many_times_at_once_is_kept_once(
    recordings: PostgresRecordingStore, database: Database
) -> None:
    async with asyncio.timeout(_LIMIT_S):
        receipts = await asyncio.gather(*(recordings.add(submission_of(two_leads())) for _ in range(6)))

    assert sorted(receipt.is_new for receipt in receipts) == [False] * 5 + [True]
    assert not any(receipt.is_conflict for receipt in receipts)
    assert await count(database, "recording_part") == 6


async def test_another_submission_of_the_id_does_not_wait_for_all_parts(
    recordings: PostgresRecordingStore, store: PostgresEcgStore
) -> None:
    recording, reads = recording_of(an_ecg(leads=[a_lead("I", _NARROW)]), block_samples=4), count_from(1)
    is_written, may_end = threading.Event(), threading.Event()

    def blocks() -> Iterator[Samples]:
        read = next(reads)
        yield from recording.blocks()
        if read == _READ_THAT_WRITES:
            is_written.set()
            may_end.wait(_LIMIT_S)

    slow = RecordingSubmission("ada", replace(recording, blocks=blocks))
    adding = asyncio.ensure_future(recordings.add(slow))
    await asyncio.to_thread(is_written.wait, _LIMIT_S)

    async with asyncio.timeout(_LIMIT_S / 2):
        [receipt] = await store.add([Submission("ada", an_ecg())])
    may_end.set()

    assert receipt.is_new
    assert (await adding).is_conflict


async def test_the_trace_of_its_sender_comes_with_its_claim(
    recordings: PostgresRecordingStore, store: PostgresEcgStore
) -> None:
    receipt = await recordings.add(submission_of(two_leads()))

    [claim] = (await store.claim([receipt.key], claim_id=uuid4())).claimed

    assert claim.traceparent == "00-trace"


async def test_it_is_not_due_before_it_can_have_been_measured(
    recordings: PostgresRecordingStore, database: Database
) -> None:
    await recordings.add(submission_of(two_leads()))

    async with database.connection() as connection:
        due_in_s = await connection.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM ecg")
    assert 50 < due_in_s <= 60
    assert await PostgresOutbox(database).take_due_ecgs(10, REPUBLISH_BACKOFF) == []


class Breaking:
    """Blocks that fail half-way while they are written."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._reads = 0

    def __call__(self) -> Iterator[Samples]:
        self._reads += 1
        yield np.array(_NARROW, np.int16)
        if self._reads == _READ_THAT_WRITES:
            raise self._error
        yield np.array(_NARROW, np.int16)


async def test_nothing_is_kept_of_a_recording_that_could_not_be_read_to_its_end(
    recordings: PostgresRecordingStore, database: Database
) -> None:
    recording = recording_of(an_ecg(leads=[a_lead("I", _NARROW * 2)]), block_samples=4)
    broken = replace(recording, blocks=Breaking(UnavailableError("the disk")))

    with pytest.raises(UnavailableError, match="the disk"):
        await recordings.add(RecordingSubmission("ada", broken))

    assert [await count(database, table) for table in ("ecg", "ecg_signal", "recording_part")] == [0, 0, 0]


async def test_a_connection_that_dies_half_way_leaves_nothing(
    recordings: PostgresRecordingStore, database: Database
) -> None:
    recording = recording_of(an_ecg(leads=[a_lead("I", _NARROW * 100)]), block_samples=1)
    adding = asyncio.ensure_future(recordings.add(RecordingSubmission("ada", recording)))
    async with asyncio.timeout(_LIMIT_S), database.connection() as connection:
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND query LIKE '%INTO recording_part%'"
        )
        while not await connection.fetchval(kill):
            await asyncio.sleep(0)

        with pytest.raises(UnavailableError):
            await adding

    assert [await count(database, table) for table in ("ecg", "ecg_signal", "recording_part")] == [0, 0, 0]


async def test_a_database_that_is_unavailable_is_reported_as_such() -> None:
    async with open_database("postgresql://isoline@127.0.0.1:1/isoline") as database:
        with pytest.raises(UnavailableError):
            await PostgresRecordingStore(database).add(submission_of(two_leads()))


async def test_an_erased_recording_leaves_no_part_and_its_id_is_free(
    recordings: PostgresRecordingStore, database: Database, store: PostgresEcgStore
) -> None:
    await recordings.add(submission_of(two_leads()))

    await erased(database)
    assert [await count(database, table) for table in ("ecg_signal", "recording_part")] == [0, 0]
    receipt = await recordings.add(submission_of(two_leads(date="2023-07-31")))

    assert receipt.is_new
    assert receipt.key.generation == 2
    assert isinstance(await loaded(store, receipt.key), Ecg)


async def test_an_erased_recording_comes_back_with_a_row_as_of_one_that_is_new(
    recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    key = (await recordings.add(submission_of(two_leads()))).key
    async with database.connection() as connection:
        await connection.execute("UPDATE ecg SET due_at = now(), submitted_at = now() - interval '1 day'")
    await PostgresOutbox(database).take_due_ecgs(10, REPUBLISH_BACKOFF)
    [claim] = (await store.claim([key], claim_id=uuid4())).claimed
    event = failed_event(key, "why", source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await store.settle([Settlement(claim, event, error="why")])
    await erased(database)

    await recordings.add(submission_of(two_leads()))
    await recordings.add(submission_of(two_leads(ecg_id="new")))

    back, new = await row(database, "10"), await row(database, "new")
    assert (back.pop("generation"), new.pop("generation")) == (2, 1)
    for each in (back, new):
        assert timedelta(seconds=60) <= each.pop("due_at") - each.pop("submitted_at") < timedelta(hours=1)
        del each["row"], each["id"]
    assert back == new


async def test_an_erased_recording_comes_back_for_its_owner_alone(
    recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    for owner in ("ada", "bob"):
        await recordings.add(submission_of(two_leads(), owner=owner))
    await erased(database)

    receipt = await recordings.add(submission_of(two_leads(date="2023-07-31")))
    of_bob = await recordings.add(submission_of(two_leads(), owner="bob"))

    assert (receipt.key.generation, receipt.is_new) == (2, True)
    assert (of_bob.key.generation, of_bob.is_new, of_bob.is_conflict) == (1, False, False)
    for key, date in ((receipt.key, "2023-07-31"), (of_bob.key, "2023-07-30")):
        found = await loaded(store, key)
        assert found.header == two_leads(date=date).header


async def test_a_recording_ends_and_begins_its_next_generation_as_any_ecg(
    recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    document: dict[str, Any] = {"leads": []}
    key = (await recordings.add(submission_of(two_leads()))).key
    [claim] = (await store.claim([key], claim_id=uuid4())).claimed
    event = processed_event(key, document, source=SOURCE, now=datetime.now(UTC), traceparent=None)

    assert (await store.settle([Settlement(claim, event, document=document)])).events == [event]
    assert not (await recordings.add(submission_of(two_leads()))).is_new
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE ecg SET generation = 2, status = 'queued', attempts = 0, due_at = now(),"
            " finished_at = NULL"
        )

    assert (await loaded(store, key._replace(generation=2))).header == two_leads().header


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM recording_part WHERE part = 5",
        "DELETE FROM recording_part WHERE part = 1",
        "UPDATE recording_part SET samples = 'x' WHERE part = 1",
        "UPDATE recording_part SET encoding = 'unknown' WHERE part = 1",
        "UPDATE recording_part SET num_samples = 3 WHERE part = 1",
        "UPDATE recording_part SET num_samples = 3000 WHERE part = 1",
    ],
)
async def test_a_damaged_part_is_reported_and_not_measured(
    damage: str, recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    key = (await recordings.add(submission_of(two_leads()))).key
    async with database.connection() as connection:
        await connection.execute(damage)

    with pytest.raises(InvalidEcgError, match=r"^The stored signals "):
        await loaded(store, key)


async def test_trying_whether_recordings_can_be_added_adds_and_changes_none(
    recordings: PostgresRecordingStore, store: PostgresEcgStore, database: Database
) -> None:
    receipt = await recordings.add(submission_of(two_leads()))

    async with database.connection() as connection:
        await dry_run_add_recording(connection)

    assert [await count(database, table) for table in ("recording", "recording_part")] == [1, 6]
    assert (await loaded(store, receipt.key)).header == two_leads().header
