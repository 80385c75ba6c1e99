"""The feature of webhooks: create, read, change and remove them, and see what they sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.webhooks.handlers import WebhookHandlers
from gateway.webhooks.routes import WEBHOOK_ROUTES

if TYPE_CHECKING:
    from shared.egress import EgressRules
    from shared.ports.event_log import EventLog
    from shared.ports.webhooks import WebhookStore


def webhooks_feature(webhooks: WebhookStore, *, log: EventLog, rules: EgressRules) -> Feature:
    """The feature; it opens nothing of its own, and sends nothing: the processors do.

    Args:
        webhooks: All webhooks.
        log: In which each has a place.
        rules: Where one may lead.
    """
    return Feature(routes=WEBHOOK_ROUTES, handlers=WebhookHandlers(webhooks=webhooks, log=log, rules=rules))
