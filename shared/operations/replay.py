"""Replay: have finished ECGs analysed once more, recorded with who and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shared.events import EcgKey
    from shared.ports.operators.operations import AuditNote, Operations, Selection

# Rows that one transaction locks, and processors wait for.
_PAGE: Final = 1000


async def replay(selection: Selection, note: AuditNote, *, operations: Operations) -> list[EcgKey]:
    """Queue the selected ECGs again, in their next generation and due at once; the relay announces them.

    An ECG that is queued is left alone, so that replaying twice does no harm. Done in pages, each of them
    together with its record; one that fails leaves those before it replayed.

    Raises:
        UnavailableError: Some may have been replayed. Replaying again is safe.
    """
    began = await operations.now()  # an ECG that is finished again meanwhile is not replayed once more
    replayed: list[EcgKey] = []
    while True:
        page = await operations.replay(selection, note, finished_before=began, limit=_PAGE)
        replayed += page
        if len(page) < _PAGE:
            return replayed
