"""Headers are kept and read on every schema of this release, and so are those of the release before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import pytest

from shared.domain.recording import recording_of
from shared.events import EcgKey
from shared.ports.ecgs import RecordingSubmission
from shared.storage.postgres import header_column
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.recordings import PostgresRecordingStore
from shared.storage.schema.compatibility import OLDEST_SCHEMA
from shared.storage.schema.migrations import migrate
from tests.support.builders import a_lead, a_submission, an_ecg

if TYPE_CHECKING:
    from shared.domain.ecg import Ecg, Lead
    from shared.storage.pool.database import Database

# What release 0.1.0 writes of `as_of_the_release_before`, and the hash that it takes of it.
_OF_THE_RELEASE_BEFORE: Final = r"""
WITH new AS (
    INSERT INTO ecg (owner, id, content_hash, num_samples, due_at) VALUES (
        'ada', '10', '\xa6a5b7d09512fd643a93f0cc2cb91cb69172bae6480ec7d0482f0259433809bc', 3, now()
    ) RETURNING row
)
INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples)
SELECT row, '2023-07-30T09:15:00+02:00', 360.5, 'mV', '[
    {"name":"I","baseline":1024,"adc_gain":200.0,"num_samples":2},
    {"name":"aVR µ","baseline":0,"adc_gain":1.0,"num_samples":1}
]', 'int32le', '\xfb03000006040000409c0000'
FROM new
"""
_HEADERS: Final = "SELECT header FROM ecg_signal ORDER BY row"


def as_of_the_release_before() -> Ecg:
    return an_ecg(leads=two_leads(), date="2023-07-30T09:15:00+02:00", sampling_rate_hz=360.5, unit="mV")


def two_leads(**said_of_the_first: Any) -> list[Lead]:
    first = a_lead("I", [1019, 1030], baseline=1024, adc_gain=200.0, **said_of_the_first)
    return [first, a_lead("aVR µ", np.array([40_000], np.int32))]


def contents(ecg: Ecg) -> tuple[object, ...]:
    return ecg.header, [lead.signal.tolist() for lead in ecg.leads]


async def claimed(database: Database, *ids: str, load_samples: int) -> list[Ecg]:
    """The ECGs as a processor gets them: those that come with their claims, then those that it loads."""
    store = PostgresEcgStore(database)
    keys = [EcgKey("ada", ecg_id) for ecg_id in ids]
    claims = await store.claim(keys, claim_id=uuid4(), tried_before=True, load_samples=load_samples)
    stored = {**await store.load(claims.claimed), **claims.loaded}
    return [stored[key].decode() for key in keys]


@pytest.mark.parametrize("load_samples", [0, 1000])
async def test_an_ecg_of_the_release_before_is_read_as_it_was_sent(
    database: Database, load_samples: int
) -> None:
    async with database.connection() as connection:
        await connection.execute(_OF_THE_RELEASE_BEFORE)

    [found] = await claimed(database, "10", load_samples=load_samples)

    assert contents(found) == contents(as_of_the_release_before())


async def test_an_ecg_of_the_release_before_that_is_sent_again_is_the_same(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(_OF_THE_RELEASE_BEFORE)
    ecg = as_of_the_release_before()

    [receipt] = await PostgresEcgStore(database).add([a_submission(ecg=ecg)])
    recording = RecordingSubmission("ada", recording_of(ecg, block_samples=2))
    again = await PostgresRecordingStore(database).add(recording)

    assert [each.is_new or each.is_conflict for each in (receipt, again)] == [False, False]


@pytest.mark.parametrize("load_samples", [0, 1000])
async def test_the_schema_of_the_release_before_keeps_all_of_a_header(
    database: Database, database_url: str, load_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_column, "_TRY_AGAIN_AFTER_S", 0.0)
    store, recordings = PostgresEcgStore(database), PostgresRecordingStore(database)
    ecg = an_ecg(leads=two_leads(sampling_rate_hz=62.5, missing_value=-32768))

    async def keep(ecg_id: str, recording_id: str) -> None:
        named = an_ecg(ecg_id, leads=ecg.leads, date=ecg.header.date)
        long = an_ecg(recording_id, leads=ecg.leads, sampling_rate_hz=250.0, unit="uV")
        await store.add([a_submission(ecg=named)])
        await recordings.add(RecordingSubmission("ada", recording_of(long, block_samples=2)))

    async def assert_kept(*ids: str) -> None:
        for found in await claimed(database, *ids, load_samples=load_samples):
            is_long = found.header.id.startswith("long")
            assert found.header.leads == ecg.header.leads
            assert (found.header.sampling_rate_hz, found.header.unit) == (
                (250.0, "uV") if is_long else (None, None)
            )
            assert [lead.signal.tolist() for lead in found.leads] == [[1019, 1030], [40_000]]

    await migrate(database_url, to=OLDEST_SCHEMA, force=True)
    await keep("before", "long-before")
    await assert_kept("before", "long-before")

    await migrate(database_url, force=True)
    await assert_kept("before", "long-before")
    await keep("after", "long-after")
    await assert_kept("before", "long-before", "after", "long-after")

    async with database.connection() as connection:
        headers = [row["header"] for row in await connection.fetch(_HEADERS)]
    assert [header is None for header in headers] == [True, True, False, False]

    await migrate(database_url, to=OLDEST_SCHEMA, force=True)
    await assert_kept("before", "long-before", "after", "long-after")
    await keep("back", "long-back")
    await assert_kept("back", "long-back")


async def test_a_schema_without_the_column_is_not_asked_for_it_each_time(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header_column, "_TRY_AGAIN_AFTER_S", 3600.0)
    store = PostgresEcgStore(database)
    await migrate(database_url, to=OLDEST_SCHEMA, force=True)
    await store.add([a_submission("1")])
    await migrate(database_url, force=True)

    await store.add([a_submission("2")])

    async with database.connection() as connection:
        assert [row["header"] for row in await connection.fetch(_HEADERS)] == [None, None]
