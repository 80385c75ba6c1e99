"""The example of a page of another origin, in a real browser."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from shared.domain.account import Account
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.browser.visits import open_visit, picture
from tests.http.conftest import PASSWORD, ROLES, hash_of_password, open_test_gateway, open_test_processor
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page, Route

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_FOLDER: Final = Path(__file__).parents[2] / "examples/browser"


@pytest.fixture(scope="module")
async def origin() -> AsyncIterator[str]:
    """The origin of a web server with the page, as any that serves files."""
    app = web.Application()
    app.router.add_static("/", _FOLDER)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def a_gateway_for(origin: str, database: Database, broker: InProcessBroker) -> AsyncIterator[str]:
    """The address of a gateway with the account ada that pages of this origin may call, and a processor."""
    await PostgresAccountStore(database).add(Account("ada", hash_of_password(), frozenset(ROLES["ada"])))
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, cors_origins=origin, token_lifetime_s=30)
    async with (
        open_test_processor(database, broker),
        open_test_gateway(database, broker.publisher(), settings=settings, broker=broker) as address,
    ):
        yield address


async def test_a_page_of_another_origin_signs_in_submits_reads_and_follows_the_events(
    origin: str, database: Database, broker: InProcessBroker, browser: Browser, tmp_path: Path
) -> None:
    async with a_gateway_for(origin, database, broker) as gateway, open_visit(browser, origin) as visit:
        page = visit.page
        await sign_in(page, origin, gateway)
        await submit(page, an_ecg_body(id="10"))
        await expect(page.get_by_label("Result")).to_contain_text('"zero_crossings": 2')
        await expect(page.get_by_label("Events").get_by_role("listitem")).to_have_text(
            re.compile(r"ecg\.processed 10$")
        )
        await page.screenshot(path=picture(tmp_path, "example-result"))
        found = (await Axe().run(page)).response["violations"]

        await submit(page, an_ecg_body(id="10", date="2024-01-01"))
        await expect(page.get_by_role("alert")).to_contain_text("(request ")
        await expect(page.get_by_role("alert")).to_contain_text("other content")
        await submit(page, {"id": "11"})
        await expect(page.get_by_role("alert")).to_contain_text("/leads: this field is required")

    assert [rule["id"] for rule in found] == []
    assert visit.hosts() == {urlsplit(origin).netloc, urlsplit(gateway).netloc}
    # Chromium itself notes each answer of 400 or more.
    assert [line for line in visit.complaints if "status of 4" not in line] == []


async def test_a_page_whose_origin_is_not_named_is_told_what_to_look_at(
    origin: str, database: Database, broker: InProcessBroker, browser: Browser
) -> None:
    async with (
        a_gateway_for("https://app.example.org", database, broker) as gateway,
        open_visit(browser, origin) as visit,
    ):
        await sign_in(visit.page, origin, gateway)
        await expect(visit.page.get_by_role("alert")).to_have_text(
            f"No answer. Is the gateway there, and does its ISOLINE_CORS_ORIGINS name {origin}?"
        )

    assert "blocked by CORS policy" in " ".join(visit.complaints)


async def test_a_page_renews_a_token_that_has_ended_once_for_all_requests(
    origin: str, database: Database, broker: InProcessBroker, browser: Browser
) -> None:
    async with a_gateway_for(origin, database, broker) as gateway, open_visit(browser, origin) as visit:
        page = visit.page
        await page.goto(f"{origin}/index.html")
        await page.route("**/ecg/none?**", _refuse_first(2))
        statuses = await page.evaluate(
            """async ([gateway, password]) => {
                const { Isoline } = await import("./isoline.js");
                const isoline = new Isoline(gateway);
                await isoline.signIn("ada", password);
                const results = [isoline.result("none"), isoline.result("none")];
                return (await Promise.allSettled(results)).map((result) => result.reason.status);
            }""",
            [gateway, PASSWORD],
        )

    assert statuses == [404, 404]
    assert sum(url.endswith("/token/refresh") for url in visit.asked) <= 4  # with its preflight


async def test_a_page_goes_on_after_the_last_event_once_its_stream_has_ended(
    origin: str, database: Database, broker: InProcessBroker, browser: Browser
) -> None:
    sent: list[str | None] = []

    async def end_first(route: Route) -> None:
        sent.append(route.request.headers.get("last-event-id"))
        if len(sent) > 1:
            await route.continue_()
            return
        event = json.dumps({"id": "e1", "type": "ecg.processed", "time": "then", "data": {"id": "first"}})
        await route.fulfill(
            headers={"Access-Control-Allow-Origin": "*", "Content-Type": "text/event-stream"},
            body=f"id: {sent[0]}\nevent: ecg.processed\ndata: {event}\n\n" * 2
            + 'event: end\ndata: {"reason": "it has ended"}\n\nid: of an event that is not wh',
        )

    async with a_gateway_for(origin, database, broker) as gateway, open_visit(browser, origin) as visit:
        page = visit.page
        await page.route("**/events", end_first)
        await sign_in(page, origin, gateway)
        await submit(page, an_ecg_body(id="second"))
        await expect(page.get_by_label("Events").get_by_role("listitem")).to_have_text(
            [re.compile(r"ecg\.processed second$"), "then ecg.processed first"]
        )

    assert sent == [sent[0]] * 2
    assert sent[0]


def _refuse_first(count: int) -> Any:
    """Answers the first requests as if their token had ended, and lets the others pass."""
    left = count

    async def handle(route: Route) -> None:
        nonlocal left
        if left and route.request.method != "OPTIONS":
            left -= 1
            headers = {"Access-Control-Allow-Origin": "*", "X-Request-Id": "none"}
            await route.fulfill(status=401, headers=headers, json={"detail": "It has ended."})
        else:
            await route.continue_()

    return handle


async def sign_in(page: Page, origin: str, gateway: str) -> None:
    await page.goto(f"{origin}/index.html")
    await page.get_by_label("Gateway").fill(gateway)
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")


async def submit(page: Page, ecg: dict[str, Any]) -> None:
    await page.get_by_role("textbox", name="ECG").fill(json.dumps(ecg))
    await page.get_by_role("button", name="Submit").click()
