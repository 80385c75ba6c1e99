"""Webhooks: where the events of an account are sent over HTTP, and how that goes."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: 24 to 64 bytes.
_SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how a secret begins
"""How each secret begins; what follows is Base64."""


class WebhookState(StrEnum):
    """How a webhook stands.

    ``active`` sends, ``failing`` waits because nothing it sent was taken of late, ``paused`` was switched off
    by its owner, and ``disabled`` by Isoline, after a day in vain or because the receiver is gone. ``denied``
    sends nothing while its account lacks the role by which it could read the events.
    """

    ACTIVE = "active"
    FAILING = "failing"
    PAUSED = "paused"
    DISABLED = "disabled"
    DENIED = "denied"


class DeliveryState(StrEnum):
    """What became of an event that a webhook sends.

    ``waiting`` is sent, or sent again, when it is due; ``delivered`` was taken by the receiver, ``failed``
    was not within a day, and ``dropped`` can't be sent, because its ECG was erased or the log has forgotten
    it.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook, without its secret.

    Attributes:
        account: The name of the account to which it belongs.
        types: Of the events that it sends.
        of_all_owners: Whether it sends the events of all owners, and not of its account alone.
        previous_secret_until: Until when it signs with the secret before, too; None if it does not.
        is_enabled: Whether it sends.
        disabled_at: Since when it does not; None while it does.
        disabled_reason: Why Isoline switched it off; None if Isoline did not.
        failures: How often in a row nothing was taken.
        failing_since: When that began; None if the last was taken.
        last_error: Why the last was not taken; None if it was.
        resume_at: When it sends next, while it is failing.
        last_delivered_at: None if nothing was taken yet.
        waiting: How many events wait to be sent again.
        may_read: Whether its account has a role by which it could read the events itself.
    """

    id: UUID
    account: str
    url: str
    description: str
    types: frozenset[str]
    of_all_owners: bool
    created_at: datetime
    previous_secret_until: datetime | None
    is_enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    last_error: str | None
    resume_at: datetime
    last_delivered_at: datetime | None
    waiting: int
    may_read: bool

    @property
    def state(self) -> WebhookState:
        """How it stands, in a word."""
        if self.is_enabled and not self.may_read:
            return WebhookState.DENIED
        if self.is_enabled:
            return WebhookState.ACTIVE if self.failing_since is None else WebhookState.FAILING
        return WebhookState.PAUSED if self.disabled_reason is None else WebhookState.DISABLED


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDelivery:
    """An event that a webhook sent, or tried to.

    Attributes:
        id: Grows with each delivery.
        event_id: Of the event: the ``webhook-id`` of the requests.
        type: Of the event.
        subject: The ECG, as ``owner/id``; None for a test event.
        generation: Of the ECG; None for a test event.
        attempts: How often it was sent.
        created_at: When it was noted.
        last_attempt_at: None before the first.
        due_at: When it is sent next; None if it is not.
        status: Of the last response; None if there was none.
        error: Why the last attempt failed; None if it did not.
        duration_s: What the last attempt took.
    """

    id: int
    event_id: UUID
    type: str
    subject: str | None
    generation: int | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    last_attempt_at: datetime | None
    due_at: datetime | None
    status: int | None
    error: str | None
    duration_s: float | None


def new_webhook_secret() -> str:
    """A new secret in the form of Standard Webhooks: ``whsec_`` and 32 random bytes in Base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
