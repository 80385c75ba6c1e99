"""Handlers of the webhook routes: read the request, call the use case, build the response."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.events.cursors import decode_cursor as decode_log_cursor
from gateway.http.bodies.json_body import parse_json, read_json
from gateway.http.query_parameters import read_query
from gateway.http.responses import NO_CONTENT, Response, json_response
from gateway.webhooks.query_parameters import DeliveriesQuery, decode_cursor, encode_cursor
from gateway.webhooks.request_bodies import read_new_webhook, read_webhook_change
from gateway.webhooks.use_cases import (
    Owner,
    WantedWebhook,
    change_webhook,
    create_webhook,
    find_webhook,
    list_deliveries,
    ping_webhook,
    remove_webhook,
    resend_delivery,
    rotate_secret,
)
from shared.domain.errors import DeniedError
from shared.domain.webhook import DeliveryState, WebhookState
from shared.ports.webhooks import WebhookChange

if TYPE_CHECKING:
    from gateway.http.request import Request
    from shared.domain.webhook import Webhook, WebhookDelivery
    from shared.egress import EgressRules
    from shared.ports.event_log import EventLog
    from shared.ports.webhooks import WebhookStore

# A URL of 2,000 characters and a description of 200 are 5 kB at the most, escapes and all.
_SMALL_BODY_BYTES: Final = 16 * 1024
_NOT_STORED: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHandlers:
    """One method per route."""

    webhooks: WebhookStore
    log: EventLog
    rules: EgressRules

    async def post_webhook(self, request: Request) -> Response:
        """Create a webhook."""
        owner = _owner_of(request)
        document = await read_json(request, parse_json, max_bytes=_SMALL_BODY_BYTES)
        body = read_new_webhook(document, self.rules, now=datetime.now(UTC))
        wanted = WantedWebhook(
            url=body.url,
            description=body.description,
            types=body.types,
            of_all_owners=body.all_owners,
            start=body.since or decode_log_cursor(body.after),
        )
        created = await create_webhook(wanted, owner, webhooks=self.webhooks, log=self.log)
        content = {**_webhook_content(created.webhook), "secret": created.secret}
        return json_response(content, HTTPStatus.CREATED, headers=_NOT_STORED)

    async def get_webhooks(self, request: Request) -> Response:
        """The caller's webhooks."""
        found = await self.webhooks.webhooks_of(_owner_of(request).account)
        return json_response({"webhooks": [_webhook_content(webhook) for webhook in found]})

    async def get_webhook(self, request: Request) -> Response:
        """A webhook."""
        webhook = await find_webhook(_webhook_id(request), _owner_of(request), webhooks=self.webhooks)
        return json_response(_webhook_content(webhook))

    async def patch_webhook(self, request: Request) -> Response:
        """Change a webhook."""
        owner = _owner_of(request)
        document = await read_json(request, parse_json, max_bytes=_SMALL_BODY_BYTES)
        body = read_webhook_change(document, self.rules, now=datetime.now(UTC))
        types = None if body.types is None else frozenset(body.types)
        change = WebhookChange(body.url, body.description, types, body.enabled)
        changed = await change_webhook(_webhook_id(request), change, owner, webhooks=self.webhooks)
        return json_response(_webhook_content(changed))

    async def delete_webhook(self, request: Request) -> Response:
        """Remove a webhook."""
        await remove_webhook(_webhook_id(request), _owner_of(request), webhooks=self.webhooks)
        return Response(NO_CONTENT)

    async def post_webhook_secret(self, request: Request) -> Response:
        """Rotate the secret of a webhook."""
        rotated = await rotate_secret(_webhook_id(request), _owner_of(request), webhooks=self.webhooks)
        content = {
            "secret": rotated.secret,
            "previous_secret_until": rotated.webhook.previous_secret_until,
        }
        return json_response(content, headers=_NOT_STORED)

    async def post_webhook_ping(self, request: Request) -> Response:
        """Have a test event sent."""
        delivery = await ping_webhook(_webhook_id(request), _owner_of(request), webhooks=self.webhooks)
        return json_response(_delivery_content(delivery), HTTPStatus.ACCEPTED)

    async def get_webhook_deliveries(self, request: Request) -> Response:
        """A page of what a webhook sent."""
        query = read_query(DeliveriesQuery, request.rel_url)
        page = await list_deliveries(
            _webhook_id(request),
            _owner_of(request),
            state=None if query.state is None else DeliveryState(query.state),
            before=None if query.cursor is None else decode_cursor(query.cursor),
            limit=query.limit,
            webhooks=self.webhooks,
        )
        content: dict[str, object] = {"deliveries": [_delivery_content(each) for each in page.deliveries]}
        if page.next_before is not None:
            content["next_cursor"] = encode_cursor(page.next_before)
        return json_response(content)

    async def post_webhook_resend(self, request: Request) -> Response:
        """Have an event sent again."""
        delivery = await resend_delivery(
            _webhook_id(request),
            request.parameters["delivery_id"],
            _owner_of(request),
            webhooks=self.webhooks,
        )
        return json_response(_delivery_content(delivery), HTTPStatus.ACCEPTED)


def _webhook_id(request: Request) -> str:
    return request.parameters["webhook_id"]


def _owner_of(request: Request) -> Owner:
    """The account that the caller acts for.

    Raises:
        DeniedError: Another issuer keeps it: nobody would tell when it ended, and its webhooks would not.
    """
    caller = request.caller
    if caller.version is None and caller.key_id is None:
        raise DeniedError("Your account is kept by another issuer; only accounts of this one have webhooks.")
    return Owner(caller.name, caller.roles)


def _webhook_content(webhook: Webhook) -> dict[str, object]:
    return {
        "id": str(webhook.id),
        "url": webhook.url,
        "types": sorted(webhook.types),
        "description": webhook.description,
        "all_owners": webhook.of_all_owners,
        "created_at": webhook.created_at,
        "previous_secret_until": webhook.previous_secret_until,
        "state": webhook.state,
        "disabled_at": webhook.disabled_at,
        "disabled_reason": webhook.disabled_reason,
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "last_error": webhook.last_error,
        "resume_at": webhook.resume_at if webhook.state is WebhookState.FAILING else None,
        "last_delivered_at": webhook.last_delivered_at,
        "waiting": webhook.waiting,
    }


def _delivery_content(delivery: WebhookDelivery) -> dict[str, object]:
    return {
        "id": str(delivery.id),
        "event_id": str(delivery.event_id),
        "type": delivery.type,
        "subject": delivery.subject,
        "generation": delivery.generation,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": delivery.created_at,
        "last_attempt_at": delivery.last_attempt_at,
        "due_at": delivery.due_at,
        "status": delivery.status,
        "error": delivery.error,
        "duration_s": delivery.duration_s,
    }
