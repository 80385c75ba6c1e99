"""The page of operators over a scripted API: what it says, in every state that it can be in."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from shared.domain.account import Role
from tests.browser.scripted_operations import (
    ScriptedOperations,
    a_failed_ecg,
    a_process,
    an_overview,
    before,
)
from tests.browser.visits import open_visit, picture
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Locator, Page

    from tests.browser.visits import Visit

_REASONS: Final = ("Given up after 5 attempts.", "Division by zero in lead V2", "Not enough memory")
_OWNERS: Final = ("ada", "bob", "grace@example.org", "https://login.example.org/realms/hospital#7c9e6679")
_MARKUP: Final = '<img src="x" onerror="document.title = 0">'
# Shows each list of numbers in turn; returns those that are shown wrong, or not by the nodes from before.
_CHANGE_A_LIST: Final = """
async (lists) => {
  const { showItems } = await import("./pages/parts/keyed_children.js");
  const parent = document.createElement("ul");
  const create = (number) => Object.assign(document.createElement("li"), { textContent: number });
  let before = [];
  return lists.filter((list) => {
    showItems(parent, list, { key: (number) => number, create });
    const after = [...parent.children];
    const kept = before.filter((node) => list.includes(Number(node.textContent)));
    const isRight = after.map((node) => Number(node.textContent)).join() === list.join();
    before = after;
    return !isRight || !kept.every((node) => after.includes(node));
  });
}
"""
_HIDE: Final = """
(isHidden) => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
_QUEUED: Final = {"queued_ecgs": 1200, "oldest_ecg_s": 240.0, "unpublished_batches": 0, "oldest_batch_s": 0.0}


@pytest.fixture
def api() -> ScriptedOperations:
    """500 failed ECGs of three reasons, and something of all else."""
    api = ScriptedOperations()
    api.documents |= {
        "processes": {"processes": [a_process(), a_process(worker=2, state="draining", held_ecgs=1)]},
        "ecgs": {
            "ecgs": [
                a_failed_ecg(number, owner=_OWNERS[number % 4], reason=_REASONS[number % 3])
                for number in range(20)
            ],
            "as_of": before(),
            "next_cursor": "next",
        },
        "failures": {
            "groups": [
                {
                    "reason": reason,
                    "ecgs": ecgs,
                    "owners": 4,
                    "first_at": before(hours=30),
                    "last_at": before(),
                }
                for reason, ecgs in zip(_REASONS, (250, 167, 83), strict=True)
            ],
            "as_of": before(),
        },
        "ecgs/ada/0/timeline": {
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "moments": [
                {"at": before(minutes=50), "what": "submitted", "generation": 1, "detail": ""},
                {"at": before(minutes=48), "what": "failed", "generation": 1, "detail": _REASONS[0]},
                {"at": None, "what": "queued", "generation": 2, "detail": ""},
            ],
        },
        "dead-letters": {
            "dead_letters": [
                {"name": "0a1b2c3d4e5f", "reason": "rejected", "bytes": 312},
                {"name": "ffeeddccbbaa", "reason": "delivery_limit", "bytes": 40_000},
            ]
        },
        "dead-letters/drop": {"settled": 1},
        "replays": {"replayed": 167},
        "intake": {"state": "paused", "who": "olga", "why": "maintenance", "since": before()},
    }
    return api


@asynccontextmanager
async def a_visit(
    browser: Browser, address: str, api: ScriptedOperations, fragment: str = "", **context: Any
) -> AsyncIterator[Visit]:
    """A visit to the page, signed in; the console has to stay empty."""
    async with open_visit(
        browser, address, **{"viewport": {"width": 1280, "height": 900}, **context}
    ) as visit:
        await api.serve(visit.page)
        await visit.page.goto(f"{address}/ops{fragment}")
        await sign_in(visit.page)
        yield visit
        assert visit.hosts() == {urlsplit(address).netloc}
        assert visit.complaints == []


