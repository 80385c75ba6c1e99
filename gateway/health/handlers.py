"""Handlers of the health routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.http.responses import json_response
from shared.runtime.health import LIVE

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.http.responses import Response
    from shared.runtime.health import Health


@dataclass(frozen=True, slots=True)
class HealthHandlers:
    """One method per route."""

    health: Health

    async def get_live(self, _: Request) -> Response:
        """Live: the event loop runs."""
        return json_response(LIVE)

    async def get_ready(self, _: Request) -> Response:
        """Ready: 200 if no part is failing, else 503 with the reason of each failing part."""
        readiness = await self.health.readiness()
        return json_response(readiness.document, readiness.status)
