"""An answer of a service as JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping


def json_answer(
    document: object, status: HTTPStatus = HTTPStatus.OK, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The answer whose body is a document."""
    return web.Response(
        body=orjson.dumps(document), status=status, content_type="application/json", headers=headers
    )
