"""Recordings in PostgreSQL: in parts, all of them in one transaction, and ECGs like any other then."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from shared.domain.ecg import fits_int16
from shared.events import EcgKey
from shared.ports import Receipt, Status
from shared.storage.signal_parts import write_parts

if TYPE_CHECKING:
    import asyncpg

    from shared.domain.recording import Recording
    from shared.ports import RecordingSubmission
    from shared.storage.postgres import Connection, Database

# From the beginning of the transaction on. An earlier announcement would be a second one to be measured.
_REPUBLISH_AFTER_S: Final = 60.0

# An id that was erased begins its next generation, as with any ECG.
_ADD: Final = """
INSERT INTO ecg AS present (owner, id, content_hash, num_samples, traceparent, due_at)
VALUES ($1, $2, $3, $4, $5, now() + $6::float8 * interval '1 second')
ON CONFLICT (owner, id) DO UPDATE SET
    generation = present.generation + 1, status = 'queued', attempts = 0, republished = 0,
    due_at = excluded.due_at, content_hash = excluded.content_hash, num_samples = excluded.num_samples,
    traceparent = excluded.traceparent, submitted_at = now(), finished_at = NULL
WHERE present.status = 'erased'
RETURNING row, generation
"""

_ADD_SIGNAL: Final = """
INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples)
VALUES ($1, $2, $3, $4, $5::json, $6, '')
"""

_HELD: Final = """
SELECT generation, status, content_hash FROM ecg WHERE owner = $1 AND id = $2 AND status <> 'erased'
"""


class _Said(NamedTuple):
    """What a recording comes to: its leads as they are stored, its encoding, and the hash of all of it."""

    leads: bytes
    encoding: str
    content_hash: bytes


class PostgresRecordingStore:
    """`shared.ports.RecordingStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, submission: RecordingSubmission) -> Receipt:
        said = await asyncio.to_thread(_said, submission.recording)
        receipt = None
        async with self._database.connection() as connection:
            while receipt is None:  # an erasure may come between the two halves
                receipt = await _added(connection, submission, said) or await _held(
                    connection, submission, said
                )
        return receipt


async def _added(connection: Connection, submission: RecordingSubmission, said: _Said) -> Receipt | None:
    """The receipt of what was kept; None, and nothing was, if the id is taken."""
    recording = submission.recording
    async with connection.transaction():
        row = await connection.fetchrow(
            _ADD,
            submission.owner,
            recording.id,
            said.content_hash,
            recording.num_samples,
            submission.traceparent,
            _REPUBLISH_AFTER_S,
        )
        if row is None:
            return None
        await connection.execute(
            _ADD_SIGNAL,
            row["row"],
            recording.date,
            recording.sampling_rate_hz,
            recording.unit,
            said.leads.decode(),
            said.encoding,
        )
        await write_parts(connection, row["row"], recording.blocks())
    return Receipt(EcgKey(submission.owner, recording.id, row["generation"]), Status.QUEUED, is_new=True)


async def _held(connection: Connection, submission: RecordingSubmission, said: _Said) -> Receipt | None:
    """The receipt of what is there already; None if that is gone."""
    ecg_id = submission.recording.id
    row: asyncpg.Record | None = await connection.fetchrow(_HELD, submission.owner, ecg_id)
    if row is None:
        return None
    return Receipt(
        EcgKey(submission.owner, ecg_id, row["generation"]),
        Status(row["status"]),
        is_conflict=row["content_hash"] != said.content_hash,
    )


def _said(recording: Recording) -> _Said:
    """The same as `shared.storage.signals` says of an ECG with this content; reads all samples twice."""
    width = "int16" if all(map(fits_int16, recording.blocks())) else "int32"
    described = [
        {
            "name": lead.name,
            "baseline": lead.baseline,
            "adc_gain": lead.adc_gain,
            "num_samples": lead.num_samples,
        }
        for lead in recording.leads
    ]
    leads = orjson.dumps(described)
    digest = sha256(
        orjson.dumps([recording.date, recording.sampling_rate_hz, recording.unit, f"{width}le"]) + leads
    )
    for block in recording.blocks():
        digest.update(block.astype(width, copy=False).data)
    return _Said(leads, f"{width}-parts", digest.digest())
