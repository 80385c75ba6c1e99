"""The page of the contract of events in a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from gateway.contract.asyncapi import asyncapi_document
from shared.events import EventType
from shared.release import RELEASE
from tests.browser.visits import open_visit, picture

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Locator, Page, Route

_CONTRACT: Final = json.loads(json.dumps(asyncapi_document(namespace="", version=RELEASE)))
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}


@pytest.mark.parametrize("look", _LOOKS)
async def test_a_developer_reads_what_each_event_says(
    browser: Browser, gateway_alone: str, tmp_path: Path, look: str
) -> None:
    async with open_visit(
        browser, gateway_alone, **{"viewport": {"width": 1280, "height": 900}, **_LOOKS[look]}
    ) as visit:
        page = visit.page
        await page.goto(f"{gateway_alone}/docs/events")
        await _expect_the_contract(page)
        violations = (await Axe().run(page)).response["violations"]
        widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        await page.screenshot(path=picture(tmp_path, f"events-{look}"), full_page=True)

    assert violations == []
    assert widths[0] <= widths[1]
    assert visit.hosts() == {urlsplit(gateway_alone).netloc}
    assert visit.complaints == []


async def _expect_the_contract(page: Page) -> None:
    await expect(_section(page, "Subscribe over AMQP")).to_contain_text("ecg.events")
    await expect(_section(page, "Subscribe over AMQP")).to_contain_text("x-queue-type: quorum")
    await expect(_row(page, "Every event", "dataschema")).to_contain_text("string (uri)")
    for type_ in EventType:
        [example] = _CONTRACT["components"]["messages"][type_]["examples"]
        shown = await _section(page, type_).locator("pre").text_content()
        assert shown == json.dumps(example["payload"], indent=2)
    await expect(_row(page, "ecg.processed", "leads[].{name}.zero_crossings")).to_contain_text("integer")
    await expect(_row(page, "ecg.processed", "insights")).to_contain_text("object of integers")
    await expect(_row(page, "ecg.submitted", "ecgs[].owner")).to_contain_text("string")


async def test_its_links_lead_to_the_schemas(browser: Browser, gateway_alone: str) -> None:
    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await page.goto(f"{gateway_alone}/docs/events#ecg.deleted")
        section = _section(page, "ecg.deleted")
        await expect(section.get_by_role("heading")).to_be_in_viewport()
        links = await section.get_by_role("link").evaluate_all("(links) => links.map((link) => link.href)")
        for link in [*links, f"{gateway_alone}/asyncapi.json"]:
            assert (await page.request.get(link)).ok

    assert [urlsplit(link).path for link in links] == [
        "/schemas/ecg.deleted/1",
        "/schemas/ecg.deleted/1/event",
    ]


async def test_a_contract_that_does_not_arrive_is_said_and_asked_for_again(
    browser: Browser, gateway_alone: str
) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, body="{}")

    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await page.route("**/asyncapi.json", refuse)
        await page.goto(f"{gateway_alone}/docs/events")
        await expect(page.get_by_role("alert")).to_contain_text("could not be loaded")

        await page.unroute("**/asyncapi.json")
        await page.get_by_role("button", name="Try again").click()

        await expect(_section(page, "ecg.processed")).to_be_visible()


async def test_no_text_of_the_contract_becomes_markup(browser: Browser, gateway_alone: str) -> None:
    contract = json.loads(json.dumps(_CONTRACT))
    markup = "<img src=x onerror='document.title = 0'> `<b>`"
    contract["info"]["description"] = markup
    contract["channels"]["ecg.failed"]["description"] = markup

    async def answer(route: Route) -> None:
        await route.fulfill(json=contract)

    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await page.route("**/asyncapi.json", answer)
        await page.goto(f"{gateway_alone}/docs/events")
        await expect(_section(page, "ecg.failed")).to_contain_text("<img src=x")
        await expect(page.get_by_role("main").locator("img, b")).to_have_count(0)
        await expect(page).to_have_title("Isoline events")


def _section(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title, exact=True)


def _row(page: Page, title: str, field: str) -> Locator:
    fields = page.get_by_text(field, exact=True)
    return _section(page, title).locator("tr").filter(has=fields)
