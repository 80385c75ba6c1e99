"""Tell operators why something is unavailable: users hear only that it is."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.http.request import Request
    from gateway.http.responses import Response


def with_reason(
    handler: Callable[[Any, Request], Awaitable[Response]],
) -> Callable[[Any, Request], Awaitable[Response]]:
    """The handler, with the reason in its 503 that the log has: it names a server, and no secret."""

    @wraps(handler)
    async def told(handlers: Any, request: Request) -> Response:
        try:
            return await handler(handlers, request)
        except UnavailableError as error:
            raise UnavailableError(
                str(error), for_sender=error.for_sender or f"{error}.", is_logged=error.is_logged
            ) from error

    return told
