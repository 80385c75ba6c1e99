"""The routes of pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.route import Route, RouteResponse
from gateway.pages.handlers import PageHandlers

_TAG: Final = "Pages"
_NOT_MODIFIED: Final = RouteResponse(description="You have it: its tag stands in `If-None-Match`.")

PAGE_ROUTES: Final = (
    Route(
        method="GET",
        path="/ops",
        handler=PageHandlers.get_operators_page,
        role=None,
        tag=_TAG,
        summary="See in a browser how Isoline does, and act on it",
        description="The page holds no data: to sign in on it needs the role `observer` or `operator`.",
        responses={
            HTTPStatus.OK: RouteResponse(description="A page.", content_type="text/html"),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
    ),
    Route(
        method="GET",
        path="/docs/events",
        handler=PageHandlers.get_events_page,
        role=None,
        tag=_TAG,
        summary="Read the contract of events in a browser",
        description="It shows `/asyncapi.json`.",
        responses={
            HTTPStatus.OK: RouteResponse(description="A page.", content_type="text/html"),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
    ),
    Route(
        method="GET",
        path="/pages/{folder}/{file}",
        handler=PageHandlers.get_page_file,
        role=None,
        tag=_TAG,
        summary="Get a file of a page",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="The file.",
                content_type="text/css",
                other_content_types=("text/html", "text/javascript", "image/svg+xml"),
            ),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
        problems={HTTPStatus.NOT_FOUND: "There is nothing at this path."},
    ),
)
