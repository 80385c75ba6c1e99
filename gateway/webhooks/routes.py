"""The routes of webhooks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from gateway.contract.route import Route, RouteResponse
from gateway.webhooks.handlers import WebhookHandlers
from gateway.webhooks.query_parameters import DeliveriesQuery
from gateway.webhooks.request_bodies import NewWebhookBody, WebhookChangeBody
from gateway.webhooks.response_bodies import (
    DeliveriesResponse,
    DeliveryResponse,
    NewSecretResponse,
    NewWebhookResponse,
    WebhookResponse,
    WebhooksResponse,
)
from gateway.webhooks.use_cases import MAX_WEBHOOKS
from shared.domain.account import Role

_TAG: Final = "Webhooks"
_ROLES: Final = frozenset({Role.USER, Role.SUBSCRIBER})

_SECRET: Final = "whsec_c2VjcmV0LW9mLTI1Ni1iaXRzLW5vYm9keS1ndWVzc2U="  # noqa: S105 - an example
_WEBHOOK: Final[dict[str, Any]] = {
    "id": "2f0c7a58-6f0e-4d55-9a37-0d6a3f6b9c11",
    "url": "https://hooks.example.org/isoline",
    "types": ["ecg.deleted", "ecg.failed", "ecg.processed"],
    "description": "billing",
    "all_owners": False,
    "created_at": "2026-11-30T08:47:28.923591+00:00",
    "previous_secret_until": None,  # nosec B105
    "state": "active",
    "disabled_at": None,
    "disabled_reason": None,
    "failures": 0,
    "failing_since": None,
    "last_error": None,
    "resume_at": None,
    "last_delivered_at": "2026-11-30T09:02:11.102938+00:00",
    "waiting": 0,
}
_FAILING: Final = _WEBHOOK | {
    "state": "failing",
    "failures": 3,
    "failing_since": "2026-11-30T09:05:00.000000+00:00",
    "last_error": "answered 503",
    "resume_at": "2026-11-30T09:05:40.000000+00:00",
    "waiting": 1,
}
_PAUSED: Final = _WEBHOOK | {"state": "paused", "disabled_at": "2026-11-30T09:30:00.000000+00:00"}
_DELIVERY: Final[dict[str, Any]] = {
    "id": "1802",
    "event_id": "d98f0995-870f-5260-981b-f87cc3429d7c",
    "type": "ecg.processed",
    "subject": "ada/10",
    "generation": 1,
    "state": "delivered",
    "attempts": 1,
    "created_at": "2026-11-30T09:02:11.102938+00:00",
    "last_attempt_at": "2026-11-30T09:02:11.102938+00:00",
    "due_at": None,
    "status": 204,
    "error": None,
    "duration_s": 0.041,
}
_RESENT: Final = _DELIVERY | {
    "state": "waiting",
    "due_at": "2026-11-30T10:00:00.000000+00:00",
}
_PING: Final = _RESENT | {
    "event_id": "0b0e1b0e-5d7c-4b8e-8a53-6f0c5f0e4d55",
    "type": "webhook.ping",
    "subject": None,
    "generation": None,
    "attempts": 0,
    "last_attempt_at": None,
    "status": None,
    "duration_s": None,
}
_NO_WEBHOOK: Final = {HTTPStatus.NOT_FOUND: "You have no webhook of this id."}
_NOT_ALLOWED: Final = {
    HTTPStatus.FORBIDDEN: (
        "This webhook sends the events of all owners: without the role subscriber it can only be shown and "
        "removed."
    )
}

WEBHOOK_ROUTES: Final = (
    Route(
        method="POST",
        path="/webhook",
        handler=WebhookHandlers.post_webhook,
        role=_ROLES,
        tag=_TAG,
        summary="Create a webhook",
        description=(
            "Events are sent to its URL, each as it is published over AMQP, signed by the scheme of Standard "
            "Webhooks, and again for a day until it is answered with 2xx. The `secret` to verify them by is "
            f"shown only now. An account has {MAX_WEBHOOKS} at the most. Sending a request again may create "
            "another."
        ),
        request=NewWebhookBody,
        examples={
            "your events from now on": {
                "url": "https://hooks.example.org/isoline",
                "description": "billing",
            },
            "some types of all owners and of the last days": {
                "url": "https://hooks.example.org/isoline",
                "types": ["ecg.processed", "ecg.deleted"],
                "all_owners": True,
                "since": "2026-01-31T08:00:00Z",
            },
        },
        responses={
            HTTPStatus.CREATED: RouteResponse(
                description="It sends from now on.",
                model=NewWebhookResponse,
                examples={"a webhook": _WEBHOOK | {"last_delivered_at": None, "secret": _SECRET}},
                headers={"Cache-Control": "`no-store`"},
            )
        },
        problems={
            HTTPStatus.FORBIDDEN: "The events of all owners need the role subscriber.",
            HTTPStatus.CONFLICT: f"The account ada has {MAX_WEBHOOKS} webhooks, the most; remove one first.",
            HTTPStatus.GONE: (
                "What followed this cursor is kept no longer, or was never here: begin anew, without one."
            ),
        },
    ),
    Route(
        method="GET",
        path="/webhook",
        handler=WebhookHandlers.get_webhooks,
        role=_ROLES,
        tag=_TAG,
        summary="List your webhooks, the newest first",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="All of them, without their secrets.",
                model=WebhooksResponse,
                examples={"one that is failing": {"webhooks": [_FAILING]}},
            )
        },
    ),
    Route(
        method="GET",
        path="/webhook/{webhook_id}",
        handler=WebhookHandlers.get_webhook,
        role=_ROLES,
        tag=_TAG,
        summary="See how a webhook does",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="The webhook, without its secret.",
                model=WebhookResponse,
                examples={"one that sends": _WEBHOOK, "one that is failing": _FAILING},
            )
        },
        problems=_NO_WEBHOOK,
    ),
    Route(
        method="PATCH",
        path="/webhook/{webhook_id}",
        handler=WebhookHandlers.patch_webhook,
        role=_ROLES,
        tag=_TAG,
        summary="Change, pause or enable a webhook",
        description=(
            "What is not in the body stays as it is. While it is paused or disabled it keeps its place among "
            "the events, and goes on from there. Requests that are under way go to the URL before."
        ),
        request=WebhookChangeBody,
        examples={
            "another URL": {"url": "https://hooks.example.org/isoline/2"},
            "pause": {"enabled": False},
        },
        responses={
            HTTPStatus.OK: RouteResponse(
                description="How it is now.", model=WebhookResponse, examples={"a paused one": _PAUSED}
            )
        },
        problems={**_NO_WEBHOOK, **_NOT_ALLOWED},
    ),
    Route(
        method="DELETE",
        path="/webhook/{webhook_id}",
        handler=WebhookHandlers.delete_webhook,
        role=_ROLES,
        tag=_TAG,
        summary="Remove a webhook",
        description="With its secrets and the list of what it sent. Requests that are under way end.",
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It is removed.")},
        problems=_NO_WEBHOOK,
    ),
    Route(
        method="POST",
        path="/webhook/{webhook_id}/secret",
        handler=WebhookHandlers.post_webhook_secret,
        role=_ROLES,
        tag=_TAG,
        summary="Rotate the secret of a webhook",
        description=(
            "For a day requests are signed with the new secret and with the one before. Of two rotations "
            "within a day the first secret ends with the second."
        ),
        responses={
            HTTPStatus.OK: RouteResponse(
                description="The new secret, which is shown only now.",
                model=NewSecretResponse,
                examples={
                    "a secret": {
                        "secret": _SECRET,
                        "previous_secret_until": "2026-12-01T08:47:28.923591+00:00",  # nosec B105
                    }
                },
                headers={"Cache-Control": "`no-store`"},
            )
        },
        problems={**_NO_WEBHOOK, **_NOT_ALLOWED},
    ),
    Route(
        method="POST",
        path="/webhook/{webhook_id}/ping",
        handler=WebhookHandlers.post_webhook_ping,
        role=_ROLES,
        tag=_TAG,
        summary="Send a test event",
        description=(
            "Once, also while the webhook is paused or disabled. The list of deliveries shows what became of "
            "it. One that was asked for before and is not sent yet is returned in its place."
        ),
        responses={
            HTTPStatus.ACCEPTED: RouteResponse(
                description="It is sent as soon as a processor comes to it.",
                model=DeliveryResponse,
                examples={"a test event": _PING},
            )
        },
        problems={**_NO_WEBHOOK, **_NOT_ALLOWED},
    ),
    Route(
        method="GET",
        path="/webhook/{webhook_id}/deliveries",
        handler=WebhookHandlers.get_webhook_deliveries,
        role=_ROLES,
        tag=_TAG,
        summary="List what a webhook sent, the newest first",
        description="As long as events are kept; of those that were taken the newest 10,000.",
        query=DeliveriesQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description=(
                    "A page at a time: ask for the next one with its `next_cursor`, until there is none."
                ),
                model=DeliveriesResponse,
                examples={"a page": {"deliveries": [_DELIVERY], "next_cursor": "WzE4MDJd"}},
            )
        },
        problems={
            **_NO_WEBHOOK,
            **_NOT_ALLOWED,
            HTTPStatus.BAD_REQUEST: "The query does not fit: limit: expected an integer.",
        },
    ),
    Route(
        method="POST",
        path="/webhook/{webhook_id}/deliveries/{delivery_id}/resend",
        handler=WebhookHandlers.post_webhook_resend,
        role=_ROLES,
        tag=_TAG,
        summary="Send an event again",
        description=(
            "With the same `webhook-id`, whatever became of it before, and for a day until it is taken. One "
            "that waits is due at once. A webhook that is paused or disabled sends it when it is enabled."
        ),
        responses={
            HTTPStatus.ACCEPTED: RouteResponse(
                description="It is sent as soon as a processor comes to it.",
                model=DeliveryResponse,
                examples={"a delivery": _RESENT},
            )
        },
        problems={
            **_NOT_ALLOWED,
            HTTPStatus.NOT_FOUND: "This webhook has no delivery of this id that can be sent again.",
        },
    ),
)
