"""The contract as OpenAPI and as a page (Swagger UI), served without any other host."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.http.content_negotiation import PrebuiltResponse
from shared.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.request import Request
    from gateway.http.responses import Response

_FOLDER: Final = Path(__file__).parent / "docs"
_PAGE: Final = "index.html"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}

# The page runs scripts of this service only, and connects to it only. Swagger UI sets inline styles.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class DocumentationHandlers:
    """Serve the contract and the page that shows it."""

    def __init__(self, contract: Mapping[str, Any]) -> None:
        self._contract = _prebuilt_response(orjson.dumps(contract), "application/json")
        self._files = _files()

    async def get_contract(self, request: Request) -> Response:
        """The OpenAPI document."""
        return self._contract.response(request)

    async def get_page(self, request: Request) -> Response:
        """The page."""
        return self._files[_PAGE].response(request)

    async def get_docs_file(self, request: Request) -> Response:
        """A file of the page."""
        file = self._files.get(request.parameters["file"])
        if file is None:
            raise NotFoundError("There is nothing at this path.")
        return file.response(request)


@cache
def _files() -> dict[str, PrebuiltResponse]:
    return {
        path.name: _prebuilt_response(path.read_bytes(), _TYPES[path.suffix]) for path in _FOLDER.iterdir()
    }


def _prebuilt_response(body: bytes, content_type: str) -> PrebuiltResponse:
    tag = hashlib.sha256(body).hexdigest()[:32]
    return PrebuiltResponse(body, {**_HEADERS, "Content-Type": content_type}, tag=tag)
