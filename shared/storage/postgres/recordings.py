"""Recordings in PostgreSQL: in parts, all of them in one transaction, and ECGs like any other then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.ecg import fits_int16
from shared.events import EcgKey
from shared.ports.ecgs import Receipt, Status
from shared.runtime.threads import in_thread
from shared.storage.postgres.database import RECORDINGS
from shared.storage.postgres.header_column import COLUMN, VALUE, HeaderColumn
from shared.storage.postgres.submissions import NEXT_GENERATION
from shared.storage.signals.headers import stored_encoding, stored_header, stored_leads
from shared.storage.signals.joined import hash_of_said
from shared.storage.signals.parts import write_parts

if TYPE_CHECKING:
    import asyncpg

    from shared.domain.recording import Recording
    from shared.ports.ecgs import RecordingSubmission
    from shared.storage.postgres.database import Connection, Database

# An announcement before the first is worked on would make it a second attempt.
_REPUBLISH_AFTER_S: Final = 60.0

_BEGIN: Final = "INSERT INTO recording DEFAULT VALUES RETURNING id"

# What keeping a recording asks of PostgreSQL beside keeping an ECG, with nothing to keep.
_ADD_NONE: Final = """
WITH recording AS (
    INSERT INTO recording (row) SELECT NULL::bigint WHERE false RETURNING id
), named AS (
    UPDATE recording SET row = NULL WHERE false
)
INSERT INTO recording_part (recording, part, num_samples, encoding, samples)
SELECT id, 0, 0, '', '' FROM recording
"""

_ADD: Final = f"""
INSERT INTO ecg (owner, id, content_hash, num_samples, traceparent, due_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6::float8 * interval '1 second')
ON CONFLICT (owner, id) DO UPDATE SET {NEXT_GENERATION},
    due_at = excluded.due_at, content_hash = excluded.content_hash, num_samples = excluded.num_samples,
    traceparent = excluded.traceparent
WHERE ecg.status = 'erased'
RETURNING row, generation
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

_ADD_SIGNAL: Final = f"""
WITH signal AS (
    INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples{COLUMN})
    VALUES ($1, $2, $3, $4, $5::json, $6, ''{VALUE})
)
UPDATE recording SET row = $1 WHERE id = $7
"""  # nosec B608 # noqa: S608 - only constants are pasted in

# By the hash, which only an erased ECG has not: see the same in postgres_owned_ecgs.
_HELD: Final = """
SELECT generation, status, content_hash FROM ecg WHERE owner = $1 AND id = $2 AND content_hash <> ''
"""


class _Said(NamedTuple):
    """What a recording comes to: its header and leads as stored, its encoding, and the hash of all of it."""

    header: bytes
    leads: bytes
    encoding: str
    content_hash: bytes


class _TakenError(Exception):
    """The id is another ECG's: what was written is to be rolled back."""


class PostgresRecordingStore:
    """`shared.ports.ecgs.RecordingStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._header_column = HeaderColumn()

    async def add(self, submission: RecordingSubmission) -> Receipt:
        said = await in_thread(_said, submission.recording)
        receipt = None
        async with self._database.connection(writes=RECORDINGS) as connection:
            while receipt is None:  # what held the id when all parts were there may be erased by then
                receipt = await _held(connection, submission, said)
                receipt = receipt or await self._added(connection, submission, said)
        return receipt

    async def _added(
        self, connection: Connection, submission: RecordingSubmission, said: _Said
    ) -> Receipt | None:
        """The receipt of what was kept; None, and nothing was, if the id is taken.

        The parts come first: whoever submits another ECG of this id meanwhile would else wait for them all.
        """
        header = submission.recording.header
        described = (header.date, header.sampling_rate_hz, header.unit, said.leads.decode(), said.encoding)
        try:
            async with connection.transaction():
                recording_id = await connection.fetchval(_BEGIN)
                await write_parts(connection, recording_id, submission.recording.blocks())
                row, generation = await _named(connection, submission, said)
                await self._header_column.fetch(
                    connection, _ADD_SIGNAL, row, *described, recording_id, header=said.header.decode()
                )
        except _TakenError:
            return None
        return Receipt(EcgKey(submission.owner, header.id, generation), Status.QUEUED, is_new=True)


async def add_no_recording(connection: Connection) -> None:
    """Have PostgreSQL keep no recording at all, which it refuses when it would refuse one."""
    await connection.execute(_ADD_NONE)


async def _named(connection: Connection, submission: RecordingSubmission, said: _Said) -> tuple[int, int]:
    """Make an ECG of parts that are there; its row and its generation."""
    header = submission.recording.header
    row = await connection.fetchrow(
        _ADD,
        submission.owner,
        header.id,
        said.content_hash,
        header.num_samples,
        submission.traceparent,
        _REPUBLISH_AFTER_S,
    )
    if row is None:
        raise _TakenError
    return row["row"], row["generation"]


async def _held(connection: Connection, submission: RecordingSubmission, said: _Said) -> Receipt | None:
    """The receipt of what is there already; None if that is gone."""
    ecg_id = submission.recording.header.id
    row: asyncpg.Record | None = await connection.fetchrow(_HELD, submission.owner, ecg_id)
    if row is None:
        return None
    return Receipt(
        EcgKey(submission.owner, ecg_id, row["generation"]),
        Status(row["status"]),
        is_conflict=row["content_hash"] != said.content_hash,
    )


def _said(recording: Recording) -> _Said:
    """What `shared.storage.signals.joined` says of an ECG with this content; reads all samples twice."""
    width = "int16" if all(map(fits_int16, recording.blocks())) else "int32"
    leads = stored_leads(recording.header)
    digest = hash_of_said(recording.header, leads, f"{width}le")
    for block in recording.blocks():
        digest.update(block.astype(width, copy=False).data)
    encoding = stored_encoding(recording.header, f"{width}-parts")
    return _Said(stored_header(recording.header, leads), leads, encoding, digest.digest())
