"""The same gateways as over HTTP, and a browser for all tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.visits import open_browser
from tests.http.conftest import broker, gateway, gateway_alone, processor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

__all__ = ["broker", "gateway", "gateway_alone", "processor"]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Starting one takes a second."""
    async with open_browser() as browser:
        yield browser