async def sign_in(page: Page) -> None:
    await page.get_by_label("Name").fill("olga")
    await page.get_by_label("Password").fill("a good password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()


class TestHealthSentence:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({}, "All is well: 0 waiting, 60.0 per s."),
            (
                {"backlog": {**_QUEUED, "oldest_ecg_s": 0.4}},
                "All is well: 1,200 waiting, the oldest for 400 ms, 60.0 per s.",
            ),
            (
                {"backlog": _QUEUED, "processes": {"processor": {"silent": 1}}},
                "Oldest ECG waits 4 min: no processor is attached.",
            ),
            ({"processes": {}}, "No processor is attached: ECGs will wait."),
            ({"processes": {"embedded": {"working": 1}}}, "All is well: 0 waiting, 60.0 per s."),
            ({"backlog": _QUEUED}, "Oldest ECG waits 4 min: 3 processors work on 1,200 ECGs."),
            (
                {"dead_letters": {"waiting": 1, "reason": ""}},
                "1 dead letter waits for a decision.",
            ),
            (
                {"dead_letters": {"waiting": None, "reason": "RabbitMQ is away."}},
                "Dead letters can't be counted: RabbitMQ is away.",
            ),
            (
                {"health": {"status": "not ready", "reasons": {"database": "refused"}, "parts": {}}},
                "This gateway is not ready: database: refused.",
            ),
        ],
    )
    async def test_says_first_what_is_worst(
        self, page_of_operators: Page, changes: dict[str, Any], sentence: str
    ) -> None:
        findings = await _call(
            page_of_operators, "ops/health_sentence.js", "findingsOf", an_overview(**changes)
        )

        assert findings[0]["text"].replace("\u00a0", " ") == sentence

    async def test_says_all_else_that_is_amiss(self, page_of_operators: Page) -> None:
        overview = an_overview(
            backlog={**_QUEUED, "unpublished_batches": 2, "oldest_batch_s": 181.0},
            dead_letters={"waiting": 2, "reason": ""},
            processes={"gateway": {"silent": 1}, "processor": {"working": 1}},
        )

        findings = await _call(page_of_operators, "ops/health_sentence.js", "findingsOf", overview)

        assert [finding["kind"] for finding in findings] == ["age", "silent", "outbox", "dead letters"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[
            (0, "0 ms"),
            (0.08, "80 ms"),
            (1.46, "1.5 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (250, "4 min 10 s"),
        ],
        *[
            (3599.6, "1 h"),
            (7500, "2 h 5 min"),
            (86_300, "23 h 58 min"),
            (86_399, "1 d"),
            (266_400, "3 d 2 h"),
        ],
    ],
)
async def test_a_duration_has_at_most_two_units(page_of_operators: Page, seconds: float, text: str) -> None:
    said = await _call(page_of_operators, "parts/numbers.js", "durationText", seconds)

    assert said.replace("\u00a0", " ") == text


async def test_a_list_that_changes_is_shown_in_order_by_the_same_nodes(page_of_operators: Page) -> None:
    random = Random(1)  # noqa: S311 - not for secrets
    lists = [random.sample(range(12), random.randint(0, 12)) for _ in range(300)]

    wrong = await page_of_operators.evaluate(_CHANGE_A_LIST, lists)

    assert wrong == []


async def test_data_are_shown_as_text(browser: Browser, gateway_alone: str, api: ScriptedOperations) -> None:
    ecg = a_failed_ecg(0, owner=_MARKUP, id=_MARKUP, reason=_MARKUP)
    api.documents["ecgs"]["ecgs"] = [ecg]
    api.documents["failures"]["groups"][0]["reason"] = _MARKUP
    api.documents["processes"]["processes"] = [a_process(host=_MARKUP, version=_MARKUP)]
    record = {
        "number": 1,
        "at": before(),
        "who": _MARKUP,
        "why": _MARKUP,
        "what": _MARKUP,
        "subject": [_MARKUP],
    }
    api.documents["audit"]["records"] = [record]
    api.overview["intake"] = {"state": "paused", "who": _MARKUP, "why": _MARKUP, "since": before()}
    async with a_visit(browser, gateway_alone, api) as visit:
        page = visit.page
        await expect(page.get_by_role("cell", name=f"processor 1 at {_MARKUP}")).to_be_visible()
        for view, shown in (
            (f"ecgs?failed&owner={quote(_MARKUP)}&reason={quote(_MARKUP)}", f"{_MARKUP}/{_MARKUP}"),
            ("audit", _MARKUP),
        ):
            await page.goto(f"{gateway_alone}/ops#{view}")
            await expect(page.get_by_role("cell", name=shown).first).to_be_visible()
            assert await page.locator("img").count() == 1, "the icon"


