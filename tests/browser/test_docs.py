"""The page of the contract in a real browser, as a developer uses it."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright, expect

from tests.http.conftest import ROLES, TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page

_SLOWEST_MS: Final = 20_000


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


@pytest.fixture
async def visit(gateway: str) -> AsyncIterator[Visit]:
    """A fresh browser that can reach no host but this one."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*arguments, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(_SLOWEST_MS)
        yield Visit(page, gateway)
        await browser.close()


async def test_a_developer_reads_the_contract_and_tries_it_with_a_token(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    await page.goto(f"{visit.address}/docs")
    await expect(page.get_by_role("heading", name="Isoline")).to_be_visible(timeout=_SLOWEST_MS)
    await expect(page.get_by_text("Warning")).to_have_count(0)
    await page.screenshot(path=_picture(tmp_path, "docs"))

    await page.get_by_role("button", name="Authorize").click()
    await page.get_by_label("bearer-value").fill(TOKENS.issue("ada", ROLES["ada"], now=datetime.now(UTC)))
    await page.get_by_label("Apply credentials").click()
    await page.get_by_role("button", name="Close", exact=True).click()

    submit = page.locator("#operations-ECGs-post_ecg")
    await submit.locator(".opblock-summary-control").click()
    await submit.get_by_role("button", name="Try it out").click()
    await submit.get_by_role("button", name="Execute").click()
    answer = submit.locator(".live-responses-table tbody .response-col_status").first
    await expect(answer).to_contain_text("202", timeout=_SLOWEST_MS)
    await submit.scroll_into_view_if_needed()
    await page.screenshot(path=_picture(tmp_path, "tried"))

    assert f"{visit.address}/ecg/process" in visit.asked
    hosts = {urlsplit(url).netloc for url in visit.asked if not url.startswith("data:")}
    assert hosts == {urlsplit(visit.address).netloc}
    assert visit.complaints == []


def _picture(folder: Path, name: str) -> str:
    """Where a screenshot goes: ISOLINE_TEST_PICTURES keeps them."""
    return f"{os.environ.get('ISOLINE_TEST_PICTURES') or folder}/{name}.png"
