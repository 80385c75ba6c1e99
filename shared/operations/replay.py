"""Replay: have finished ECGs analysed once more, recorded with who and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import ConflictError

if TYPE_CHECKING:
    from shared.events import EcgKey
    from shared.ports.operators.operations import AuditNote, Operations, Selection

# Rows that one transaction locks, and processors wait for.
_PAGE: Final = 1000


async def replay_confirmed(
    selection: Selection, note: AuditNote, *, expected: int, operations: Operations
) -> list[EcgKey]:
    """`replay`, of no more ECGs than an operator was shown and has confirmed.

    Fewer are no conflict: others were replayed or erased meanwhile, and need no replay.

    Raises:
        ConflictError: More are selected now; nothing was replayed.
        UnavailableError: As of `replay`.
    """
    selected = await operations.count(selection)
    if selected > expected:
        raise ConflictError(
            f"{selected} ECGs are selected now, and {expected} were confirmed: look at them again. "
            "With the `as_of` of what you were shown as `until`, later ones are left out."
        )
    return await replay(selection, note, operations=operations, most=expected)


async def replay(
    selection: Selection, note: AuditNote, *, operations: Operations, most: int | None = None
) -> list[EcgKey]:
    """Queue the selected ECGs again, in their next generation and due at once; the relay announces them.

    An ECG that is queued is left alone, so that replaying twice does no harm. Done in pages, each of them
    together with its record; one that fails leaves those before it replayed.

    Args:
        selection: The ECGs.
        note: For the record.
        operations: Replays them.
        most: No more than so many; None is no limit.

    Raises:
        UnavailableError: Some may have been replayed. Replaying again is safe.
    """
    began = await operations.now()  # an ECG that is finished again meanwhile is not replayed once more
    replayed: list[EcgKey] = []
    while (limit := _PAGE if most is None else min(_PAGE, most - len(replayed))) > 0:
        page = await operations.replay(selection, note, finished_before=began, limit=limit)
        replayed += page
        if len(page) < limit:
            break
    return replayed
