"""The routes of the contract and of the page that shows it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.pages import DocumentationHandlers
from gateway.contract.route import Route, RouteResponse

_TAG: Final = "Service"

DOCUMENTATION_ROUTES: Final = (
    Route(
        method="GET",
        path="/openapi.json",
        handler=DocumentationHandlers.get_contract,
        role=None,
        tag=_TAG,
        summary="Get this contract",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="An OpenAPI 3.1 document.", content_type="application/json"
            ),
            HTTPStatus.NOT_MODIFIED: RouteResponse(
                description="You have it: its tag stands in `If-None-Match`."
            ),
        },
    ),
    Route(
        method="GET",
        path="/docs",
        handler=DocumentationHandlers.get_page,
        role=None,
        tag=_TAG,
        summary="Read this contract in a browser, and try it",
        responses={
            HTTPStatus.OK: RouteResponse(description="A page.", content_type="text/html"),
            HTTPStatus.NOT_MODIFIED: RouteResponse(
                description="You have it: its tag stands in `If-None-Match`."
            ),
        },
    ),
    Route(
        method="GET",
        path="/docs/{file}",
        handler=DocumentationHandlers.get_docs_file,
        role=None,
        tag=_TAG,
        summary="Get a file of that page",
        responses={
            HTTPStatus.OK: RouteResponse(description="The file.", content_type="*/*"),
            HTTPStatus.NOT_MODIFIED: RouteResponse(
                description="You have it: its tag stands in `If-None-Match`."
            ),
        },
        problems={HTTPStatus.NOT_FOUND: "There is nothing at this path."},
    ),
)
