"""Use cases of operators, recorded with who and why: replay ECGs, settle dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import NotFoundError
from shared.ports.operators.dead_letters import Decision

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.events import EcgKey
    from shared.ports.operators.dead_letters import DeadLetter, DeadLetters
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


async def find_dead_letters(names: Collection[str] = (), *, letters: DeadLetters) -> list[DeadLetter]:
    """The dead letters of these names, or all of them; each stays where it is.

    Raises:
        NotFoundError: Some of these names don't exist.
        UnavailableError: Of the broker.
    """
    present = await letters.settle_each(lambda _: Decision.KEEP)
    if unknown := sorted(set(names).difference(letter.name for letter in present)):
        raise NotFoundError(f"There is no dead letter {', '.join(unknown)}.")
    return [letter for letter in present if not names or letter.name in names]


async def settle_dead_letters(
    names: Collection[str],
    decision: Decision,
    note: AuditNote,
    *,
    letters: DeadLetters,
    operations: Operations,
) -> None:
    """Replay or drop the dead letters of these names, which is recorded first; the others stay.

    Raises:
        UnavailableError: Some may have been settled, or none. Settling the same again is safe.
        UnroutableError: A letter can't be replayed, because no processor has declared its queue.
    """
    await operations.record(f"dlq {decision.name.lower()}", [*sorted(names)], note)
    await letters.settle_each(lambda letter: decision if letter.name in names else Decision.KEEP)
