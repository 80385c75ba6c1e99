"""The outbox: what still has to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from shared.events import Bundle, EcgKey


class Outbox(Protocol):
    """What still has to be told. Every method raises UnavailableError."""

    async def take_due_ecgs(self, limit: int) -> list[EcgKey]:
        """Queued ECGs whose due time has passed; their due time moves out, doubling each time.

        A due time that lies further ahead than any that is given out has passed too: a clock was set back.
        """

    async def put_back(self, keys: Collection[EcgKey]) -> None:
        """Undo the taking of these: they could not be published and are due again shortly."""

    async def take_due_events(self, limit: int) -> list[Bundle]:
        """Events whose due time has passed, as `take_due_ecgs` understands it; it moves out likewise.

        The bundle that reaches the limit is the last.
        """

    async def clear(self, bundle_ids: Collection[UUID]) -> None:
        """Forget these bundles: the broker has their events."""

    async def narrow(self, bundle: Bundle) -> None:
        """Forget all of a bundle but these events, unless fewer are left: the broker has the others."""

    async def drop_unheard(self, bundle_ids: Collection[UUID]) -> int:
        """Forget those of these bundles that nobody was bound to for longer than the grace.

        Returns:
            How many events they had.
        """
