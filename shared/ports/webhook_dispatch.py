"""What processors need to send for webhooks: who sends, what is due, and a record of what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from shared.events import EcgKey, EventType
    from shared.ports.event_log import LogPosition

LEASE_S: Final = 10.0
"""How long a lease lasts that nobody renews: so long a webhook waits whose processor was killed."""

LONGEST_WAIT_S: Final = 3600.0
"""No event and no webhook waits longer for its next attempt, whatever the receiver asks for."""


class LeasedWebhook(NamedTuple):
    """A webhook for which this process alone sends, as long as its lease lasts.

    Attributes:
        lease: Names it.
        secrets: That sign, the newest first.
        owner: Whose events; None for all.
        position: In the event log, after what was sent.
        since: Nothing that was logged before, without a position.
        may_send: Whether it sends events now; else test events alone.
        is_failing: Whether nothing it sent was taken of late.
        failures: How often in a row.
        room: How many events more may wait to be sent again.
        disabled_reason: Why Isoline switched it off; None if Isoline did not.
    """

    id: UUID
    lease: UUID
    url: str
    secrets: tuple[str, ...]
    owner: str | None
    types: frozenset[EventType]
    position: LogPosition | None
    since: datetime | None
    may_send: bool
    is_failing: bool
    failures: int
    room: int
    disabled_reason: str | None = None


class DueDelivery(NamedTuple):
    """A delivery that is to be sent now.

    Attributes:
        position: Of the event in the log; None for a test event.
        created_at: When it was noted.
    """

    id: int
    position: LogPosition | None
    event_id: UUID
    attempts: int
    created_at: datetime


class Attempt(NamedTuple):
    """How sending an event ended.

    Attributes:
        status: Of the response; None if there was none.
        error: Why it failed, as a sentence for the owner of the webhook; None if it was taken.
        duration_s: What it took.
        retry_after_s: How long the receiver asked to wait; None if it did not.
        is_gone: Whether the receiver wants no more, ever.
    """

    status: int | None
    error: str | None
    duration_s: float
    retry_after_s: float | None = None
    is_gone: bool = False

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took the event."""
        return self.error is None


class AttemptedDelivery(NamedTuple):
    """An attempt to send an event, to be recorded.

    Attributes:
        delivery_id: None for one that is not noted yet.
        position: Of the event in the log; None for a test event.
        key: The ECG; None for a test event, or if the delivery is noted already.
        attempt: None if the event can't be sent any more.
        retry_in_s: When it is sent again, if it failed and its day is not over.
    """

    delivery_id: int | None
    position: LogPosition | None
    event_id: UUID
    type: EventType | None
    key: EcgKey | None
    attempt: Attempt | None
    retry_in_s: float


class Progress(NamedTuple):
    """How far a webhook has come, and how it does.

    Attributes:
        position: What follows is sent next; None as it was.
        begins_anew: Whether the log has forgotten what follows: the oldest that is kept is sent next.
        is_taken: Whether the receiver took something; None if nothing was sent.
        last_error: Why something was not taken.
        pause_s: If nothing was taken: when to send next.
        disabled_reason: Why it is to be switched off; None if it is not.
    """

    position: LogPosition | None = None
    begins_anew: bool = False
    is_taken: bool | None = None
    last_error: str | None = None
    pause_s: float = 0.0
    disabled_reason: str | None = None


class WebhookDispatch(Protocol):
    """Who sends for which webhook, and what. Every method raises UnavailableError."""

    async def lease(self, *, limit: int) -> list[LeasedWebhook]:
        """Take webhooks with something to send which no process sends for; for `LEASE_S`."""

    async def due(self, webhook: LeasedWebhook, *, limit: int) -> list[DueDelivery]:
        """What is to be sent now, or once more: test events first, then the longest due."""

    async def record(
        self, webhook: LeasedWebhook, attempted: Sequence[AttemptedDelivery], progress: Progress
    ) -> LeasedWebhook | None:
        """Record what was sent, and renew the lease, all or nothing.

        Returns:
            How the webhook is now; None if it is another process's or was removed, and nothing was recorded.
        """

    async def renew(self, webhooks: Sequence[LeasedWebhook]) -> None:
        """Keep these leases, those that still hold, for another `LEASE_S`."""

    async def release(self, webhook: LeasedWebhook) -> None:
        """Let any process send for it."""

    async def forget_deliveries(self, *, days: int) -> int:
        """Forget some deliveries: old ones, the oldest of many, those of no webhook. How many."""
