"""The source that events name: one for each installation."""

from __future__ import annotations

from typing import Protocol


class EventSource(Protocol):
    """The installation as events name it: all services and data that belong together."""

    async def uri(self) -> str:
        """The `source` of its events: always the same, and no other installation's.

        Raises:
            UnavailableError: It is not known yet.
        """
