"""The page of operators over the real operations API, a real database and a real processor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from argon2 import PasswordHasher
from playwright.async_api import expect

from shared.domain.account import Account, Role
from shared.events import EcgKey, failed_event
from shared.ports.ecgs import Settlement
from shared.ports.operators.processes import Presence
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.processes import PostgresProcesses
from tests.browser.visits import open_visit, picture
from tests.http.conftest import PASSWORD, open_client, open_test_processor
from tests.support.builders import SOURCE, a_submission

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Page

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_REASONS: Final = {
    "Given up after 5 attempts.": 250,
    "zero_crossings could not be measured: ZeroDivisionError": 167,
    "The stored signal is damaged.": 83,
}
_OWNERS: Final = ("ada", "bob", "grace@example.org", "https://login.example.org#7c9e6679")
_REPLAYED: Final = "zero_crossings could not be measured: ZeroDivisionError"


@pytest.fixture
async def accounts(database: Database) -> None:
    """The operator olga and the observer otto."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    store = PostgresAccountStore(database)
    await store.add(Account("olga", hashed, frozenset([Role.OPERATOR])))
    await store.add(Account("otto", hashed, frozenset([Role.OBSERVER])))


@pytest.fixture
async def presence(database: Database) -> None:
    """What the processor says of itself, which `open_test_processor` does not."""
    said = Presence(uuid4(), "processor", 1, "isoline-processor-1", "0.2.0", held_ecgs=0)
    await PostgresProcesses(database).announce(said)


@pytest.fixture
async def failed_ecgs(database: Database) -> None:
    """500 failed ECGs of three reasons over four owners."""
    store, number = PostgresEcgStore(database), 0
    for reason, count in _REASONS.items():
        keys = [EcgKey(_OWNERS[n % 4], f"{n}") for n in range(number, number + count)]
        number += count
        await store.add([a_submission(key.id, owner=key.owner) for key in keys])
        claims = (await store.claim(keys, claim_id=uuid4())).claimed
        await store.settle(
            [
                Settlement(
                    claim,
                    failed_event(claim.key, reason, source=SOURCE, now=datetime.now(UTC), traceparent=None),
                    error=reason,
                )
                for claim in claims
            ]
        )


@pytest.mark.usefixtures("accounts", "failed_ecgs", "presence")
async def test_an_operator_replays_all_that_failed_for_a_reason_and_watches_them_complete(
    gateway: str, browser: Browser, database: Database, broker: InProcessBroker, tmp_path: Path
) -> None:
    async with open_test_processor(database, broker), open_visit(browser, gateway) as visit:
        page = visit.page
        await page.goto(f"{gateway}/ops#ecgs?failed")
        await sign_in(page, "olga")
        await expect(page.get_by_text("500 failed ECGs match")).to_be_visible()
        await page.get_by_role("link", name=_REPLAYED).click()
        await page.get_by_role("button", name="Replay all 167 that match…").click()
        await page.get_by_label("Reason, kept").fill("mended in 0.2.1")
        await page.screenshot(path=picture(tmp_path, "ops-real-confirm"))
        await page.keyboard.press("Enter")

        progress = page.get_by_role("group", name="Replay")
        await expect(progress).to_contain_text("all are finished, none has failed since")
        await expect(page.get_by_text("No failed ECG matches this filter.")).to_be_visible()
        await expect(page.get_by_role("link", name=_REPLAYED)).to_have_count(0)
        await expect(page.get_by_role("link", name="Failed ECGs 333")).to_be_visible()
        await page.screenshot(path=picture(tmp_path, "ops-real-replayed"))
        for view, text in (
            ("audit", f"167 ECGs: --failed --reason '{_REPLAYED}' --until"),
            ("ecg?owner=ada&id=252", "mended in 0.2.1"),
            ("now", "All is well"),
        ):
            await page.goto(f"{gateway}/ops#{view}")
            await expect(page.get_by_text(text).first).to_be_visible()
            await page.screenshot(path=picture(tmp_path, f"ops-real-{view.partition('?')[0]}"))

    assert visit.hosts() == {urlsplit(gateway).netloc}
    assert visit.complaints == []


@pytest.mark.usefixtures("accounts", "failed_ecgs")
async def test_an_observer_sees_all_and_can_not_act(gateway: str, browser: Browser) -> None:
    async with open_visit(browser, gateway) as visit:
        page = visit.page
        await page.goto(f"{gateway}/ops#ecgs?failed")
        await sign_in(page, "otto")
        await expect(page.get_by_text("500 failed ECGs match")).to_be_visible()
        await expect(page.get_by_role("button", name="…")).to_have_count(0)
    async with open_client(gateway, "otto") as otto:
        body = {"filter": {"status": "failed"}, "expected": 500, "reason": "because"}
        async with otto.post("/ops/api/replays", json=body) as response:
            assert response.status == 403

    assert visit.complaints == []


async def sign_in(page: Page, name: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
