"""The health routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.route import Route, RouteResponse
from gateway.health.handlers import HealthHandlers
from gateway.health.response_bodies import LiveResponse, ReadyResponse

_TAG: Final = "Service"
_OK: Final = {"state": "ok", "since": "2026-01-05T08:00:00Z"}
_DEGRADED: Final = {
    "state": "degraded",
    "since": "2026-01-05T09:30:00Z",
    "reason": "the broker blocks publishers: low on disk",
    "means": "ECGs are taken and kept; they are announced once the broker takes them.",
}
_STOPPING: Final = {
    "state": "failing",
    "since": "2026-01-05T09:45:00Z",
    "reason": "draining: it was told to stop",
    "means": "This process finishes what it has in hand; others take what is new.",
}

HEALTH_ROUTES: Final = (
    Route(
        method="GET",
        path="/health/live",
        handler=HealthHandlers.get_live,
        role=None,
        tag=_TAG,
        summary="Ask whether the process turns",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="It does.", model=LiveResponse, examples={"live": {"status": "live"}}
            )
        },
    ),
    Route(
        method="GET",
        path="/health/ready",
        handler=HealthHandlers.get_ready,
        role=None,
        tag=_TAG,
        summary="Ask whether requests should come here",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="They should, be it that a part is degraded.",
                model=ReadyResponse,
                examples={
                    "ready": {"status": "ready", "parts": {"schema": _OK}},
                    "degraded": {"status": "ready", "parts": {"schema": _OK, "broker": _DEGRADED}},
                },
            ),
            HTTPStatus.SERVICE_UNAVAILABLE: RouteResponse(
                description="They should not, for these reasons.",
                model=ReadyResponse,
                examples={
                    "draining": {
                        "status": "not ready",
                        "reasons": {"process": "draining: it was told to stop"},
                        "parts": {"process": _STOPPING, "schema": _OK},
                    }
                },
            ),
        },
    ),
)
