"""What is sent to a webhook in one request."""

from __future__ import annotations

from typing import NamedTuple

from shared.events import CONTENT_TYPE


class WebhookMessage(NamedTuple):
    """An event on its way to a webhook.

    Attributes:
        id: Of the event, the same in each attempt: receivers deduplicate by it. It has no dot.
        body: The bytes that are signed and sent.
        content_type: Of the body.
        traceparent: Of the event's trace; None if it has none.
    """

    id: str
    body: bytes
    content_type: str = CONTENT_TYPE
    traceparent: str | None = None
