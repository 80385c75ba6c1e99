"""Browsers for tests of pages: they reach no host but this one, and note requests and complaints."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from playwright.async_api import async_playwright, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

SLOWEST_MS: Final = 60_000
expect.set_options(timeout=SLOWEST_MS)


class Visit:
    """A page, with its requests and its console errors."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def hosts(self) -> set[str]:
        """The hosts that were asked."""
        return {urlsplit(url).netloc for url in self.asked if not url.startswith("data:")}


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A browser that can reach no host but this one."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*arguments, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def open_visit(browser: Browser, address: str, **context: Any) -> AsyncIterator[Visit]:
    """A fresh page, without what others have left."""
    page = await browser.new_page(**{"viewport": {"width": 1280, "height": 1600}, **context})
    page.set_default_timeout(SLOWEST_MS)
    yield Visit(page, address)
    await page.close()


def picture(folder: Path, name: str) -> str:
    """Where a screenshot goes: ISOLINE_TEST_PICTURES keeps them."""
    return f"{os.environ.get('ISOLINE_TEST_PICTURES') or folder}/{name}.png"
