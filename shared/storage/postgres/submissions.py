"""Insert submissions into PostgreSQL: many in one statement, each wholly or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.events import EcgKey
from shared.ports.ecgs import Receipt, Status, Submission
from shared.runtime.threads import in_thread
from shared.storage.postgres.header_column import HEADER_COLUMN_SQL, HEADER_VALUES_SQL, HeaderColumn
from shared.storage.signals.content_hash import content_hash
from shared.storage.signals.stored_ecg import encode_ecg, join_signals

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import asyncpg

    from shared.storage.pool.database import Connection
    from shared.storage.signals.stored_ecg import EncodedEcg

# Fewer samples are encoded and hashed within a millisecond, which needs no thread.
_INLINE_SAMPLES: Final = 200_000

# For the row of an erased ECG, beside the columns of the new submission.
SET_NEXT_GENERATION_SQL: Final = """
    generation = ecg.generation + 1, status = 'queued', attempts = 0, claimed_by = NULL, republished = 0,
    submitted_at = now(), finished_at = NULL
"""

# Negative where the clock of PostgreSQL was set back.
AGE_S_SQL: Final = "extract(epoch FROM now() - submitted_at)::float8 AS age_s"

# Large values are taken by their place in the array: `unnest` would copy them twice, to disk above 4 MB.
_SUBMISSIONS_SQL: Final = """
WITH submission AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::integer[], $5::text[])
        WITH ORDINALITY AS s (owner, id, content_hash, num_samples, traceparent, place)
)
"""
_INSERT_SIGNALS_SQL: Final = f"""
signal AS (
    INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples{HEADER_COLUMN_SQL})
    SELECT new.row, ($6::text[])[place], ($7::float8[])[place], ($8::text[])[place],
        ($9::text[])[place]::json, ($10::text[])[place], ($11::bytea[])[place]{HEADER_VALUES_SQL}
    FROM new JOIN submission USING (owner, id)
)
"""  # nosec B608 # noqa: S608 - only constants are pasted in

# It reads nothing of the table, so that its plan stays right while the table grows. Rows are inserted in
# order of their places, so that two transactions with the same ids can't deadlock.
_ADD: Final = f"""
{_SUBMISSIONS_SQL}, new AS (
    INSERT INTO ecg (owner, id, content_hash, num_samples, traceparent, due_at)
    SELECT owner, id, content_hash, num_samples, traceparent, now() + $12::float8 * interval '1 second'
    FROM submission ORDER BY place
    ON CONFLICT (owner, id) DO NOTHING
    RETURNING row, owner, id, generation, status, content_hash
), {_INSERT_SIGNALS_SQL}
SELECT owner, id, generation, status, content_hash, true AS is_new, 0.0::float8 AS age_s FROM new
"""  # nosec B608 # noqa: S608 - only constants are pasted in

# For ids that exist. An erased one begins its next generation. LIMIT makes each look-up one by its key,
# whatever the planner believes of the table's size. Rows are updated in their order, without a join, as those
# that are claimed are: see `STILL_QUEUED_SQL` in `shared.storage.postgres.ecgs`. The status is compared again
# under the row's lock: another submission may have brought the ECG back since it was found.
_PLACE_SQL: Final = "(ARRAY(SELECT place FROM present))[width_bucket(row, ARRAY(SELECT row FROM present))]"
_ADD_AGAIN: Final = f"""
{_SUBMISSIONS_SQL}, present AS MATERIALIZED (
    SELECT found.*, place FROM submission CROSS JOIN LATERAL (
        SELECT row, owner, id, generation, status, content_hash, {AGE_S_SQL} FROM ecg
        WHERE ecg.owner = submission.owner AND ecg.id = submission.id LIMIT 1
    ) AS found
    ORDER BY row
), new AS (
    UPDATE ecg SET {SET_NEXT_GENERATION_SQL},
        due_at = now() + $12::float8 * interval '1 second', content_hash = ($3::bytea[])[{_PLACE_SQL}],
        num_samples = ($4::integer[])[{_PLACE_SQL}], traceparent = ($5::text[])[{_PLACE_SQL}]
    WHERE row = ANY (ARRAY(SELECT row FROM present)) AND status = 'erased'
    RETURNING row, owner, id, generation, status, content_hash
), {_INSERT_SIGNALS_SQL}
SELECT owner, id, generation, status, content_hash, true AS is_new, 0.0::float8 AS age_s FROM new
UNION ALL
SELECT owner, id, generation, status, content_hash, false, age_s FROM present WHERE status <> 'erased'
"""  # nosec B608 # noqa: S608 - only constants are pasted in


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSubmission(Submission):
    """A submission with its stored form."""

    encoded_ecg: EncodedEcg
    content_hash: bytes


async def encode_submission(submission: Submission) -> EncodedSubmission:
    """The same submission, encoded; a large one in a thread."""
    if isinstance(submission, EncodedSubmission):
        return submission
    if submission.ecg.header.num_samples < _INLINE_SAMPLES:
        return _encode(submission)
    return await in_thread(_encode, submission)


async def add(
    connection: Connection,
    submissions: Sequence[EncodedSubmission],
    *,
    due_in_s: float,
    header_column: HeaderColumn,
) -> list[Receipt]:
    """Add as `shared.ports.ecgs.EcgStore.add` promises; of several with one id the first is kept."""
    firsts: dict[tuple[str, str], EncodedSubmission] = {}
    for submission in submissions:
        firsts.setdefault(_owner_and_id(submission), submission)
    rows = await _rows(connection, firsts.values(), due_in_s, header_column)
    return [
        _receipt(
            submission,
            rows[_owner_and_id(submission)],
            is_first=submission is firsts[_owner_and_id(submission)],
        )
        for submission in submissions
    ]


async def dry_run_add(connection: Connection) -> None:
    """Run the statement that adds submissions with none: PostgreSQL refuses it as it would a real one."""
    await HeaderColumn().fetch(connection, _ADD, *_columns([]), 0.0, header=[])


def _encode(submission: Submission) -> EncodedSubmission:
    ecg = submission.ecg
    joined = join_signals(ecg)
    return EncodedSubmission(
        submission.owner,
        ecg,
        submission.traceparent,
        encoded_ecg=encode_ecg(ecg.header, joined),
        content_hash=content_hash(ecg.header, joined),
    )


async def _rows(
    connection: Connection,
    submissions: Collection[EncodedSubmission],
    due_in_s: float,
    header_column: HeaderColumn,
) -> dict[tuple[str, str], asyncpg.Record]:
    """The row of each owner and id after adding."""
    rows: dict[tuple[str, str], asyncpg.Record] = {}
    missing = sorted(submissions, key=_owner_and_id)
    statement = _ADD
    while missing:  # another process may bring an erased one back, erase or prune it, before this one does
        headers = [submission.encoded_ecg.header.decode() for submission in missing]
        found = await header_column.fetch(connection, statement, *_columns(missing), due_in_s, header=headers)
        rows.update(((row["owner"], row["id"]), row) for row in found)
        missing = [submission for submission in missing if _owner_and_id(submission) not in rows]
        statement = _ADD_AGAIN if statement is _ADD else _ADD
    return rows


def _owner_and_id(submission: Submission) -> tuple[str, str]:
    return submission.owner, submission.ecg.header.id


def _columns(submissions: Sequence[EncodedSubmission]) -> tuple[list[object], ...]:
    headers = [submission.ecg.header for submission in submissions]
    ecgs = [submission.encoded_ecg for submission in submissions]
    return (
        [submission.owner for submission in submissions],
        [header.id for header in headers],
        [submission.content_hash for submission in submissions],
        [header.num_samples for header in headers],
        [submission.traceparent for submission in submissions],
        [header.date for header in headers],
        [header.sampling_rate_hz for header in headers],
        [header.unit for header in headers],
        [ecg.leads.decode() for ecg in ecgs],
        [ecg.samples.encoding for ecg in ecgs],
        [ecg.samples.data for ecg in ecgs],
    )


def _receipt(submission: EncodedSubmission, row: asyncpg.Record, *, is_first: bool) -> Receipt:
    return Receipt(
        EcgKey(*_owner_and_id(submission), row["generation"]),
        Status(row["status"]),
        is_new=row["is_new"] and is_first,
        is_conflict=row["content_hash"] != submission.content_hash,
        age_s=row["age_s"],
    )
