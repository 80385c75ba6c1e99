"""Dead letters: find, replay and drop them, recorded with who and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.errors import NotFoundError
from shared.ports.operators.dead_letters import Decision

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.ports.operators.dead_letters import DeadLetter, DeadLetters
    from shared.ports.operators.operations import AuditNote, Operations


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
) -> int:
    """Replay or drop the dead letters of these names, which is recorded first; the others stay.

    Returns:
        How many were settled: fewer than named, if others were faster.

    Raises:
        UnavailableError: Some may have been settled, or none. Settling the same again is safe.
        UnroutableError: A letter can't be replayed, because no processor has declared its queue.
    """
    await operations.record(f"dlq {decision.name.lower()}", [*sorted(names)], note)
    present = await letters.settle_each(lambda letter: decision if letter.name in names else Decision.KEEP)
    return sum(letter.name in names for letter in present)
