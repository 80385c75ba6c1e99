"""Insert recordings into PostgreSQL in parts, in one transaction; then they are ECGs like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.ecg import fits_int16
from shared.events import EcgKey
from shared.ports.ecgs import Receipt, Status
from shared.ports.outbox import RECORDING_FIRST_DUE_AFTER_S
from shared.runtime.threads import in_thread
from shared.storage.pool.database import RECORDINGS
from shared.storage.postgres.header_column import HEADER_COLUMN_SQL, HEADER_VALUE_SQL, HeaderColumn
from shared.storage.postgres.submissions import AGE_S_SQL, SET_NEXT_GENERATION_SQL
from shared.storage.signals.content_hash import hash_of_header
from shared.storage.signals.headers import encode_header, encode_leads, encoding_marked_against_old_releases
from shared.storage.signals.recording_parts import write_parts

if TYPE_CHECKING:
    import asyncpg

    from shared.domain.recording import Recording
    from shared.ports.ecgs import RecordingSubmission
    from shared.storage.pool.database import Connection, Database

_BEGIN: Final = "INSERT INTO recording DEFAULT VALUES RETURNING id"

# What adding a recording asks of PostgreSQL beside adding an ECG, with no row to add.
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
ON CONFLICT (owner, id) DO UPDATE SET {SET_NEXT_GENERATION_SQL},
    due_at = excluded.due_at, content_hash = excluded.content_hash, num_samples = excluded.num_samples,
    traceparent = excluded.traceparent
WHERE ecg.status = 'erased'
RETURNING row, generation
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

_ADD_SIGNAL: Final = f"""
WITH signal AS (
    INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples{HEADER_COLUMN_SQL})
    VALUES ($1, $2, $3, $4, $5::json, $6, ''{HEADER_VALUE_SQL})
)
UPDATE recording SET row = $1 WHERE id = $7
"""  # nosec B608 # noqa: S608 - only constants are pasted in

# By the hash, which is empty only of an erased ECG: see `_LOCK` in `shared.storage.postgres.owned_ecgs`.
_HELD: Final = f"""
SELECT generation, status, content_hash, {AGE_S_SQL} FROM ecg
WHERE owner = $1 AND id = $2 AND content_hash <> ''
"""  # nosec B608 # noqa: S608 - only constants are pasted in


class _EncodedRecording(NamedTuple):
    """The stored form of a recording: its header and leads, its encoding, and the hash of all content."""

    header: bytes
    leads: bytes
    encoding: str
    content_hash: bytes


class _IdTakenError(Exception):
    """Another ECG has the id: roll back."""


class PostgresRecordingStore:
    """`shared.ports.ecgs.RecordingStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._header_column = HeaderColumn()

    async def add(self, submission: RecordingSubmission) -> Receipt:
        encoded = await in_thread(_encode_recording, submission.recording)
        receipt = None
        async with self._database.connection(writes=RECORDINGS) as connection:
            while receipt is None:  # an ECG that had the id when all parts were written may be erased by now
                receipt = await _find_existing(connection, submission, encoded)
                receipt = receipt or await self._insert(connection, submission, encoded)
        return receipt

    async def _insert(
        self, connection: Connection, submission: RecordingSubmission, encoded: _EncodedRecording
    ) -> Receipt | None:
        """The receipt of the recording; None, with nothing stored, if the id is taken.

        The parts come first: else another submission with this id would wait until all of them are written.
        """
        header = submission.recording.header
        described = (
            header.date,
            header.sampling_rate_hz,
            header.unit,
            encoded.leads.decode(),
            encoded.encoding,
        )
        try:
            async with connection.transaction():
                recording_id = await connection.fetchval(_BEGIN)
                await write_parts(connection, recording_id, submission.recording.blocks())
                row, generation = await _insert_ecg(connection, submission, encoded)
                await self._header_column.fetch(
                    connection, _ADD_SIGNAL, row, *described, recording_id, header=encoded.header.decode()
                )
        except _IdTakenError:
            return None
        return Receipt(EcgKey(submission.owner, header.id, generation), Status.QUEUED, is_new=True)


async def dry_run_add_recording(connection: Connection) -> None:
    """Run the statement that adds a recording with none: PostgreSQL refuses it as it would a real one."""
    await connection.execute(_ADD_NONE)


async def _insert_ecg(
    connection: Connection, submission: RecordingSubmission, encoded: _EncodedRecording
) -> tuple[int, int]:
    """Insert the ECG of parts that are written; its row and its generation."""
    header = submission.recording.header
    row = await connection.fetchrow(
        _ADD,
        submission.owner,
        header.id,
        encoded.content_hash,
        header.num_samples,
        submission.traceparent,
        RECORDING_FIRST_DUE_AFTER_S,
    )
    if row is None:
        raise _IdTakenError
    return row["row"], row["generation"]


async def _find_existing(
    connection: Connection, submission: RecordingSubmission, encoded: _EncodedRecording
) -> Receipt | None:
    """The receipt of the ECG that has the id; None if there is none."""
    ecg_id = submission.recording.header.id
    row: asyncpg.Record | None = await connection.fetchrow(_HELD, submission.owner, ecg_id)
    if row is None:
        return None
    return Receipt(
        EcgKey(submission.owner, ecg_id, row["generation"]),
        Status(row["status"]),
        is_conflict=row["content_hash"] != encoded.content_hash,
        age_s=row["age_s"],
    )


def _encode_recording(recording: Recording) -> _EncodedRecording:
    """The stored form, with the content hash of an ECG with the same content; reads all samples twice."""
    width = "int16" if all(map(fits_int16, recording.blocks())) else "int32"
    leads = encode_leads(recording.header)
    digest = hash_of_header(recording.header, leads, f"{width}le")
    for block in recording.blocks():
        digest.update(block.astype(width, copy=False).data)
    encoding = encoding_marked_against_old_releases(recording.header, f"{width}-parts")
    return _EncodedRecording(encode_header(recording.header, leads), leads, encoding, digest.digest())
