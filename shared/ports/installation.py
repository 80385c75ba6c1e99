"""The name of an installation."""

from __future__ import annotations

from typing import Protocol


class Installation(Protocol):
    """All services and data that belong together."""

    async def source(self) -> str:
        """The source that its events name: always the same, and no other installation's.

        Raises:
            UnavailableError: It is not known yet.
        """
