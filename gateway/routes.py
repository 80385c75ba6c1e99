"""Every route of the gateway, and the contract that they make together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.account_routes import ACCOUNT_ROUTES
from gateway.ecg_routes import ECG_ROUTES
from gateway.openapi import openapi_document
from gateway.service_routes import DOCUMENT_ROUTES, HEALTH_ROUTES
from shared.release import RELEASE

if TYPE_CHECKING:
    from shared.settings import GatewayOnlySettings

__all__ = [
    "ACCOUNT_ROUTES",
    "DOCUMENT_ROUTES",
    "ECG_ROUTES",
    "HEALTH_ROUTES",
    "ROUTES",
    "contract",
]

ROUTES: Final = (*ECG_ROUTES, *ACCOUNT_ROUTES, *DOCUMENT_ROUTES, *HEALTH_ROUTES)


def contract(settings: GatewayOnlySettings) -> dict[str, Any]:
    """The OpenAPI document of a gateway of these settings."""
    return openapi_document(ROUTES, settings, version=RELEASE)
