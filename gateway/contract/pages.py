"""The contract as OpenAPI and as a page (Swagger UI), served without any other host."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.http.static_files import StaticFiles, page_headers, prebuilt_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.request import Request
    from gateway.http.responses import Response

_FOLDER: Final = Path(__file__).parent / "docs"

# The page runs scripts of this service only, and connects to it only. Swagger UI sets inline styles.
_HEADERS: Final = page_headers(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocumentationHandlers:
    """Serve the contract and the page that shows it."""

    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._contract = prebuilt_file(orjson.dumps(contract), "application/json", _HEADERS)
        self._files = _files()

    async def get_contract(self, request: Request) -> Response:
        """The OpenAPI document."""
        return self._contract.response(request)

    async def get_page(self, request: Request) -> Response:
        """The page."""
        return self._files.response("index.html", request)

    async def get_docs_file(self, request: Request) -> Response:
        """A file of the page."""
        return self._files.response(request.parameters["file"], request)


@cache
def _files() -> StaticFiles:
    return StaticFiles(_FOLDER, _HEADERS)
