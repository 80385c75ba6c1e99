"""How the webhooks of all accounts do."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class WebhookCounts(NamedTuple):
    """How many webhooks are in which state, see `shared.domain.webhook.WebhookState`.

    Attributes:
        last_error: What the receiver of one of the failing or disabled ones did last; None without any.
    """

    active: int
    failing: int
    paused: int
    disabled: int
    last_error: str | None = None


class WebhookCounter(Protocol):
    """Counts webhooks."""

    async def count(self) -> WebhookCounts | None:
        """How many there are; None where they are not set up.

        Raises:
            UnavailableError: They can't be counted.
        """
