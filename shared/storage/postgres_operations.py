"""What operators do to ECGs by hand, each act recorded with who, when and why in the same transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from shared.events import EcgKey

if TYPE_CHECKING:
    from datetime import datetime

    from shared.storage.postgres import Database

_PAGE: Final = 1000

# $1 id, $2 owner, $3 failed only, $4 finished since; null is no condition.
_SELECTED: Final = """
status IN ('completed', 'failed') AND id = coalesce($1, id) AND owner = coalesce($2, owner)
    AND (NOT $3 OR status = 'failed') AND finished_at >= coalesce($4, finished_at)
"""

_COUNT: Final = f"SELECT count(*) FROM ecg WHERE {_SELECTED}"  # nosec B608 # noqa: S608 - a constant

# Finished before the replay began: what the processors finish meanwhile is not replayed once more.
_REPLAY: Final = f"""
WITH chosen AS MATERIALIZED (
    SELECT row FROM ecg WHERE {_SELECTED} AND finished_at < $5
    ORDER BY row LIMIT {_PAGE} FOR NO KEY UPDATE
)
UPDATE ecg SET generation = generation + 1, status = 'queued', attempts = 0, republished = 0,
    claimed_by = NULL, error = NULL, finished_at = NULL, due_at = now()
FROM chosen WHERE ecg.row = chosen.row AND status IN ('completed', 'failed')
RETURNING owner, id, generation
"""  # nosec B608 # noqa: S608 - only the constants above are pasted in

_RECORD: Final = "INSERT INTO operation (who, why, what, subject) VALUES ($1, $2, $3, $4::json)"


class Reason(NamedTuple):
    """Who does something to production, and why."""

    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which finished ECGs are meant: those that every given condition fits."""

    id: str | None = None
    owner: str | None = None
    failed: bool = False
    since: datetime | None = None


class PostgresOperations:
    """Replay and its record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, selection: Selection) -> int:
        """How many finished ECGs a selection means."""
        async with self._database.connection() as connection:
            count: int = await connection.fetchval(_COUNT, *_conditions(selection))
        return count

    async def replay(self, selection: Selection, reason: Reason) -> list[EcgKey]:
        """Queue the selected ECGs again, in their next generation and due at once; the relay tells of them.

        An ECG that is queued is left alone, so that replaying twice does no harm. Done in pages, each of them
        together with its record; one that fails leaves those before it replayed.

        Raises:
            UnavailableError: Some may have been replayed. Replaying again is safe.
        """
        replayed: list[EcgKey] = []
        async with self._database.connection() as connection:
            began = await connection.fetchval("SELECT now()")
            while True:
                async with connection.transaction():
                    rows = await connection.fetch(_REPLAY, *_conditions(selection), began)
                    keys = [EcgKey(*row) for row in rows]
                    if keys:
                        subject = {"selection": asdict(selection), "ecgs": [list(key) for key in keys]}
                        await connection.execute(_RECORD, *reason, "replay", _json(subject))
                replayed += keys
                if len(keys) < _PAGE:
                    return replayed

    async def record(self, what: str, subject: object, reason: Reason) -> None:
        """Keep that somebody is about to do this."""
        async with self._database.connection() as connection:
            await connection.execute(_RECORD, *reason, what, _json(subject))


def _conditions(selection: Selection) -> tuple[object, ...]:
    return selection.id, selection.owner, selection.failed, selection.since


def _json(subject: object) -> str:
    return orjson.dumps(subject).decode()
