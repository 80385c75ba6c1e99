"""What an installation is called."""

from __future__ import annotations

from typing import Protocol


class Installation(Protocol):
    """All services and data that belong together, as others tell them from those of another installation."""

    async def source(self) -> str:
        """What its events name as their source: always the same, and no other installation's.

        Raises:
            UnavailableError: It is not known yet.
        """
