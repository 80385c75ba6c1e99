"""Dead letters for the operations API: the queue is opened when it is needed, by one request at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError, UnroutableError
from shared.operations.dead_letters import find_dead_letters, settle_dead_letters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from shared.ports.operators.dead_letters import DeadLetter, DeadLetters, Decision
    from shared.ports.operators.operations import AuditNote, Operations

_HELP: Final = (
    "Where a right is missing: name a user of `isoline topology apply --grant --operator USER` "
    "in ISOLINE_OPERATOR_AMQP_URL."
)


class OperatorDeadLetters:
    """Finds and settles dead letters.

    Args:
        open_letters: Opens the queue.
    """

    def __init__(self, open_letters: Callable[[], AbstractAsyncContextManager[DeadLetters]]) -> None:
        self._open_letters = open_letters
        self._using = asyncio.Lock()  # to list the queue takes each of its messages out and puts it back

    async def find(self) -> list[DeadLetter]:
        """All dead letters.

        Raises:
            UnavailableError: They can't be read; the reason and the setting are said to the sender.
        """
        async with self._open() as letters:
            return await find_dead_letters(letters=letters)

    async def settle(
        self, names: Sequence[str], decision: Decision, note: AuditNote, *, operations: Operations
    ) -> int:
        """As `settle_dead_letters`, if there are letters of all of these names.

        Raises:
            NotFoundError: Some of these names don't exist; nothing was settled.
            UnavailableError: As of `find`, or of PostgreSQL.
        """
        async with self._open() as letters:
            await find_dead_letters(names, letters=letters)
            return await settle_dead_letters(
                set(names), decision, note, letters=letters, operations=operations
            )

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[DeadLetters]:
        async with self._using:
            try:
                async with self._open_letters() as letters:
                    yield letters
            except UnavailableError as error:
                if not error.for_sender:
                    raise UnavailableError(
                        str(error), for_sender=f"Dead letters can't be reached: {error}. {_HELP}"
                    ) from error
                raise
            except UnroutableError as error:
                raise UnavailableError(
                    str(error), for_sender=f"Dead letters can't be replayed: {error}."
                ) from error