async def test_parts_without_data_say_so(browser: Browser, gateway_alone: str) -> None:
    async with a_visit(browser, gateway_alone, ScriptedOperations()) as visit:
        for view, sentence in (
            ("ecgs?failed&owner=ada", "No failed ECG matches this filter."),
            ("dead-letters", "There is no dead letter."),
            ("outbox", "Every event is published."),
            ("audit", "No operator has done anything yet."),
        ):
            await visit.page.goto(f"{gateway_alone}/ops#{view}")
            await expect(visit.page.get_by_text(sentence)).to_be_visible()
            await expect(visit.page.get_by_text("Loading…").filter(visible=True)).to_have_count(0)


async def test_a_part_that_can_not_be_read_says_why_and_can_be_read_again(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    problem = "Dead letters can't be reached: name a user in ISOLINE_OPERATOR_AMQP_URL."
    # Without a stream nothing is read again by itself.
    api.problems |= {"stream": (503, "64 streams are open."), "dead-letters": (503, problem)}
    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await api.serve(page)
        await page.goto(f"{gateway_alone}/ops#dead-letters")
        await sign_in(page)
        await expect(page.get_by_text(problem)).to_be_visible()

        del api.problems["dead-letters"]
        await page.get_by_role("button", name="Try again").click()

        await expect(page.get_by_text("ffeeddccbbaa")).to_be_visible()
        await expect(page.get_by_text(problem)).to_be_hidden()


class TestFilter:
    async def test_is_in_the_address_in_the_words_of_the_command_line(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        words = f"failed&owner=ada&reason={quote(_REASONS[1])}&since=2026-11-30T08:00:00Z"
        async with a_visit(browser, gateway_alone, api, f"#ecgs?{words}") as visit:
            page = visit.page
            await expect(page.get_by_label("Owner")).to_have_value("ada")
            await expect(page.get_by_label("Failed only")).to_be_checked()
            await expect(page.locator(".command code").first).to_have_text(
                f"isoline ops failed --owner ada --reason '{_REASONS[1]}' --since 2026-11-30T08:00:00Z"
            )
            await expect(page.get_by_text("167 failed ECGs match")).to_be_visible()

        [query] = [query for path, query in api.asked if path == "ecgs"][:1]
        expected = {
            "status": "failed",
            "owner": "ada",
            "reason": _REASONS[1],
            "since": "2026-11-30T08:00:00Z",
        }
        assert query == {**expected, "limit": "50"}

    async def test_is_set_by_a_click_on_a_group_and_taken_back_by_another(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with a_visit(browser, gateway_alone, api, "#ecgs?failed&owner=ada") as visit:
            group = visit.page.get_by_role("link", name=_REASONS[1])
            await group.click()
            await expect(visit.page.get_by_label("Reason", exact=True)).to_have_value(_REASONS[1])
            await expect(visit.page).to_have_url(
                f"{gateway_alone}/ops#ecgs?failed&owner=ada&reason={quote(_REASONS[1])}"
            )

            await group.click()

            await expect(visit.page).to_have_url(f"{gateway_alone}/ops#ecgs?failed&owner=ada")

    async def test_entered_in_the_form_becomes_the_address(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with a_visit(browser, gateway_alone, api, "#ecgs?failed", timezone_id="Asia/Tokyo") as visit:
            await visit.page.get_by_label("Finished since").fill("2026-11-30T17:00:00")
            await visit.page.get_by_label("Owner").fill("ada")
            await visit.page.keyboard.press("Enter")

            since = quote("2026-11-30T08:00:00Z", safe="")
            await expect(visit.page).to_have_url(f"{gateway_alone}/ops#ecgs?failed&owner=ada&since={since}")


async def test_times_are_in_the_zone_of_the_operator_and_in_utc_on_hover(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    api.documents["ecgs"]["ecgs"] = [a_failed_ecg(0, finished_at="2026-01-30T20:30:00+00:00")]
    async with a_visit(browser, gateway_alone, api, "#ecgs?failed", timezone_id="Asia/Tokyo") as visit:
        shown = visit.page.get_by_text("31 Jan 05:30:00").or_(visit.page.get_by_text("31 Jan 2026 05:30:00"))

        await expect(shown).to_have_attribute("title", "2026-01-30 20:30:00 UTC")


async def test_an_update_leaves_focus_and_selection_alone(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with a_visit(browser, gateway_alone, api, "#ecgs?failed") as visit:
        page = visit.page
        box = page.get_by_label("Select ada/4")
        await box.check()
        await box.focus()

        api.documents["ecgs"]["ecgs"].insert(0, a_failed_ecg(100))
        api.overview["failed_ecgs"] += 1

        await expect(page.get_by_role("link", name="ada/100")).to_be_visible()
        await expect(box).to_be_checked()
        await expect(box).to_be_focused()
        await expect(page.get_by_role("button", name="Replay 1 selected…")).to_be_visible()


class TestReplay:
    async def test_of_all_that_match_needs_a_reason_and_sends_what_was_shown(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with a_visit(browser, gateway_alone, api, f"#ecgs?failed&reason={quote(_REASONS[1])}") as visit:
            page = visit.page
            await page.get_by_role("button", name="Replay all 167 that match…").click()
            dialog = page.get_by_role("dialog", name="Replay 167 ECGs?")
            await dialog.get_by_role("button", name="Replay 167 ECGs").click()
            await expect(dialog).to_be_visible()
            assert api.sent == [], "a reason is required"

            await dialog.get_by_label("Reason").fill("fixed in 0.2.1")
            await page.keyboard.press("Enter")

            await expect(dialog).to_have_count(0)
            await expect(
                page.get_by_role("group", name="Replay").get_by_text("167 ECGs replayed at")
            ).to_be_visible()
        chosen = {"status": "failed", "reason": _REASONS[1], "until": api.documents["failures"]["as_of"]}
        assert api.sent == [("replays", {"filter": chosen, "expected": 167, "reason": "fixed in 0.2.1"})]

    async def test_is_not_offered_before_the_filter_is_counted(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with open_visit(browser, gateway_alone) as visit:
            page = visit.page
            await api.serve(page)
            await page.goto(f"{gateway_alone}/ops#ecgs?failed")
            await sign_in(page)
            await page.get_by_label("Select ada/4").check()
            await expect(page.get_by_role("button", name="Replay", exact=False)).to_have_count(2)

            api.problems["failures"] = (503, "PostgreSQL is away.")
            await page.get_by_role("link", name=_REASONS[1]).click()

            await expect(page.get_by_text("PostgreSQL is away.")).to_be_visible()
            await expect(page.get_by_role("button", name="Replay", exact=False)).to_have_count(0)

    async def test_that_is_refused_says_so_in_the_dialog(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        api.problems["replays"] = (
            409,
            "170 ECGs are selected now, and 167 were confirmed: look at them again.",
        )
        async with open_visit(browser, gateway_alone) as visit:
            page = visit.page
            await api.serve(page)
            await page.goto(f"{gateway_alone}/ops#ecgs?failed")
            await sign_in(page)
            await page.get_by_role("button", name="Replay all 500 that match…").click()
            await page.get_by_label("Reason, kept").fill("fixed")
            await page.keyboard.press("Enter")

            await expect(
                page.get_by_role("alert").filter(has_text="170 ECGs are selected now")
            ).to_be_visible()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("dialog")).to_have_count(0)
            await expect(page.get_by_role("button", name="Replay all 500 that match…")).to_be_focused()

    async def test_of_selected_ecgs_sends_each(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        api.documents["replays"] = {"replayed": 1}
        async with a_visit(browser, gateway_alone, api, "#ecgs?failed") as visit:
            page = visit.page
            await page.get_by_label("Select ada/4").check()
            await page.get_by_label("Select bob/1", exact=True).check()
            await page.get_by_role("button", name="Replay 2 selected…").click()
            await page.get_by_label("Reason, kept").fill("looked at")
            await page.keyboard.press("Enter")

            await expect(
                page.get_by_role("group", name="Replay").get_by_text("2 ECGs replayed at")
            ).to_be_visible()
        chosen = [(body["filter"]["owner"], body["filter"]["id"], body["expected"]) for _, body in api.sent]
        assert chosen == [("bob", "1", 1), ("ada", "4", 1)]


async def test_dead_letters_are_dropped_with_a_reason(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with a_visit(browser, gateway_alone, api, "#dead-letters") as visit:
        page = visit.page
        await page.get_by_label("Select ffeeddccbbaa").check()
        await page.get_by_role("button", name="Drop 1 selected…").click()
        await page.get_by_label("Reason, kept").fill("not ours")
        await page.get_by_role("button", name="Drop 1 dead letter").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)

    assert api.sent == [("dead-letters/drop", {"names": ["ffeeddccbbaa"], "reason": "not ours"})]


async def test_the_intake_is_paused_with_a_reason(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with a_visit(browser, gateway_alone, api) as visit:
        page = visit.page
        await page.get_by_role("button", name="Pause intake…").click()
        await page.get_by_label("Reason, kept").fill("maintenance")
        await page.get_by_role("button", name="Pause intake", exact=True).click()
        await expect(page.get_by_text("Paused by olga since")).to_be_visible()

    assert api.sent == [("intake", {"state": "paused", "reason": "maintenance"})]


class TestAccount:
    async def test_of_an_observer_gets_no_buttons_that_act(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        api.roles = [Role.OBSERVER]
        async with a_visit(browser, gateway_alone, api) as visit:
            page = visit.page
            await expect(page.get_by_text("Processors take ECGs.")).to_be_visible()
            for view in ("now", "ecgs?failed", "dead-letters"):
                await page.goto(f"{gateway_alone}/ops#{view}")
                await expect(page.get_by_role("table").first).to_be_visible()
                await expect(page.get_by_role("button", name="…")).to_have_count(0)
                await expect(page.locator("main").get_by_role("checkbox", name="Select")).to_have_count(0)

    async def test_without_a_role_for_it_is_told_so(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        refusal = "This needs the role observer or operator; your token has user."
        api.roles = [Role.USER]
        api.problems |= dict.fromkeys(("stream", "processes"), (403, refusal))
        async with open_visit(browser, gateway_alone) as visit:
            await api.serve(visit.page)
            await visit.page.goto(f"{gateway_alone}/ops")
            await sign_in(visit.page)

            await expect(_health(visit.page)).to_contain_text(refusal)

    async def test_that_is_refused_later_signs_in_again_and_finds_all_as_it_was(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with open_visit(browser, gateway_alone) as visit:
            page = visit.page
            await api.serve(page)
            await page.goto(f"{gateway_alone}/ops#ecgs?failed&owner=ada")
            await sign_in(page)
            await page.get_by_label("Select ada/4").check()
            api.problems |= dict.fromkeys(("stream", "ecgs", "failures"), (401, "The token is not valid."))
            await expect(page.get_by_text("Your login has ended.")).to_be_visible()
            await expect(page.locator("#main")).to_be_hidden()

            api.problems.clear()
            await sign_in(page)

            await expect(page.get_by_label("Owner")).to_have_value("ada")
            await expect(page.get_by_label("Select ada/4")).to_be_checked()

    async def test_stays_signed_in_beyond_a_token_each_refresh_token_being_used_once(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        api.token_lifetime_s = 1
        async with a_visit(browser, gateway_alone, api) as visit:
            await until(lambda: len(api.logins) > 2)
            await expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()

        assert api.logins == ["", *(f"refresh token {number + 1}" for number in range(len(api.logins) - 1))]

    async def test_leaves_nothing_in_the_browser(
        self, browser: Browser, gateway_alone: str, api: ScriptedOperations
    ) -> None:
        async with a_visit(browser, gateway_alone, api) as visit:
            stored = await visit.page.evaluate(
                "[localStorage.length, sessionStorage.length, document.cookie]"
            )

        assert stored == [0, 0, ""]


async def test_a_gateway_that_is_away_is_said_and_found_again(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await api.serve(page)
        await page.goto(f"{gateway_alone}/ops")
        await sign_in(page)
        await expect(_health(page)).to_contain_text("All is well")

        api.is_away = True

        await expect(page.locator(".connection").get_by_text("Offline since")).to_be_visible()
        await expect(_health(page)).to_contain_text("State unknown: offline since")
        api.is_away = False
        await expect(_health(page)).to_contain_text("All is well")
        await expect(page.locator(".connection").get_by_text("Offline since")).to_be_hidden()


async def test_nothing_is_asked_while_the_page_is_hidden(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with a_visit(browser, gateway_alone, api) as visit:
        page = visit.page
        await expect(_health(page)).to_contain_text("All is well")
        await page.evaluate(_HIDE, arg=True)
        await expect(page.locator(".connection")).to_have_text("Paused while hidden")
        api.overview["dead_letters"]["waiting"] = 3
        before = len(visit.asked)
        await page.wait_for_timeout(2500)  # a stream would be opened again within 1.25 s
        assert len(visit.asked) == before

        await page.evaluate(_HIDE, arg=False)

        await expect(_health(page)).to_contain_text("3 dead letters wait for a decision.")


async def test_keys_alone_lead_through_sign_in_filter_and_replay(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with open_visit(browser, gateway_alone) as visit:
        page = visit.page
        await api.serve(page)
        await page.goto(f"{gateway_alone}/ops")
        await _type_keys(page, "olga", "Tab", "a good password", "Enter")
        await expect(_health(page)).to_contain_text("All is well")
        await _tab_to(page, "Failed ECGs 500", backwards=True)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Failed ECGs")).to_be_focused()
        await _tab_to(page, _REASONS[1])
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("167 failed ECGs match")).to_be_visible()
        await _tab_to(page, "Replay all 167 that match…")
        await page.keyboard.press("Enter")
        await _type_keys(page, "fixed", "Tab", "Tab", "Enter")
        await expect(
            page.get_by_role("group", name="Replay").get_by_text("167 ECGs replayed at")
        ).to_be_visible()

    assert [path for path, _ in api.sent] == ["replays"]


async def test_the_skip_link_leads_to_the_content(
    browser: Browser, gateway_alone: str, api: ScriptedOperations
) -> None:
    async with a_visit(browser, gateway_alone, api, "#audit") as visit:
        await visit.page.get_by_role("link", name="Skip to the content").focus()
        await visit.page.keyboard.press("Enter")

        await expect(visit.page.get_by_role("main")).to_be_focused()
        await expect(visit.page).to_have_url(f"{gateway_alone}/ops#audit")


_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}


@pytest.mark.parametrize("look", _LOOKS)
async def test_nothing_is_cut_off_or_hard_to_read(
    browser: Browser, gateway_alone: str, api: ScriptedOperations, tmp_path: Path, look: str
) -> None:
    api.overview["dead_letters"]["waiting"] = 2
    async with a_visit(browser, gateway_alone, api, **_LOOKS[look]) as visit:
        page = visit.page
        for view in ("now", "ecgs?failed", "ecg?owner=ada&id=0", "dead-letters", "outbox", "audit"):
            await page.goto(f"{gateway_alone}/ops#{view}")
            await expect(page.get_by_text("Loading…").filter(visible=True)).to_have_count(0)
            name = view.partition("?")[0]
            if name in {"now", "ecgs"} and look != "phone":  # they have each kind of element
                assert (await Axe().run(page)).response["violations"] == [], view
            await page.screenshot(path=picture(tmp_path, f"ops-{look}-{name}"), full_page=True)
            widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert widths[0] <= widths[1], view


@pytest.fixture(scope="module")
async def page_of_operators(browser: Browser, gateway_alone: str) -> AsyncIterator[Page]:
    """The page before anybody has signed in, for its modules alone."""
    async with open_visit(browser, gateway_alone) as visit:
        await visit.page.goto(f"{gateway_alone}/ops")
        yield visit.page


def _health(page: Page) -> Locator:
    return page.get_by_role("region", name="How it is")


async def _call(page: Page, module: str, function: str, argument: object) -> Any:
    """What a function of a module returns."""
    script = f"async (argument) => (await import('./pages/{module}')).{function}(argument)"
    return await page.evaluate(script, argument)


async def _type_keys(page: Page, *texts: str) -> None:
    for text in texts:
        if text in ("Tab", "Enter"):
            await page.keyboard.press(text)
        else:
            await page.keyboard.type(text)


async def _tab_to(page: Page, text: str, *, backwards: bool = False) -> None:
    for _ in range(40):
        await page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if await page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"no Tab leads to {text}")
