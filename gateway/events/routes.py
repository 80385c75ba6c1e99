"""The routes of events."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.route import Route, RouteResponse
from gateway.events.handlers import EventHandlers
from gateway.events.query_parameters import EventsQuery
from gateway.events.response_bodies import EventsResponse
from shared.domain.account import Role

_EVENT: Final = {
    "specversion": "1.0",
    "id": "d98f0995-870f-5260-981b-f87cc3429d7c",
    "source": "urn:uuid:8d124754-a6c1-46a9-9fcb-1d5b6ead48b6",
    "type": "ecg.processed",
    "subject": "ada/10",
    "time": "2026-01-31T08:00:00.250000+00:00",
    "datacontenttype": "application/json",
    "dataschema": "urn:isoline:schema:ecg.processed:1",
    "data": {
        "owner": "ada",
        "id": "10",
        "generation": 1,
        "status": "completed",
        "leads": [{"I": {"zero_crossings": 2}}],
        "insights": {"zero_crossings": 1},
    },
}

EVENT_ROUTES: Final = (
    Route(
        method="GET",
        path="/events",
        handler=EventHandlers.get_events,
        role=frozenset({Role.USER, Role.SUBSCRIBER}),
        tag="Events",
        summary="Read what happened to ECGs, and follow it",
        description=(
            "Those of your ECGs; with the role `subscriber` those of all owners. Each is as it was "
            "published over AMQP, with the same `id`: drop those that you know. Events of an ECG that "
            "was erased meanwhile are left out, but for `ecg.deleted`. Keep the `cursor` and go on from "
            "there: it skips nothing, whatever is committed late.\n\n"
            "With `Accept: text/event-stream` it goes on as server-sent events: each has its type as "
            "`event`, the document as `data` and a cursor as `id`, from which `Last-Event-ID` goes on. "
            "An `id` alone keeps the connection open; `unavailable` says why nothing comes now, and "
            "`end` why nothing will come any more, as when the token has ended."
        ),
        query=EventsQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description="Events after the cursor, oldest first.",
                model=EventsResponse,
                examples={
                    "one": {"events": [_EVENT], "cursor": "Wzc0MSwyMTQ3NDgzNjQ3XQ", "has_more": False},
                    "none": {"events": [], "cursor": "Wzc0MSwyMTQ3NDgzNjQ3XQ", "has_more": False},
                },
            )
        },
        problems={
            HTTPStatus.BAD_REQUEST: "The query does not fit: limit: expected an integer.",
            HTTPStatus.GONE: (
                "What followed this cursor is kept no longer, or was never here: begin anew, without one."
            ),
        },
    ),
)
