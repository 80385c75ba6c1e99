"""The routes about the service itself: its health, its contract and that contract's page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract import Answer, Route
from gateway.documents import Documents
from gateway.health_answers import LiveAnswer, ReadyAnswer
from gateway.health_handlers import HealthHandlers

_TAG: Final = "Service"
_OK: Final = {"state": "ok", "since": "2026-01-05T08:00:00Z"}
_DEGRADED: Final = {
    "state": "degraded",
    "since": "2026-01-05T09:30:00Z",
    "reason": "the broker blocks publishers: low on disk",
    "means": "ECGs are taken and kept; they are announced once the broker takes them.",
}
_LEAVING: Final = {
    "state": "failing",
    "since": "2026-01-05T09:45:00Z",
    "reason": "leaving",
    "means": "This process finishes what it has in hand; others take what is new.",
}

HEALTH_ROUTES: Final = (
    Route(
        method="GET",
        path="/health/live",
        handler=HealthHandlers.get_live,
        role=None,
        tag=_TAG,
        summary="Ask whether the process turns",
        answers={
            HTTPStatus.OK: Answer(
                description="It does.", model=LiveAnswer, examples={"live": {"status": "live"}}
            )
        },
    ),
    Route(
        method="GET",
        path="/health/ready",
        handler=HealthHandlers.get_ready,
        role=None,
        tag=_TAG,
        summary="Ask whether requests should come here",
        answers={
            HTTPStatus.OK: Answer(
                description="They should, be it that a part is degraded.",
                model=ReadyAnswer,
                examples={
                    "ready": {"status": "ready", "parts": {"schema": _OK}},
                    "degraded": {"status": "ready", "parts": {"schema": _OK, "broker": _DEGRADED}},
                },
            ),
            HTTPStatus.SERVICE_UNAVAILABLE: Answer(
                description="They should not, for these reasons.",
                model=ReadyAnswer,
                examples={
                    "leaving": {
                        "status": "not ready",
                        "reasons": {"process": "leaving"},
                        "parts": {"process": _LEAVING, "schema": _OK},
                    }
                },
            ),
        },
    ),
)

DOCUMENT_ROUTES: Final = (
    Route(
        method="GET",
        path="/openapi.json",
        handler=Documents.get_contract,
        role=None,
        tag=_TAG,
        summary="Get this contract",
        answers={
            HTTPStatus.OK: Answer(description="An OpenAPI 3.1 document.", content_type="application/json"),
            HTTPStatus.NOT_MODIFIED: Answer(description="You have it: its tag stands in `If-None-Match`."),
        },
    ),
    Route(
        method="GET",
        path="/docs",
        handler=Documents.get_page,
        role=None,
        tag=_TAG,
        summary="Read this contract in a browser, and try it",
        answers={
            HTTPStatus.OK: Answer(description="A page.", content_type="text/html"),
            HTTPStatus.NOT_MODIFIED: Answer(description="You have it: its tag stands in `If-None-Match`."),
        },
    ),
    Route(
        method="GET",
        path="/docs/{file}",
        handler=Documents.get_docs_file,
        role=None,
        tag=_TAG,
        summary="Get a file of that page",
        answers={
            HTTPStatus.OK: Answer(description="The file.", content_type="*/*"),
            HTTPStatus.NOT_MODIFIED: Answer(description="You have it: its tag stands in `If-None-Match`."),
        },
        problems={HTTPStatus.NOT_FOUND: "There is nothing at this path."},
    ),
)
