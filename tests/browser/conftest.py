"""The same gateway as over HTTP."""

from __future__ import annotations

from tests.http.conftest import broker, gateway, processor

__all__ = ["broker", "gateway", "processor"]
