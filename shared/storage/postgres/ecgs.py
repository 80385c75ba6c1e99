"""ECGs in PostgreSQL: one statement per operation, so that each is executed wholly or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

import orjson

from shared.domain.errors import InvalidEcgError
from shared.events import EcgKey, EventBatch, EventType, time_of
from shared.ports.ecgs import Claim, Claims, EcgState, Status
from shared.ports.operators.timeline import UNFINISHED
from shared.ports.outbox import FIRST_DUE_AFTER_S
from shared.storage.pool.database import ASYNC_COMMIT_SQL, RESULTS, SUBMISSIONS
from shared.storage.postgres.event_log_writing import WritableEventLog, logged_traceparents
from shared.storage.postgres.header_column import HeaderColumn
from shared.storage.postgres.submissions import add, encode_submission
from shared.storage.signals.headers import decode_header, encoding_without_mark
from shared.storage.signals.recording_parts import DTYPES_OF_PARTS, read_parts
from shared.storage.signals.samples import EncodedSamples
from shared.storage.signals.stored_ecg import decode_ecg, ecg_of_joined_samples

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    import asyncpg

    from shared.domain.ecg import Ecg, Samples
    from shared.ports.ecgs import Receipt, Settlement, StoredEcg, Submission
    from shared.storage.pool.database import Connection, Database

# How statements here reach their rows, so that their plans depend on no statistics:
#
# * By the unique key or by the primary key, one look-up per key: LATERAL with LIMIT can't become a join that
#   reads a whole index, as one does for a table that was empty when the plan was made.
# * Queued is tested as `finished_at IS NULL`, which a CHECK makes equivalent. `status = 'queued'` would also
#   fit the partial indexes: through one a claim read all that its owner had queued, 129 pages for each key.

# While an ECG is queued, its results are those of its last finished generation, if there is one.
#
# Schemas from before 0011 lack the columns `past_...`: there the names are those of `absent`.
NULL_PAST_COLUMNS_SQL: Final = """
(SELECT NULL::text AS past_error, NULL::timestamptz AS past_finished_at) AS absent
"""

_FIND: Final = f"""
SELECT ecg.owner, ecg.id, ecg.status, found.document, ecg.error, ecg.generation, ecg.submitted_at,
    ecg.finished_at, signal.date, signal.sampling_rate_hz, signal.unit,
    found.generation AS past_generation, found.past_error, found.past_finished_at
FROM unnest($1::text[], $2::text[]) AS wanted (owner, id)
CROSS JOIN {NULL_PAST_COLUMNS_SQL}
CROSS JOIN LATERAL (
    SELECT row, owner, id, generation, status, error, submitted_at, finished_at FROM ecg
    WHERE ecg.owner = wanted.owner AND ecg.id = wanted.id LIMIT 1
) AS ecg
LEFT JOIN LATERAL (
    SELECT date, sampling_rate_hz, unit FROM ecg_signal WHERE row = ecg.row LIMIT 1
) AS signal ON true
LEFT JOIN LATERAL (
    SELECT generation, document, past_error, past_finished_at FROM ecg_insights
    WHERE row = ecg.row
        AND generation >= CASE WHEN ecg.finished_at IS NULL THEN 1 ELSE ecg.generation END
    ORDER BY generation DESC LIMIT 1
) AS found ON true
WHERE ecg.status <> 'erased'
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

