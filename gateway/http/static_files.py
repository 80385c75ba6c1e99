"""Static files of pages: those of a folder, with entity tags, read and compressed once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from gateway.http.content_negotiation import PrebuiltResponse
from shared.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.http.request import Request
    from gateway.http.responses import Response

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class StaticFiles:
    """Responds with the files of a folder, not with those of folders in it.

    Args:
        folder: All of its files are served; each has a suffix of a known type.
        headers: Of each response.
    """

    def __init__(self, folder: Path, headers: Mapping[str, str]) -> None:
        self._files = {
            path.name: prebuilt_file(path.read_bytes(), _TYPES[path.suffix], headers)
            for path in folder.iterdir()
            if path.is_file()
        }

    def response(self, name: str, request: Request) -> Response:
        """The file of this name.

        Raises:
            NotFoundError: There is none.
        """
        file = self._files.get(name)
        if file is None:
            raise NotFoundError("There is nothing at this path.")
        return file.response(request)


def prebuilt_file(content: bytes, content_type: str, headers: Mapping[str, str]) -> PrebuiltResponse:
    """A response whose entity tag is a hash of its content."""
    tag = hashlib.sha256(content).hexdigest()[:32]
    return PrebuiltResponse(content, {**headers, "Content-Type": content_type}, tag=tag)


def page_headers(content_security_policy: str) -> Mapping[str, str]:
    """Headers of a page's files: each use is checked for a newer one, and nothing is sent to other hosts."""
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": content_security_policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
