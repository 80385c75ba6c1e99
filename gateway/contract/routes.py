"""The routes of the contracts and of the page that shows that of HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.event_contract import EventContractHandlers
from gateway.contract.pages import DocumentationHandlers
from gateway.contract.route import Route, RouteResponse

_TAG: Final = "Service"
_NOT_MODIFIED: Final = RouteResponse(description="You have it: its tag stands in `If-None-Match`.")

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
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
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
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
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
            HTTPStatus.OK: RouteResponse(
                description="The file.",
                content_type="text/css",
                other_content_types=("text/html", "text/javascript", "text/plain"),
            ),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
        problems={HTTPStatus.NOT_FOUND: "There is nothing at this path."},
    ),
)

EVENT_CONTRACT_ROUTES: Final = (
    Route(
        method="GET",
        path="/asyncapi.json",
        handler=EventContractHandlers.get_asyncapi,
        role=None,
        tag=_TAG,
        summary="Get the contract of events",
        description="`/docs/events` shows it in a browser.",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="An AsyncAPI 3 document.", content_type="application/json"
            ),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
    ),
    Route(
        method="GET",
        path="/schemas/{type}/{version}",
        handler=EventContractHandlers.get_data_schema,
        role=None,
        tag=_TAG,
        summary="Get the schema of an event's data",
        description="The schema that the event's `dataschema` names: `urn:isoline:schema:{type}:{version}`.",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="A JSON Schema (2020-12).", content_type="application/schema+json"
            ),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
        problems={HTTPStatus.NOT_FOUND: "There is no event of this type and version."},
    ),
    Route(
        method="GET",
        path="/schemas/{type}/{version}/event",
        handler=EventContractHandlers.get_event_schema,
        role=None,
        tag=_TAG,
        summary="Get the schema of a whole event",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="A JSON Schema (2020-12).", content_type="application/schema+json"
            ),
            HTTPStatus.NOT_MODIFIED: _NOT_MODIFIED,
        },
        problems={HTTPStatus.NOT_FOUND: "There is no event of this type and version."},
    ),
)
