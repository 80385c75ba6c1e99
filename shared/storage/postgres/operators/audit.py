"""The audit in PostgreSQL, in the table `operation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from shared.ports.operators.audit import AuditRecord

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_FIRST: Final = 2**63 - 1

# A record of a replay names up to 1,000 ECGs; of those only their number is shown.
_PAGE: Final = """
SELECT row, at, who, why, what,
    CASE WHEN json_typeof(subject) = 'object' AND json_typeof(subject -> 'ecgs') = 'array'
        THEN jsonb_set(subject::jsonb, '{ecgs}', to_jsonb(json_array_length(subject -> 'ecgs')))
        ELSE subject::jsonb
    END::text AS subject
FROM operation WHERE row < $1 ORDER BY row DESC LIMIT $2
"""


class PostgresAudit:
    """`shared.ports.operators.audit.Audit` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, *, limit: int, before: int | None = None) -> list[AuditRecord]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, _FIRST if before is None else before, limit)
        return [AuditRecord(*row.values())._replace(subject=orjson.loads(row["subject"])) for row in rows]
