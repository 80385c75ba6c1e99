"""Storage of webhooks, as their owners see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from shared.domain.webhook import DeliveryState, Webhook, WebhookDelivery
    from shared.ports.event_log import LogPosition


class NewWebhook(NamedTuple):
    """A webhook to keep.

    Attributes:
        after: It sends what follows this position of the event log; None for all that is kept, or what came
            ``since``.
        since: Only with no ``after``: nothing that was logged before.
    """

    id: UUID
    account: str
    url: str
    description: str
    types: frozenset[str]
    of_all_owners: bool
    secret: str
    after: LogPosition | None
    since: datetime | None = None


class WebhookChange(NamedTuple):
    """What to change of a webhook; None leaves it as it is.

    Attributes:
        is_enabled: True also ends a pause after failures, and gives what waits another day.
    """

    url: str | None = None
    description: str | None = None
    types: frozenset[str] | None = None
    is_enabled: bool | None = None


class WebhookStore(Protocol):
    """Webhooks and their deliveries, by account. Every method raises UnavailableError.

    A webhook of another account is None or False, as one that does not exist.
    """

    async def add(self, new: NewWebhook, *, limit: int) -> Webhook | None:
        """Keep a webhook; None if its account has ``limit`` already."""

    async def webhooks_of(self, account: str) -> list[Webhook]:
        """All webhooks of an account, the newest first."""

    async def find(self, webhook_id: UUID, *, account: str) -> Webhook | None:
        """A webhook."""

    async def change(self, webhook_id: UUID, change: WebhookChange, *, account: str) -> Webhook | None:
        """Change a webhook, and return how it is then."""

    async def remove(self, webhook_id: UUID, *, account: str) -> bool:
        """End a webhook: nothing that begins later is sent. Whether there was one."""

    async def rotate(self, webhook_id: UUID, secret: str, *, account: str) -> Webhook | None:
        """Give a webhook another secret; for a day it signs with the one before too."""

    async def ping(self, webhook_id: UUID, event_id: UUID, *, account: str) -> WebhookDelivery | None:
        """Have a test event sent, once and whatever the state of the webhook.

        Returns:
            Its delivery; one that still waits, if there is such, and no other is begun.
        """

    async def deliveries(
        self,
        webhook_id: UUID,
        *,
        account: str,
        before: int | None,
        state: DeliveryState | None,
        limit: int,
    ) -> Sequence[WebhookDelivery]:
        """Deliveries with smaller ids than ``before``, or the newest; the newest first."""

    async def resend(self, webhook_id: UUID, delivery_id: int, *, account: str) -> WebhookDelivery | None:
        """Have an event sent again, for a day; None if there is no such delivery, or it is a test event."""
