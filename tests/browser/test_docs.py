"""The page of the contract in a real browser, as a developer uses it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from playwright.async_api import expect

from tests.browser.visits import open_visit, picture
from tests.http.conftest import ROLES, TOKENS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from tests.browser.visits import Visit


async def test_a_developer_reads_the_contract_and_tries_it_with_a_token(
    gateway: str, browser: Browser, tmp_path: Path
) -> None:
    async with open_visit(browser, gateway) as visit:
        await _try_the_contract(visit, tmp_path)

    assert f"{gateway}/ecg/process" in visit.asked
    assert visit.hosts() == {urlsplit(gateway).netloc}
    assert visit.complaints == []


async def _try_the_contract(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    await page.goto(f"{visit.address}/docs")
    await expect(page.get_by_role("heading", name="Isoline")).to_be_visible()
    await expect(page.get_by_text("Warning")).to_have_count(0)
    await page.screenshot(path=picture(tmp_path, "docs"))

    await page.get_by_role("button", name="Authorize").click()
    bearer = page.locator("form").filter(has_text="access_token")  # beside that of API keys
    await bearer.get_by_label("bearer-value").fill(TOKENS.issue("ada", ROLES["ada"], now=datetime.now(UTC)))
    await bearer.get_by_label("Apply credentials").click()
    await bearer.get_by_role("button", name="Close", exact=True).click()

    submit = page.locator("#operations-ECG-post_ecg")
    await submit.locator(".opblock-summary-control").click()
    await submit.get_by_role("button", name="Try it out").click()
    await submit.get_by_role("button", name="Execute").click()
    answer = submit.locator(".live-responses-table tbody .response-col_status").first
    await expect(answer).to_contain_text("202")
    await submit.scroll_into_view_if_needed()
    await page.screenshot(path=picture(tmp_path, "tried"))
