"""Conditions on finished ECGs as SQL: only those that are given, so that each finds its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shared.ports.operators.operations import Selection
    from shared.storage.pool.database import Connection

# Literals, not parameters: only so can a generic plan use the partial indexes.
_FINISHED_SQL: Final = "status IN ('completed', 'failed')"
_FAILED_SQL: Final = "status = 'failed'"

_CONDITIONS: Final = {
    "owner": "owner = ${}",
    "id": "id = ${}",
    "reason": "error = ${}",
    "since": "finished_at >= ${}",
    "until": "finished_at < ${}",
}


_READ_WHOLE_TABLE: Final = "SET LOCAL enable_seqscan = on"


async def allow_reading_whole_table(connection: Connection, selection: Selection) -> None:
    """Allow this transaction to read all of `ecg`, unless failed ones are selected, which have an index.

    Sessions have no such plan. To find others by time alone took more than 10 s of a million ECGs in order
    of an index, and 0.5 in that of the table.
    """
    if not _is_of_failed(selection):
        await connection.execute(_READ_WHOLE_TABLE)


def where_sql(selection: Selection, *, is_failed: bool = False) -> tuple[str, list[object]]:
    """The condition of a statement on ``ecg``, and its arguments from $1 on.

    Args:
        selection: The conditions; only ours are pasted into the SQL.
        is_failed: Whether only failed ones are meant in any case.
    """
    is_failed = is_failed or _is_of_failed(selection)
    conditions, arguments = [_FAILED_SQL if is_failed else _FINISHED_SQL], []
    for name, condition in _CONDITIONS.items():
        if (value := getattr(selection, name)) is not None:
            arguments.append(value)
            conditions.append(condition.format(len(arguments)))
    return " AND ".join(conditions), arguments


def _is_of_failed(selection: Selection) -> bool:
    return selection.failed or selection.reason is not None