# Which of these are queued, in the order of their rows. Writes to them need not reach the disk at once: a
# crash of PostgreSQL may lose a claim, and so an attempt, or have an ECG announced again sooner.
FOUND_QUEUED_SQL: Final = f"""
WITH found AS MATERIALIZED (
    SELECT ecg.row, ecg.owner, ecg.id, ecg.generation
    FROM unnest($1::text[], $2::text[], $3::integer[]) AS key (owner, id, generation)
    CROSS JOIN {ASYNC_COMMIT_SQL}
    CROSS JOIN LATERAL (
        SELECT row, owner, id, generation, finished_at FROM ecg
        WHERE ecg.owner = key.owner AND ecg.id = key.id LIMIT 1
    ) AS ecg
    WHERE ecg.generation = key.generation AND ecg.finished_at IS NULL
    ORDER BY ecg.row
)
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

# Updates check the condition again under row locks: an ECG may have been finished or replayed since it was
# found. An index scan takes the members of an array in order, so that two processors with the same ECGs can't
# deadlock; `width_bucket` finds a row's place in the array by bisection.
#
# Nothing is joined to the updated rows: the planner takes them for one row and would scan the whole batch for
# each, which took 140 of 166 us for each of 512.
STILL_QUEUED_SQL: Final = """
row = ANY (ARRAY(SELECT row FROM found)) AND finished_at IS NULL
AND generation = (ARRAY(SELECT generation FROM found))[width_bucket(row, ARRAY(SELECT row FROM found))]
"""

# Rows from before migration 0010 have no header, and the schema before it has no such column: then the name
# refers to the NULL column of the outer query.
_NULL_HEADER_SQL: Final = "NULL::json AS header"
_SIGNAL_COLUMNS_SQL: Final = """
coalesce(header, json_build_object(
    'date', date, 'sampling_rate_hz', sampling_rate_hz, 'unit', unit, 'leads', leads
)) AS header, encoding, samples
"""

# Migration 0015 made the table, and a role that was granted its privileges before has none on it.
MAY_NOTE_ATTEMPTS: Final = """
SELECT coalesce(bool_and(has_table_privilege(to_regclass('attempt'), privilege)), false)
FROM unnest(ARRAY['SELECT', 'INSERT']) AS privilege
"""
INSERT_ATTEMPTS_SQL: Final = "INSERT INTO attempt (row, generation, attempt, claimed_by, reason)"

# An attempt is counted once per claim id, since a claim is repeated if its answer is lost. The signals of the
# first ECGs, up to $6 samples together, are returned with it, which saves a round trip.
_COUNT_ATTEMPT_SQL: Final = f"""
claimed AS (
    UPDATE ecg SET
        attempts = attempts + (claimed_by IS DISTINCT FROM $4)::integer, claimed_by = $4
    WHERE {STILL_QUEUED_SQL} AND (attempts = 0 OR claimed_by = $4 OR $5)
    RETURNING row, owner, id, generation, attempts, num_samples, traceparent,
        extract(epoch FROM now() - submitted_at)::float8 AS age_s
)
"""  # nosec B608 # noqa: S608 - only the constant above is pasted in
_CLAIMED_SQL: Final = f"""
SELECT summed.row, owner, id, generation, attempts, num_samples, traceparent, age_s, signal.*
FROM (
    SELECT *, {_NULL_HEADER_SQL}, sum(num_samples) OVER (ORDER BY row) AS samples_so_far FROM claimed
) AS summed
LEFT JOIN LATERAL (
    SELECT {_SIGNAL_COLUMNS_SQL} FROM ecg_signal WHERE row = summed.row AND samples_so_far <= $6 LIMIT 1
) AS signal ON true
UNION ALL
SELECT row, owner, id, generation, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM found
WHERE row NOT IN (SELECT row FROM claimed)
"""  # nosec B608 # noqa: S608 - only the constants above are pasted in
_CLAIM: Final = f"{FOUND_QUEUED_SQL}, {_COUNT_ATTEMPT_SQL} {_CLAIMED_SQL}"

# Of ECGs that were tried before: also notes that the attempt before has no result yet, unless it is noted why
# it failed. If another process claimed the ECG since the snapshot of this statement, the attempt before is
# that one's, which is not known here.
_CLAIM_AGAIN: Final = f"""
{FOUND_QUEUED_SQL}, tried AS MATERIALIZED (
    SELECT row, attempts, claimed_by FROM ecg
    WHERE row = ANY (ARRAY(SELECT row FROM found)) AND claimed_by <> $4
), {_COUNT_ATTEMPT_SQL}, unfinished AS (
    {INSERT_ATTEMPTS_SQL}
    SELECT row, claimed.generation, tried.attempts, tried.claimed_by, '{UNFINISHED}'
    FROM claimed JOIN tried USING (row)
    WHERE tried.attempts = claimed.attempts - 1
    ON CONFLICT DO NOTHING
)
{_CLAIMED_SQL}
"""  # nosec B608 # noqa: S608 - only the constants above are pasted in

_LOAD: Final = f"""
SELECT signal.* FROM (SELECT {_NULL_HEADER_SQL}) AS absent
CROSS JOIN LATERAL (SELECT row, {_SIGNAL_COLUMNS_SQL} FROM ecg_signal WHERE row = ANY($1::bigint[])) AS signal
"""  # nosec B608 # noqa: S608 - only the constants above are pasted in

# In row order; the values of each row are taken by its place in the array. `IS TRUE` keeps the planner from a
# join with the updated rows, see `STILL_QUEUED_SQL`.
_SETTLE_SQL: Final = """
WITH settled AS (
    UPDATE ecg SET
        status = CASE WHEN ($4::text[])[width_bucket(row, $1)] IS NULL THEN 'completed' ELSE 'failed' END,
        error = ($4::text[])[width_bucket(row, $1)], due_at = NULL, finished_at = now()
    WHERE row = ANY ($1::bigint[]) AND finished_at IS NULL
        AND generation = ($2::integer[])[width_bucket(row, $1)]
    RETURNING row, owner, id, generation, error
), documents AS (
    INSERT INTO ecg_insights (row, generation, document)
    SELECT row, generation, document::json
    FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS measured (row, generation, document)
    WHERE document IS NOT NULL AND (row IN (SELECT row FROM settled)) IS TRUE
), events AS (
    INSERT INTO outbox (bundle_id, event_ids, types, bodies, due_at)
    SELECT $8, array_agg(id), array_agg(type), array_agg(body), now() + $9::float8 * interval '1 second'
    FROM unnest($1::bigint[], $5::uuid[], $6::text[], $7::bytea[]) AS event (row, id, type, body)
    WHERE (row IN (SELECT row FROM settled)) IS TRUE
    HAVING count(*) > 0
){logged}
SELECT row FROM settled
"""
_LOGGED_SQL: Final = f""", logged AS (
    INSERT INTO event_log (at, types, owners, ids, generations, traceparents)
    SELECT $10::timestamptz,
        array_agg(CASE WHEN error IS NULL THEN '{EventType.PROCESSED}' ELSE '{EventType.FAILED}' END),
        array_agg(owner), array_agg(id), array_agg(generation),
        CASE WHEN $11::text[] IS NOT NULL THEN array_agg(($11::text[])[width_bucket(row, $1)]) END
    FROM settled HAVING count(*) > 0
)
"""  # nosec B608 # noqa: S608 - only constants are pasted in
_SETTLE: Final = _SETTLE_SQL.format(logged="")
_SETTLE_AND_LOG: Final = _SETTLE_SQL.format(logged=_LOGGED_SQL)

_POSTPONE_SQL: Final = f"""
UPDATE ecg SET due_at = now() + $4::float8 * interval '1 second' WHERE {STILL_QUEUED_SQL}
"""  # nosec B608 # noqa: S608 - only a constant is pasted in
_POSTPONE: Final = f"{FOUND_QUEUED_SQL} {_POSTPONE_SQL}"
_POSTPONE_AND_NOTE: Final = f"""
{FOUND_QUEUED_SQL}, postponed AS (
    {_POSTPONE_SQL} RETURNING row, generation, attempts, claimed_by
)
{INSERT_ATTEMPTS_SQL}
SELECT row, generation, attempts, claimed_by, $5 FROM postponed WHERE claimed_by IS NOT NULL
ON CONFLICT DO NOTHING
"""  # nosec B608 # noqa: S608 - only constants are pasted in

# Only queued ECGs have a due time, and the index on it holds no others.
_COUNT_QUEUED: Final = "SELECT count(*) FROM (SELECT FROM ecg WHERE due_at IS NOT NULL LIMIT $1) AS queued"


class PostgresEcgStore:
    """`shared.ports.ecgs.EcgStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._header_column = HeaderColumn()
        self._event_log = WritableEventLog()

    async def prepare(self, submission: Submission) -> Submission:
        return await encode_submission(submission)

    async def add(self, submissions: Sequence[Submission]) -> list[Receipt]:
        every = [await encode_submission(submission) for submission in submissions]
        async with self._database.connection(writes=SUBMISSIONS) as connection:
            return await add(connection, every, due_in_s=FIRST_DUE_AFTER_S, header_column=self._header_column)

    async def find(self, owned: Sequence[tuple[str, str]]) -> dict[tuple[str, str], EcgState]:
        owners, ids = [owner for owner, _ in owned], [ecg_id for _, ecg_id in owned]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND, owners, ids)
        return {(row["owner"], row["id"]): _state(row) for row in rows}

    async def claim(
        self, keys: Collection[EcgKey], *, claim_id: UUID, tried_before: bool = False, load_samples: int = 0
    ) -> Claims:
        async with self._database.connection() as connection:
            notes = tried_before and await connection.fetchval(MAY_NOTE_ATTEMPTS)
            statement = _CLAIM_AGAIN if notes else _CLAIM
            rows = await connection.fetch(statement, *key_arrays(keys), claim_id, tried_before, load_samples)
        now_s = time.monotonic()
        claimed = [(_claim(row, now_s), row) for row in rows if row["attempts"] is not None]
        return Claims(
            claimed=[claim for claim, _ in claimed],
            tried_before=[_key(row) for row in rows if row["attempts"] is None],
            loaded={
                claim.key: _StoredEcg(claim.key.id, row, None)
                for claim, row in claimed
                if not (row["encoding"] is None or _has_parts(row))
            },
        )

    async def count_queued(self, limit: int) -> int:
        async with self._database.connection() as connection:
            queued: int = await connection.fetchval(_COUNT_QUEUED, limit)
        return queued

    async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
        keys = {claim.row: claim.key for claim in claims}
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LOAD, list(keys))
            samples = {
                row["row"]: await _read_recording_samples(connection, row) for row in rows if _has_parts(row)
            }
        return {
            keys[row["row"]]: _StoredEcg(keys[row["row"]].id, row, samples.get(row["row"])) for row in rows
        }

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        if any(settlement.series for settlement in settlements):
            raise NotImplementedError("PostgreSQL keeps no series yet, and none may be lost.")
        in_order = sorted(settlements, key=lambda settlement: settlement.claim.row)
        batch_id = uuid4()
        # A check settles none, which writes nothing and says nothing of real writes.
        async with (
            self._database.connection(writes=RESULTS if settlements else "") as connection,
            self._event_log.check(connection) as is_logged,
        ):
            columns = *_settlement_columns(in_order), batch_id, FIRST_DUE_AFTER_S
            if is_logged:
                traceparents = logged_traceparents([each.claim.traceparent for each in in_order])
                at = time_of(in_order[0].event) if in_order else None  # they were made together
                rows = await connection.fetch(_SETTLE_AND_LOG, *columns, at, traceparents)
            else:
                rows = await connection.fetch(_SETTLE, *columns)
        settled = {row["row"] for row in rows}
        return EventBatch(batch_id, [each.event for each in in_order if each.claim.row in settled])

    async def postpone(self, keys: Collection[EcgKey], *, delay_s: float, reason: str) -> None:
        async with self._database.connection() as connection:
            if await connection.fetchval(MAY_NOTE_ATTEMPTS):
                await connection.execute(_POSTPONE_AND_NOTE, *key_arrays(keys), delay_s, reason)
            else:
                await connection.execute(_POSTPONE, *key_arrays(keys), delay_s)


class _StoredEcg(NamedTuple):
    """`shared.ports.ecgs.StoredEcg` on PostgreSQL.

    Attributes:
        recording_samples: None if the row has the samples itself, and not in parts.
    """

    ecg_id: str
    row: asyncpg.Record
    recording_samples: Samples | InvalidEcgError | None

    def decode(self) -> Ecg:
        header = self.row["header"].encode()
        if isinstance(self.recording_samples, InvalidEcgError):
            raise self.recording_samples
        if self.recording_samples is not None:
            return ecg_of_joined_samples(decode_header(self.ecg_id, header), self.recording_samples)
        return decode_ecg(self.ecg_id, header, EncodedSamples(self.row["encoding"], self.row["samples"]))


def key_arrays(keys: Iterable[EcgKey]) -> tuple[list[str], list[str], list[int]]:
    """The keys as three arrays for ``unnest``: owners, ids, generations."""
    every = list(keys)
    return [key.owner for key in every], [key.id for key in every], [key.generation for key in every]


def _key(row: asyncpg.Record) -> EcgKey:
    return EcgKey(row["owner"], row["id"], row["generation"])


def _claim(row: asyncpg.Record, now_s: float) -> Claim:
    # By place, which takes half as long as by name.
    row_id, owner, ecg_id, generation, attempts, num_samples, traceparent, age_s = row[:8]
    return Claim(
        row_id, EcgKey(owner, ecg_id, generation), attempts, num_samples, traceparent, stored_s=now_s - age_s
    )


def _state(row: asyncpg.Record) -> EcgState:
    _, ecg_id, status, document, *rest = row[:11]  # by place: a GET takes 1 us less than by name
    state = EcgState(ecg_id, Status(status), document.encode() if document else None, *rest)
    return state if state.status is not Status.QUEUED or document is None else _last_finished(state, row)


def _last_finished(state: EcgState, row: asyncpg.Record) -> EcgState:
    error = row["past_error"]
    return state._replace(
        status=Status.COMPLETED if error is None else Status.FAILED,
        document=state.document if error is None else None,
        error=error,
        generation=row["past_generation"],
        completed_at=row["past_finished_at"],
        reanalysis=state.status,
    )


def _has_parts(row: asyncpg.Record) -> bool:
    return encoding_without_mark(row["encoding"]) in DTYPES_OF_PARTS


async def _read_recording_samples(connection: Connection, row: asyncpg.Record) -> Samples | InvalidEcgError:
    """A recording's samples, or why they can't be read."""
    try:
        header = decode_header("", row["header"].encode())
        dtype = DTYPES_OF_PARTS[encoding_without_mark(row["encoding"])]
        return await read_parts(connection, row["row"], dtype, header.num_samples)
    except InvalidEcgError as error:
        return error


def _settlement_columns(settlements: Sequence[Settlement]) -> tuple[list[object], ...]:
    return (
        [settlement.claim.row for settlement in settlements],
        [settlement.claim.key.generation for settlement in settlements],
        [_json(settlement.document) for settlement in settlements],
        [settlement.error for settlement in settlements],
        [settlement.event.id for settlement in settlements],
        [settlement.event.type for settlement in settlements],
        [settlement.event.body for settlement in settlements],
    )


def _json(document: object) -> str | None:
    return None if document is None else orjson.dumps(document).decode()
