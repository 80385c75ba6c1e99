"""Timelines of ECGs, put together from their rows in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from shared.events import EcgKey, EventType, final_event_ids
from shared.observability.tracing import trace_id_of
from shared.ports.claim_ids import origin_of_claim
from shared.ports.ecgs import attempts_of_claims
from shared.ports.operators.timeline import UNFINISHED, Moment, Timeline
from shared.storage.postgres.operators.processes import find_processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from shared.ports.claim_ids import ClaimOrigin
    from shared.ports.event_source import EventSource
    from shared.ports.operators.processes import RunningProcess
    from shared.storage.pool.database import Connection, Database

_ECG: Final = """
SELECT row, generation, status, attempts, claimed_by, republished, due_at, error, traceparent, submitted_at,
    finished_at
FROM ecg WHERE owner = $1 AND id = $2
"""

# Schemas from before 0011 lack the columns: there the names are those of `absent`.
_PAST_GENERATIONS: Final = """
SELECT past.* FROM (SELECT NULL::text AS past_error, NULL::timestamptz AS past_finished_at) AS absent
CROSS JOIN LATERAL (
    SELECT generation, past_error, past_finished_at FROM ecg_insights WHERE row = $1 AND generation < $2
) AS past
ORDER BY generation
"""

_REPLAYS: Final = """
SELECT at, who, why, (named.key ->> 2)::integer AS generation
FROM operation CROSS JOIN LATERAL json_array_elements(subject -> 'ecgs') AS named (key)
WHERE what = 'replay' AND named.key ->> 0 = $1 AND named.key ->> 1 = $2
ORDER BY at
"""

# Schemas from before 0015 have no such table; a role that was granted its privileges before has none on it.
_MAY_READ_ATTEMPTS: Final = "SELECT coalesce(has_table_privilege(to_regclass('attempt'), 'SELECT'), false)"
_ATTEMPTS: Final = """
SELECT generation, attempt, claimed_by, reason, extract(epoch FROM now() - noted_at)::float8 AS noted_s
FROM attempt WHERE row = $1 ORDER BY generation, attempt
"""

# Likewise of schemas from before 0025. Deliveries stay when an ECG is erased: another of its id has some of
# earlier generations.
_MAY_READ_DELIVERIES: Final = (
    "SELECT coalesce(has_table_privilege(to_regclass('webhook_delivery'), 'SELECT'), false)"
)
_DELIVERIES: Final = """
SELECT webhook, type, generation, state, attempts, coalesce(last_attempt_at, created_at) AS at, error
FROM webhook_delivery WHERE owner = $1 AND ecg = $2 AND generation >= $3 ORDER BY row
"""
# So much of a webhook's id tells those of an installation apart.
_SHOWN_OF_ID: Final = 8

# A process says every 5 s that it is there; one that was killed may have done so just before.
_LIVED_ON_S: Final = 10.0

# Of what happens to one generation.
_PLACES: Final = (
    "submitted",
    "replayed",
    "attempt",
    "queued",
    "completed",
    "failed",
    "unpublished",
    "webhook",
    "erased",
)

# The outbox is small, unless RabbitMQ is away: then this reads all of it. Its bodies hold results, and are no
# business of an operator.
_UNPUBLISHED: Final = """
SELECT event_ids, created_at, republished, due_at FROM outbox
WHERE event_ids && $1::uuid[] ORDER BY created_at
"""


class _Attempt(NamedTuple):
    """An attempt at an ECG.

    Attributes:
        claimed_by: The id of its claim.
        reason: Why it had no result; None if it had one.
        noted_s: How long ago that was noted.
    """

    generation: int
    number: int
    claimed_by: UUID
    reason: str | None
    noted_s: float = 0.0

    @property
    def place(self) -> tuple[int, int]:
        return self.generation, self.number


class PostgresTimelines:
    """`shared.ports.operators.timeline.Timelines` on PostgreSQL.

    Args:
        event_source: Of the events of this installation; their ids are made of it.
    """

    def __init__(self, database: Database, event_source: EventSource) -> None:
        self._database = database
        self._event_source = event_source

    async def read(self, owner: str, ecg_id: str) -> Timeline | None:
        source = await self._event_source.uri()
        async with self._database.connection() as connection:
            ecg = await connection.fetchrow(_ECG, owner, ecg_id)
            if ecg is None:
                return None
            past = await connection.fetch(_PAST_GENERATIONS, ecg["row"], ecg["generation"])
            replays = await connection.fetch(_REPLAYS, owner, ecg_id)
            attempts = await _read_attempts(connection, ecg)
            generations = {
                event_id: generation
                for generation in (*(row["generation"] for row in past), ecg["generation"])
                for event_id in final_event_ids(EcgKey(owner, ecg_id, generation), source=source)
            }
            unpublished = await connection.fetch(_UNPUBLISHED, list(generations))
            replays = [replay for replay in replays if replay["at"] >= ecg["submitted_at"]]
            first_generation = ecg["generation"] - len(replays)
            sent, sent_at_last = await _read_deliveries(connection, owner, ecg_id, first_generation)
        moments = [
            Moment(ecg["submitted_at"], "submitted", first_generation),
            *map(_past, past),
            *(Moment(each["at"], "replayed", each["generation"], _by(each)) for each in replays),
            *attempts,
            _present(ecg),
            *_unpublished(unpublished, generations),
            *sent,
        ]
        return Timeline([*sorted(moments, key=_order), *sent_at_last], trace_id_of(ecg["traceparent"]))


async def _read_attempts(connection: Connection, ecg: asyncpg.Record) -> list[Moment]:
    attempts: list[_Attempt] = []
    if await connection.fetchval(_MAY_READ_ATTEMPTS):
        attempts = [_Attempt(*row) for row in await connection.fetch(_ATTEMPTS, ecg["row"])]
    last = _last_attempt(ecg)
    if last is not None and last.place not in {attempt.place for attempt in attempts}:
        attempts.append(last)
    origins = {attempt.claimed_by: origin_of_claim(attempt.claimed_by) for attempt in attempts}
    ids = {origin.process_id for origin in origins.values() if origin is not None}
    processes = await find_processes(connection, ids)
    return [_attempt_moment(attempt, origins[attempt.claimed_by], processes) for attempt in attempts]


def _last_attempt(ecg: asyncpg.Record) -> _Attempt | None:
    """The one that the row of the ECG tells of."""
    if ecg["claimed_by"] is None or ecg["status"] == "erased":
        return None
    if attempts_of_claims(ecg["attempts"], ecg["error"]) < ecg["attempts"]:
        return None  # it gave the ECG up
    reason = "no result yet" if ecg["finished_at"] is None else None
    return _Attempt(ecg["generation"], ecg["attempts"], ecg["claimed_by"], reason)


def _attempt_moment(
    attempt: _Attempt, origin: ClaimOrigin | None, processes: Mapping[UUID, RunningProcess]
) -> Moment:
    by = "by a process of an earlier release" if origin is None else _name(origin.process_id, processes)
    reason = f": {attempt.reason}" if attempt.reason else ""
    if attempt.reason == UNFINISHED and origin is not None and origin.process_id in processes:
        reason += f"; {_fate(processes[origin.process_id], attempt.noted_s)}"
    at = None if origin is None else origin.began_at
    return Moment(at, "attempt", attempt.generation, f"{attempt.number} {by}{reason}")


def _name(process_id: UUID, processes: Mapping[UUID, RunningProcess]) -> str:
    if process_id not in processes:
        return f"by process {process_id}"
    presence = processes[process_id].presence
    return f"by {presence.name}, {presence.release}"


def _fate(process: RunningProcess, noted_s: float) -> str:
    """What became of a process whose attempt had no result when the next one began, so long ago."""
    if noted_s - process.seen_s > _LIVED_ON_S:
        return "its process lived on: it gave the ECG back, or was slower"
    if process.ended_at is not None:
        return f"its process left at {process.ended_at:%H:%M:%S}"
    return f"its process was last heard of at {process.seen_at:%H:%M:%S}"


async def _read_deliveries(
    connection: Connection, owner: str, ecg_id: str, first_generation: int
) -> tuple[list[Moment], list[Moment]]:
    """What webhooks sent of an ECG: its results, and that it was erased."""
    if not await connection.fetchval(_MAY_READ_DELIVERIES):
        return [], []
    rows = await connection.fetch(_DELIVERIES, owner, ecg_id, first_generation)
    return (
        [_delivery_moment(row) for row in rows if row["type"] != EventType.DELETED],
        [_delivery_moment(row) for row in rows if row["type"] == EventType.DELETED],
    )


def _delivery_moment(row: asyncpg.Record) -> Moment:
    attempts = f"{row['attempts']} attempt{'' if row['attempts'] == 1 else 's'}"
    return Moment(
        row["at"],
        "webhook",
        row["generation"],
        f"{str(row['webhook'])[:_SHOWN_OF_ID]}: {row['type']} {row['state']} after {attempts}"
        + (f": {row['error']}" if row["error"] else ""),
    )


def _past(row: asyncpg.Record) -> Moment:
    what = "completed" if row["past_error"] is None else "failed"
    return Moment(row["past_finished_at"], what, row["generation"], row["past_error"] or "")


def _present(ecg: asyncpg.Record) -> Moment:
    made = attempts_of_claims(ecg["attempts"], ecg["error"])
    attempts = f"after {made} attempt{'' if made == 1 else 's'}"
    if ecg["finished_at"] is None:
        return Moment(None, "queued", ecg["generation"], f"{attempts}, {_due(ecg)}")
    detail = "" if ecg["status"] == "erased" else attempts
    return Moment(
        ecg["finished_at"],
        ecg["status"],
        ecg["generation"],
        f"{detail}: {ecg['error']}" if ecg["error"] else detail,
    )


def _unpublished(batches: Sequence[asyncpg.Record], generations: Mapping[UUID, int]) -> Iterator[Moment]:
    for batch in batches:
        for event_id in generations.keys() & batch["event_ids"]:
            yield Moment(batch["created_at"], "unpublished", generations[event_id], _due(batch))


def _by(replay: asyncpg.Record) -> str:
    return f"by {replay['who']}: {replay['why']}"


def _due(row: asyncpg.Record) -> str:
    return f"published again {row['republished']} times, and next at {row['due_at']:%H:%M:%S}"


def _order(moment: Moment) -> tuple[int, int]:
    return moment.generation, _PLACES.index(moment.what)
