"""Response bodies of the webhook routes, as models for the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from gateway.http.validation import ResponseBody


class WebhookResponse(ResponseBody):
    """A webhook, without its secret."""

    id: UUID
    url: Annotated[str, Field(description="To which events are sent.")]
    types: Annotated[
        list[Literal["ecg.processed", "ecg.failed", "ecg.deleted"]],
        Field(description="Events that it sends."),
    ]
    description: str
    all_owners: Annotated[bool, Field(description="Whether it sends the events of all owners.")]
    created_at: datetime
    previous_secret_until: Annotated[
        datetime | None,
        Field(description="Until when it signs with the secret before as well; null if it does not."),
    ]
    state: Annotated[
        Literal["active", "failing", "paused", "disabled", "denied"],
        Field(
            description=(
                "`active`: it sends. `failing`: nothing was taken of late, it tries again at `resume_at`. "
                "`paused`: its owner switched it off. `disabled`: Isoline did, see `disabled_reason`. "
                "`denied`: it sends nothing until its account has the role for these events again."
            )
        ),
    ]
    disabled_at: Annotated[
        datetime | None, Field(description="Since when it sends nothing; null if it does.")
    ]
    disabled_reason: Annotated[
        str | None, Field(description="Why Isoline switched it off; null if Isoline did not.")
    ]
    failures: Annotated[int, Field(description="How often in a row nothing was taken.")]
    failing_since: Annotated[
        datetime | None, Field(description="When that began; null if the last was taken.")
    ]
    last_error: Annotated[str | None, Field(description="Why the last was not taken; null if it was.")]
    resume_at: Annotated[
        datetime | None, Field(description="When it tries again; null unless it is failing.")
    ]
    last_delivered_at: Annotated[
        datetime | None, Field(description="When something was taken; null if nothing was yet.")
    ]
    waiting: Annotated[int, Field(description="How many events that were not taken wait to be sent again.")]


_Secret = Annotated[
    str,
    Field(
        pattern="^whsec_[0-9A-Za-z+/]{43}=$",
        description="By which requests are signed (Standard Webhooks). It is not shown again.",
    ),
]


class NewWebhookResponse(WebhookResponse):
    """A new webhook with its secret, which is shown only now."""

    secret: _Secret


class NewSecretResponse(ResponseBody):
    """Another secret of a webhook."""

    secret: _Secret
    previous_secret_until: Annotated[
        datetime, Field(description="Until then each request is signed with the secret before as well.")
    ]


class WebhooksResponse(ResponseBody):
    """The webhooks of an account, the newest first."""

    webhooks: list[WebhookResponse]


class DeliveryResponse(ResponseBody):
    """An event that a webhook sent, or tried to."""

    id: Annotated[str, Field(description="By which it is sent again.")]
    event_id: Annotated[UUID, Field(description="The event's `id`, the `webhook-id` of the requests.")]
    type: Annotated[
        Literal["ecg.processed", "ecg.failed", "ecg.deleted", "webhook.ping"],
        Field(description="The event's; `webhook.ping` is a test event."),
    ]
    subject: Annotated[str | None, Field(description="The ECG, as `owner/id`; null for a test event.")]
    generation: Annotated[int | None, Field(description="Of the ECG; null for a test event.")]
    state: Annotated[
        Literal["waiting", "delivered", "failed", "dropped"],
        Field(
            description=(
                "`waiting`: it is sent at `due_at`. `delivered`: it was taken. `failed`: it was not within a "
                "day. `dropped`: its ECG was erased, or the event is kept no longer."
            )
        ),
    ]
    attempts: Annotated[int, Field(description="How often it was sent.")]
    created_at: datetime
    last_attempt_at: Annotated[datetime | None, Field(description="Null before the first.")]
    due_at: Annotated[datetime | None, Field(description="When it is sent next; null if it is not.")]
    status: Annotated[int | None, Field(description="HTTP status of the last response; null if none came.")]
    error: Annotated[str | None, Field(description="Why the last attempt failed; null if it did not.")]
    duration_s: Annotated[float | None, Field(description="Seconds that the last attempt took.")]


class DeliveriesResponse(ResponseBody):
    """Some deliveries of a webhook, the newest first."""

    deliveries: list[DeliveryResponse]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""
