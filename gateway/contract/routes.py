"""The routes of the contract and of the page that shows it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.pages import Documents
from gateway.contract.route import Answer, Route

_TAG: Final = "Service"

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
