"""Pages for people: each is one HTML file, with the modules and styles that it and others use."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.http.static_files import StaticFiles, page_headers
from shared.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.request import Request
    from gateway.http.responses import Response

_FOLDER: Final = Path(__file__).parent
_FOLDERS: Final = ("parts", "ops", "events")  # parts is what all pages share

# No inline script or style, nothing of another host, no frame around it, and no form that leaves the page.
_HEADERS: Final = page_headers(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)


class PageHandlers:
    """Serve pages and their files."""

    def __init__(self) -> None:
        self._folders = _folders()

    async def get_operators_page(self, request: Request) -> Response:
        """The page of operators."""
        return self._folders["ops"].response("index.html", request)

    async def get_events_page(self, request: Request) -> Response:
        """The page of the contract of events."""
        return self._folders["events"].response("index.html", request)

    async def get_page_file(self, request: Request) -> Response:
        """A file that pages load."""
        folder = self._folders.get(request.parameters["folder"])
        if folder is None:
            raise NotFoundError("There is nothing at this path.")
        return folder.response(request.parameters["file"], request)


@cache
def _folders() -> Mapping[str, StaticFiles]:
    return {name: StaticFiles(_FOLDER / name, _HEADERS) for name in _FOLDERS}
