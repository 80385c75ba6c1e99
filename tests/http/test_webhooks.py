"""Webhooks over HTTP: created, read, changed and removed, and what they sent. Nothing is sent here."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

import aiohttp
import pytest

from gateway.events.cursors import encode_cursor as encode_log_cursor
from gateway.http.caller import Caller
from gateway.webhooks.handlers import _owner_of
from gateway.webhooks.query_parameters import decode_cursor, encode_cursor
from shared.domain.account import Role
from shared.domain.errors import DeniedError
from shared.events import EcgKey, EventType
from shared.ports.event_log import LogPosition
from shared.ports.webhook_dispatch import Attempt, AttemptedDelivery, Progress
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.webhooks.dispatch import PostgresWebhookDispatch
from tests.http.conftest import TOKENS, open_client, open_test_gateway, problem_of
from tests.support.builders import an_ecg_body
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.http.request import Request
    from shared.broker.in_process import InProcessBroker
    from shared.ports.webhook_dispatch import LeasedWebhook
    from shared.storage.pool.database import Database

_URL: Final = "https://hooks.example.org/isoline"
_NOBODYS: Final = str(uuid4())
_NO_WEBHOOK: Final = "You have no webhook of this id."
_NO_DELIVERY: Final = "This webhook has no delivery of this id that can be sent again."
_NOT_ALLOWED: Final = (
    "This webhook sends the events of all owners: "
    "without the role subscriber it can only be shown and removed."
)
# Method, path behind the webhook's, and body of each route of one webhook.
_OF_ONE: Final = [
    ("GET", "", None),
    ("PATCH", "", {"enabled": True}),
    ("POST", "/secret", None),
    ("POST", "/ping", None),
    ("GET", "/deliveries", None),
    ("POST", "/deliveries/1/resend", None),
    ("DELETE", "", None),
]
_TAKEN: Final = Attempt(204, None, 0.25)
_REFUSED: Final = Attempt(500, "answered 500", 0.5)


async def answer(
    client: aiohttp.ClientSession, method: str, path: str, status: int, **options: Any
) -> dict[str, Any]:
    headers = {"Accept-Encoding": "identity"}
    async with client.request(method, path, headers=headers, **options) as response:
        assert response.status == status, await response.text()
        document: dict[str, Any] = {} if status == 204 else await response.json()
    return document


async def problem(
    client: aiohttp.ClientSession, method: str, path: str, status: int, **options: Any
) -> dict[str, Any]:
    async with client.request(method, path, **options) as response:
        return await problem_of(response, status)


async def created(client: aiohttp.ClientSession, **fields: object) -> dict[str, Any]:
    return await answer(client, "POST", "/webhook", 201, json={"url": _URL, **fields})


async def listed(client: aiohttp.ClientSession) -> list[dict[str, Any]]:
    webhooks: list[dict[str, Any]] = (await answer(client, "GET", "/webhook", 200))["webhooks"]
    return webhooks


async def deliveries(client: aiohttp.ClientSession, webhook: dict[str, Any], **query: Any) -> dict[str, Any]:
    return await answer(client, "GET", f"/webhook/{webhook['id']}/deliveries", 200, params=query)


@asynccontextmanager
async def open_as(address: str, bearer: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {bearer}"}
    async with aiohttp.ClientSession(address, headers=headers) as client:
        yield client


@pytest.fixture
async def both(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an account with all roles, subscriber among them."""
    async with open_client(gateway, "both") as client:
        yield client


@pytest.fixture
async def key_of_both(gateway: str, both: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with an API key of that account, with the role user alone."""
    key = await answer(both, "POST", "/key", 201, json={"name": "a monitor", "roles": ["user"]})
    async with open_as(gateway, key["key"]) as client:
        yield client


async def send(database: Database, attempts: dict[str, Attempt], progress: Progress) -> None:
    """Record what a processor would have, for each ECG of ada's by its id."""
    dispatch = PostgresWebhookDispatch(database)
    [leased] = await _leased(database, dispatch)
    sent = [
        AttemptedDelivery(
            None,
            LogPosition(1, place),
            uuid4(),
            EventType.PROCESSED,
            EcgKey("ada", id_),
            attempt,
            retry_in_s=5.0,
        )
        for place, (id_, attempt) in enumerate(attempts.items(), 1)
    ]
    await dispatch.record(leased, sent, progress)
    await dispatch.release(leased)


async def _leased(database: Database, dispatch: PostgresWebhookDispatch) -> list[LeasedWebhook]:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO event_log (at, types, owners, ids, generations) "
            "VALUES (now(), ARRAY['ecg.deleted'], ARRAY['ada'], ARRAY['1'], ARRAY[1])"
        )
    return await dispatch.lease(limit=10)


class TestCreating:
    async def test_a_secret_is_shown_once_and_then_never(self, ada: aiohttp.ClientSession) -> None:
        async with ada.post("/webhook", json={"url": _URL, "description": "billing"}) as response:
            assert response.headers["Cache-Control"] == "no-store"
            webhook = await response.json()

        secret = webhook.pop("secret")
        assert secret.startswith("whsec_")
        assert await listed(ada) == [webhook]
        assert await answer(ada, "GET", f"/webhook/{webhook['id']}", 200) == webhook
        assert abs(datetime.now(UTC) - datetime.fromisoformat(webhook["created_at"])) < timedelta(minutes=1)
        assert webhook == {
            "id": webhook["id"],
            "url": _URL,
            "types": ["ecg.deleted", "ecg.failed", "ecg.processed"],
            "description": "billing",
            "all_owners": False,
            "created_at": webhook["created_at"],
            "previous_secret_until": None,
            "state": "active",
            "disabled_at": None,
            "disabled_reason": None,
            "failures": 0,
            "failing_since": None,
            "last_error": None,
            "resume_at": None,
            "last_delivered_at": None,
            "waiting": 0,
        }

    async def test_the_newest_comes_first_and_each_sees_its_own(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        adas = [await created(ada), await created(ada, types=["ecg.failed"])]
        bobs = await created(bob)

        assert [webhook["id"] for webhook in await listed(ada)] == [adas[1]["id"], adas[0]["id"]]
        assert [webhook["id"] for webhook in await listed(bob)] == [bobs["id"]]
        assert (await listed(ada))[0]["types"] == ["ecg.failed"]

    async def test_scheme_and_host_are_kept_in_lower_case(self, ada: aiohttp.ClientSession) -> None:
        assert (await created(ada, url="HTTPS://Hooks.Example.ORG/A"))["url"] == "https://hooks.example.org/A"

    @pytest.mark.parametrize(
        ("url", "detail"),
        [
            ("http://hooks.example.org/", "https:// is expected"),
            ("ftp://hooks.example.org/", "https:// is expected"),
            ("hooks.example.org", "expected a URL such as https://example.org/isoline"),
            ("", "expected a URL such as https://example.org/isoline"),
            ("https://127.0.0.1/", "its address is not allowed: it is loopback"),
            ("https://[::1]/", "its address is not allowed: it is loopback"),
            ("https://[::ffff:10.0.0.1]/", "its address is not allowed: it is private"),
            ("https://192.168.1.2/", "its address is not allowed: it is private"),
            (
                "https://169.254.169.254/",
                "its address is not allowed: it is one where a cloud has its metadata",
            ),
            (
                "https://0x7f.1/",
                "its host is an address in another form than 192.0.2.1 or [2001:db8::1], or has a zone",
            ),
            (
                "https://ada:pass@hooks.example.org/",
                "a user or password (...@) is not allowed: requests are signed",
            ),
            (
                "https://hooks.example.org/#x",
                "a fragment (#...) is not allowed, it would never be sent",
            ),
            ("https://hooks.example.org:0/", "its port has to be a number from 1 to 65535"),
            (
                "https://hooks.example.org/a b",
                "only visible ASCII is allowed: write hosts as xn--..., all else as %..",
            ),
            (
                "https://höoks.example.org/",
                "only visible ASCII is allowed: write hosts as xn--..., all else as %..",
            ),
            (
                "https://hooks.example.org/{secret}",
                "its path or query has a character that is written as %.. in URLs",
            ),
            (f"https://hooks.example.org/{'x' * 2000}", "expected at most 2000 characters"),
            (5, "expected a valid string, found an integer"),
            (None, "expected a valid string, found null"),
            ([_URL], "expected a valid string, found an array"),
        ],
    )
    async def test_a_url_that_no_webhook_may_have_is_refused_with_the_reason(
        self, ada_alone: aiohttp.ClientSession, url: object, detail: str
    ) -> None:
        posted = await problem(ada_alone, "POST", "/webhook", 422, json={"url": url})
        patched = await problem(ada_alone, "PATCH", f"/webhook/{_NOBODYS}", 422, json={"url": url})

        assert posted["errors"] == patched["errors"] == [{"pointer": "/url", "detail": detail}]

    async def test_networks_of_the_operator_are_allowed_by_http_too(
        self, gateway: str, database: Database, broker: InProcessBroker
    ) -> None:
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, webhook_networks="10.1.0.0/16")
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as address,
            open_client(address, "ada") as ada,
        ):
            webhook = await created(ada, url="http://10.1.2.3:8080/isoline")
            await problem(ada, "POST", "/webhook", 422, json={"url": "http://10.2.2.3/isoline"})

        assert gateway
        assert webhook["url"] == "http://10.1.2.3:8080/isoline"

    @pytest.mark.parametrize(
        ("fields", "pointer", "detail"),
        [
            ({"types": []}, "/types", "expected 1 or more, found 0"),
            ({"types": ["ecg.failed"] * 2}, "/types", "expected each type once"),
            ({"types": ["ecg.failed"] * 4}, "/types", "expected 3 or fewer, found 4"),
            (
                {"types": ["ecg.submitted"]},
                "/types/0",
                "expected 'ecg.processed', 'ecg.failed' or 'ecg.deleted'",
            ),
            ({"types": "ecg.failed"}, "/types", "expected a valid list, found a string"),
            ({"types": None}, "/types", "expected a valid list, found null"),
            ({"description": "x" * 201}, "/description", "expected at most 200 characters"),
            ({"description": 5}, "/description", "expected a valid string, found an integer"),
            (
                {"description": "a\nb"},
                "/description",
                r"expected a text that matches ^[^\x00-\x1f\x7f-\x9f]*$",
            ),
            (
                {"description": "a\0"},
                "/description",
                r"expected a text that matches ^[^\x00-\x1f\x7f-\x9f]*$",
            ),
            ({"all_owners": 1}, "/all_owners", "expected a valid boolean, found an integer"),
            ({"all_owners": None}, "/all_owners", "expected a valid boolean, found null"),
            ({"after": "x"}, "/after", "expected a cursor of an earlier answer, or latest"),
            ({"after": None}, "/after", "expected a valid string, found null"),
            ({"after": "x" * 65}, "/after", "expected at most 64 characters"),
            ({"since": "yesterday"}, "/since", "expected a time such as 2026-01-31T08:00:00Z"),
            ({"since": 1764000000}, "/since", "expected a time such as 2026-01-31T08:00:00Z"),
            ({"since": None}, "/since", "expected a time such as 2026-01-31T08:00:00Z"),
            ({"since": "9999-12-31T23:59:59Z"}, "/since", "expected a time that has been"),
            (
                {"after": "latest", "since": "2026-01-31"},
                "",
                "expected after or since, found both",
            ),
            ({"secret": "whsec_mine"}, "/secret", "this field is not known here"),
            ({"enabled": False}, "/enabled", "this field is not known here"),
        ],
    )
    async def test_an_invalid_field_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, fields: dict[str, object], pointer: str, detail: str
    ) -> None:
        found = await problem(ada_alone, "POST", "/webhook", 422, json={"url": _URL, **fields})

        assert found["errors"] == [{"pointer": pointer, "detail": detail}]

    async def test_all_that_is_wrong_is_listed(self, ada_alone: aiohttp.ClientSession) -> None:
        body = {"types": ["all"], "description": 5, "owner": "bob"}
        found = await problem(ada_alone, "POST", "/webhook", 422, json=body)

        pointers = {error["pointer"] for error in found["errors"]}
        assert pointers == {"/url", "/types/0", "/description", "/owner"}

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_bodies_that_are_none_are_refused(
        self, ada_alone: aiohttp.ClientSession, method: str
    ) -> None:
        path = "/webhook" if method == "POST" else f"/webhook/{_NOBODYS}"
        headers = {"Content-Type": "application/json"}

        await problem(ada_alone, method, path, 400, data=b"", headers=headers)
        await problem(ada_alone, method, path, 400, data=b'{"url": "https://', headers=headers)
        await problem(ada_alone, method, path, 400, data=b'{"url": "", "url": ""}', headers=headers)
        await problem(ada_alone, method, path, 413, json={"url": "x" * 20_000})
        await problem(ada_alone, method, path, 415, data=b"{}", headers={"Content-Type": "text/csv"})
        found = await problem(ada_alone, method, path, 422, json=[_URL])
        assert found["errors"] == [{"pointer": "", "detail": "expected an object, found an array"}]

    @pytest.mark.parametrize("description", ["", "x" * 200, "Überwachung 3, Süd", "心電図 👩‍⚕️ & co"])
    async def test_a_description_may_be_of_any_language(
        self, ada: aiohttp.ClientSession, description: str
    ) -> None:
        assert (await created(ada, description=description))["description"] == description

    async def test_an_account_has_sixteen_at_the_most_and_room_again_after_one_was_removed(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        webhooks = [await created(ada) for _ in range(16)]

        refused = await problem(ada, "POST", "/webhook", 409, json={"url": _URL})
        await created(bob)
        await answer(ada, "DELETE", f"/webhook/{webhooks[3]['id']}", 204)
        await created(ada)

        assert refused["detail"] == "The account ada has 16 webhooks, the most; remove one first."
        assert len(await listed(ada)) == 16


@pytest.mark.usefixtures("processor")
class TestBeginning:
    async def test_it_begins_with_what_happens_from_then_on_or_after_a_cursor_or_at_a_time(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        async with ada.post("/ecg/process", json=an_ecg_body(id="10")) as response:
            assert response.status == 202
        async with ada.get("/ecg/10?wait=20") as response:
            assert (await response.json())["status"] == "completed"
        page = await answer(ada, "GET", "/events", 200)

        await created(ada, description="from now on")
        await created(ada, description="as by default", after="latest")
        await created(ada, description="after a cursor", after=page["cursor"])
        await created(ada, description="since a time", since="2026-01-31T08:00:00+01:00")

        async with database.connection() as connection:
            rows = await connection.fetch(
                "SELECT description, after_xid IS NOT NULL, since FROM webhook ORDER BY created_at"
            )
        assert [tuple(row) for row in rows] == [
            ("from now on", True, None),
            ("as by default", True, None),
            ("after a cursor", True, None),
            ("since a time", False, datetime(2026, 1, 31, 7, tzinfo=UTC)),
        ]
        # Nothing happened since, so that one alone has something to send.
        leased = await PostgresWebhookDispatch(database).lease(limit=10)
        assert [webhook.since for webhook in leased] == [datetime(2026, 1, 31, 7, tzinfo=UTC)]

    @pytest.mark.parametrize("since", ["0001-01-01", "2026-01-31T08:00+14:00"])
    async def test_a_time_may_be_long_ago(self, ada: aiohttp.ClientSession, since: str) -> None:
        assert (await created(ada, since=since))["state"] == "active"

    @pytest.mark.parametrize("since", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", ""])
    async def test_a_time_that_utc_has_not_is_refused(self, ada: aiohttp.ClientSession, since: str) -> None:
        found = await problem(ada, "POST", "/webhook", 422, json={"url": _URL, "since": since})

        assert [error["pointer"] for error in found["errors"]] == ["/since"]

    async def test_a_cursor_of_another_installation_is_gone(self, ada: aiohttp.ClientSession) -> None:
        cursor = encode_log_cursor(LogPosition(2**62, 1))
        found = await problem(ada, "POST", "/webhook", 410, json={"url": _URL, "after": cursor})

        assert found["detail"].startswith("What followed this cursor is kept no longer, or was never here")
        assert await listed(ada) == []


class TestChanging:
    async def test_what_is_given_is_changed_and_nothing_else(self, ada: aiohttp.ClientSession) -> None:
        webhook = await created(ada, description="billing")
        path = f"/webhook/{webhook['id']}"
        webhook.pop("secret")

        changed = await answer(ada, "PATCH", path, 200, json={"url": "https://B.example.org"})
        assert changed == webhook | {"url": "https://b.example.org"}
        changed = await answer(
            ada, "PATCH", path, 200, json={"types": ["ecg.failed"], "description": "wards"}
        )
        assert (changed["types"], changed["description"]) == (["ecg.failed"], "wards")
        changed = await answer(ada, "PATCH", path, 200, json={"description": ""})
        assert (changed["types"], changed["description"]) == (["ecg.failed"], "")
        assert await listed(ada) == [changed]

    async def test_it_is_paused_and_enabled_again(self, ada: aiohttp.ClientSession) -> None:
        path = f"/webhook/{(await created(ada))['id']}"

        paused = await answer(ada, "PATCH", path, 200, json={"enabled": False})
        again = await answer(ada, "PATCH", path, 200, json={"enabled": False})
        enabled = await answer(ada, "PATCH", path, 200, json={"enabled": True})

        assert (paused["state"], paused["disabled_reason"]) == ("paused", None)
        assert paused["disabled_at"] is not None
        assert again == paused
        assert (enabled["state"], enabled["disabled_at"]) == ("active", None)

    @pytest.mark.parametrize(
        ("body", "pointer", "detail"),
        [
            ({}, "", "expected url, types, description or enabled, found none"),
            ({"enabled": None}, "/enabled", "expected a valid boolean, found null"),
            ({"enabled": "yes"}, "/enabled", "expected a valid boolean, found a string"),
            ({"types": []}, "/types", "expected 1 or more, found 0"),
            ({"types": None}, "/types", "expected a valid list, found null"),
            ({"types": ["ecg.failed"] * 2}, "/types", "expected each type once"),
            ({"description": None}, "/description", "expected a valid string, found null"),
            ({"description": "x" * 201}, "/description", "expected at most 200 characters"),
            ({"all_owners": True}, "/all_owners", "this field is not known here"),
            ({"secret": "whsec_mine"}, "/secret", "this field is not known here"),
        ],
    )
    async def test_an_invalid_change_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, body: dict[str, object], pointer: str, detail: str
    ) -> None:
        found = await problem(ada_alone, "PATCH", f"/webhook/{_NOBODYS}", 422, json=body)

        assert found["errors"] == [{"pointer": pointer, "detail": detail}]

    async def test_how_it_fails_is_shown_and_enabling_it_begins_anew(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        path = f"/webhook/{webhook['id']}"
        failed = Progress(LogPosition(1, 1), is_taken=False, last_error="answered 500", pause_s=60.0)

        await send(database, {"10": _REFUSED}, failed)
        failing = await answer(ada, "GET", path, 200)
        enabled = await answer(ada, "PATCH", path, 200, json={"enabled": True})

        assert (failing["state"], failing["failures"], failing["waiting"]) == ("failing", 1, 1)
        assert (failing["last_error"], failing["last_delivered_at"]) == ("answered 500", None)
        resume_at, since = (datetime.fromisoformat(failing[name]) for name in ("resume_at", "failing_since"))
        assert resume_at - since == timedelta(seconds=60)
        assert (enabled["state"], enabled["failures"], enabled["waiting"]) == ("active", 0, 1)
        assert (enabled["failing_since"], enabled["resume_at"]) == (None, None)

    async def test_one_that_isoline_disabled_says_why(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        gone = Progress(
            is_taken=False, last_error="answered 410", disabled_reason="the receiver answered 410"
        )

        await send(database, {}, gone)
        disabled = await answer(ada, "GET", f"/webhook/{webhook['id']}", 200)

        assert (disabled["state"], disabled["disabled_reason"]) == ("disabled", "the receiver answered 410")
        assert disabled["disabled_at"] is not None


class TestRotating:
    async def test_another_secret_is_shown_once_and_both_sign_for_a_day(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        path = f"/webhook/{webhook['id']}"

        async with ada.post(f"{path}/secret") as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "no-store"
            rotated = await response.json()

        assert rotated.keys() == {"secret", "previous_secret_until"}
        a_day = datetime.fromisoformat(rotated["previous_secret_until"]) - datetime.now(UTC)
        assert timedelta(hours=23, minutes=55) < a_day < timedelta(hours=24, minutes=5)
        [leased] = await _leased(database, PostgresWebhookDispatch(database))
        assert leased.secrets == (rotated["secret"], webhook["secret"])
        shown = await answer(ada, "GET", path, 200)
        assert shown["previous_secret_until"] == rotated["previous_secret_until"]
        assert "secret" not in shown

    async def test_of_two_rotations_the_first_secret_ends_with_the_second(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        path = f"/webhook/{webhook['id']}/secret"

        secrets = [(await answer(ada, "POST", path, 200))["secret"] for _ in range(2)]

        [leased] = await _leased(database, PostgresWebhookDispatch(database))
        assert leased.secrets == (secrets[1], secrets[0])
        assert len({*secrets, webhook["secret"]}) == 3


class TestDeliveries:
    async def test_a_test_event_waits_once_and_stands_in_the_list(self, ada: aiohttp.ClientSession) -> None:
        webhook = await created(ada)
        path = f"/webhook/{webhook['id']}"
        await answer(ada, "PATCH", path, 200, json={"enabled": False})

        ping = await answer(ada, "POST", f"{path}/ping", 202)
        again = await answer(ada, "POST", f"{path}/ping", 202)

        assert again == ping
        assert (await deliveries(ada, webhook)) == {"deliveries": [ping]}
        assert ping | {"id": "", "event_id": "", "created_at": "", "due_at": ""} == {
            "id": "",
            "event_id": "",
            "type": "webhook.ping",
            "subject": None,
            "generation": None,
            "state": "waiting",
            "attempts": 0,
            "created_at": "",
            "last_attempt_at": None,
            "due_at": "",
            "status": None,
            "error": None,
            "duration_s": None,
        }
        resent = await problem(ada, "POST", f"{path}/deliveries/{ping['id']}/resend", 404)
        assert resent["detail"] == _NO_DELIVERY
        assert (await answer(ada, "GET", path, 200))["waiting"] == 0

    async def test_they_are_listed_by_pages_and_by_state(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        await send(
            database,
            {"10": _TAKEN, "11": _REFUSED, "12": _TAKEN},
            Progress(LogPosition(1, 3), is_taken=True),
        )

        first = await deliveries(ada, webhook, limit=2)
        second = await deliveries(ada, webhook, limit=2, cursor=first["next_cursor"])
        waiting = (await deliveries(ada, webhook, state="waiting"))["deliveries"]
        whole = await deliveries(ada, webhook, limit=3)

        assert [each["subject"] for each in first["deliveries"]] == ["ada/12", "ada/11"]
        assert [each["subject"] for each in second["deliveries"]] == ["ada/10"]
        assert "next_cursor" not in second
        assert "next_cursor" not in whole
        assert [each["subject"] for each in waiting] == ["ada/11"]
        assert (await deliveries(ada, webhook, state="failed")) == {"deliveries": []}
        [delivered] = second["deliveries"]
        assert (delivered["state"], delivered["status"], delivered["error"]) == ("delivered", 204, None)
        assert (delivered["type"], delivered["generation"]) == ("ecg.processed", 1)
        assert (delivered["attempts"], delivered["duration_s"], delivered["due_at"]) == (1, 0.25, None)
        [refused] = waiting
        assert (refused["state"], refused["status"]) == ("waiting", 500)
        assert (refused["error"], refused["duration_s"]) == ("answered 500", 0.5)
        assert refused["due_at"] is not None

    async def test_one_is_sent_again_also_before_it_is_due(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        await send(database, {"10": _TAKEN, "11": _REFUSED}, Progress(LogPosition(1, 2), is_taken=True))
        found = (await deliveries(ada, webhook))["deliveries"]

        for delivery in found:
            path = f"/webhook/{webhook['id']}/deliveries/{delivery['id']}/resend"
            resent = await answer(ada, "POST", path, 202)
            twice = await answer(ada, "POST", path, 202)

            assert (resent["id"], resent["event_id"]) == (delivery["id"], delivery["event_id"])
            assert (resent["state"], twice["state"]) == ("waiting", "waiting")
            for each in (resent, twice):
                due_in = datetime.fromisoformat(each["due_at"]) - datetime.now(UTC)
                assert due_in < timedelta(seconds=1)
        assert (await answer(ada, "GET", f"/webhook/{webhook['id']}", 200))["waiting"] == 2

    @pytest.mark.parametrize("delivery_id", ["0", "-1", "1.0", "x", "9" * 18, "9" * 40, "%00", "\u0661"])
    async def test_one_that_there_is_not_is_not_sent_again(
        self, ada: aiohttp.ClientSession, delivery_id: str
    ) -> None:
        webhook = await created(ada)
        path = f"/webhook/{webhook['id']}/deliveries/{delivery_id}/resend"

        assert (await problem(ada, "POST", path, 404))["detail"] == _NO_DELIVERY

    async def test_one_of_another_webhook_is_not_sent_again(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        webhook = await created(ada, since="2026-01-01")
        await send(database, {"10": _TAKEN}, Progress(LogPosition(1, 1), is_taken=True))
        [delivery] = (await deliveries(ada, webhook))["deliveries"]
        other = await created(ada)

        path = f"/webhook/{other['id']}/deliveries/{delivery['id']}/resend"
        assert (await problem(ada, "POST", path, 404))["detail"] == _NO_DELIVERY
        assert (await deliveries(ada, webhook))["deliveries"] == [delivery]
        assert (await deliveries(ada, other))["deliveries"] == []

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("limit=0", "limit: expected a number greater than or equal to 1"),
            ("limit=101", "limit: expected a number less than or equal to 100"),
            ("limit=x", "limit: expected an integer"),
            ("limit=1&limit=2", "limit: expected it once"),
            ("state=lost", "state: expected 'waiting', 'delivered', 'failed' or 'dropped'"),
            ("cursor=x", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=Wy0xXQ", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=WzEsMl0", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=WyIxIl0", "cursor: expected the next_cursor of an earlier page"),
            (f"cursor={'x' * 65}", "cursor: expected at most 64 characters"),
            ("before=1", "before: this field is not known here"),
        ],
    )
    async def test_an_invalid_query_is_refused(
        self, ada_alone: aiohttp.ClientSession, query: str, detail: str
    ) -> None:
        found = await problem(ada_alone, "GET", f"/webhook/{_NOBODYS}/deliveries?{query}", 400)

        assert found["detail"] == f"The query does not fit: {detail}."

    @pytest.mark.parametrize("delivery_id", [0, 1, 2**63 - 1])
    def test_a_cursor_is_read_as_it_was_written(self, delivery_id: int) -> None:
        assert decode_cursor(encode_cursor(delivery_id)) == delivery_id


class TestWhose:
    @pytest.mark.parametrize(("method", "path", "body"), _OF_ONE)
    async def test_that_of_another_and_one_that_there_is_not_are_404_in_the_same_words(
        self,
        ada: aiohttp.ClientSession,
        bob: aiohttp.ClientSession,
        method: str,
        path: str,
        body: object,
    ) -> None:
        webhook = await created(ada)

        details = {
            (await problem(bob, method, f"/webhook/{webhook_id}{path}", 404, json=body))["detail"]
            for webhook_id in (webhook["id"], _NOBODYS, "10", "x" * 500)
        }

        assert details == {_NO_WEBHOOK}
        webhook.pop("secret")
        assert await listed(ada) == [webhook]

    @pytest.mark.parametrize(("method", "path", "body"), _OF_ONE)
    async def test_one_that_was_removed_is_404(
        self, ada: aiohttp.ClientSession, method: str, path: str, body: object
    ) -> None:
        webhook = await created(ada)
        await answer(ada, "POST", f"/webhook/{webhook['id']}/ping", 202)
        await answer(ada, "DELETE", f"/webhook/{webhook['id']}", 204)

        found = await problem(ada, method, f"/webhook/{webhook['id']}{path}", 404, json=body)

        assert found["detail"] == _NO_WEBHOOK
        assert await listed(ada) == []

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.OBSERVER])
    async def test_roles_that_read_no_events_have_none(self, gateway_alone: str, role: Role) -> None:
        token = TOKENS.issue("eve", [role], now=datetime.now(UTC))
        async with open_as(gateway_alone, token) as eve:
            refused = await problem(eve, "POST", "/webhook", 403, json={"url": _URL})
            await problem(eve, "GET", "/webhook", 403)
            for method, path, body in _OF_ONE:
                await problem(eve, method, f"/webhook/{_NOBODYS}{path}", 403, json=body)

        assert refused["detail"] == f"This needs the role subscriber or user; your token has {role}."

    async def test_a_subscriber_without_ecgs_says_whose_events_are_meant(self, gateway_alone: str) -> None:
        token = TOKENS.issue("billing", [Role.SUBSCRIBER], now=datetime.now(UTC))
        async with open_as(gateway_alone, token) as billing:
            refused = await problem(billing, "POST", "/webhook", 403, json={"url": _URL})

        assert "say all_owners" in refused["detail"]

    async def test_without_a_token_nothing_is_told(self, nobody_alone: aiohttp.ClientSession) -> None:
        await problem(nobody_alone, "POST", "/webhook", 401, json={"url": _URL})
        await problem(nobody_alone, "GET", "/webhook", 401)

    async def test_the_events_of_all_owners_are_for_subscribers(
        self, ada: aiohttp.ClientSession, both: aiohttp.ClientSession
    ) -> None:
        refused = await problem(ada, "POST", "/webhook", 403, json={"url": _URL, "all_owners": True})
        webhook = await created(both, all_owners=True)

        assert refused["detail"] == "The events of all owners need the role subscriber."
        assert webhook["all_owners"] is True
        for method, path, body in _OF_ONE:
            if "resend" not in path:
                async with both.request(method, f"/webhook/{webhook['id']}{path}", json=body) as response:
                    assert response.ok

    async def test_an_api_key_uses_all_routes(
        self, key_of_both: aiohttp.ClientSession, both: aiohttp.ClientSession
    ) -> None:
        webhook = await created(key_of_both)

        assert [each["id"] for each in await listed(both)] == [webhook["id"]]
        for method, path, body in _OF_ONE:
            if "resend" not in path:
                async with key_of_both.request(
                    method, f"/webhook/{webhook['id']}{path}", json=body
                ) as response:
                    assert response.ok

    async def test_an_api_key_without_the_role_gets_at_no_events_of_all_owners(
        self, key_of_both: aiohttp.ClientSession, both: aiohttp.ClientSession
    ) -> None:
        await problem(key_of_both, "POST", "/webhook", 403, json={"url": _URL, "all_owners": True})
        webhook = await created(both, all_owners=True)
        path = f"/webhook/{webhook['id']}"

        for method, rest, body in _OF_ONE:
            if (method, rest) not in {("GET", ""), ("DELETE", "")}:
                found = await problem(key_of_both, method, path + rest, 403, json=body)
                assert found["detail"] == _NOT_ALLOWED
        shown = await answer(key_of_both, "GET", path, 200)
        assert (shown["url"], shown["previous_secret_until"]) == (_URL, None)
        await answer(key_of_both, "DELETE", path, 204)

    def test_an_account_of_another_issuer_has_none(self) -> None:
        eve = Caller("https://issuer.test#eve", frozenset([Role.USER]))
        key = Caller("ada", frozenset([Role.USER]), key_id=uuid4())

        with pytest.raises(DeniedError, match="kept by another issuer"):
            _owner_of(cast("Request", SimpleNamespace(caller=eve)))
        assert _owner_of(cast("Request", SimpleNamespace(caller=key))).account == "ada"


class TestSecrecy:
    async def test_no_answer_but_the_first_and_no_log_record_has_a_secret(
        self, ada: aiohttp.ClientSession
    ) -> None:
        with capture_logs() as records:
            webhook = await created(ada)
            path = f"/webhook/{webhook['id']}"
            rotated = await answer(ada, "POST", f"{path}/secret", 200)
            texts = [
                await answer(ada, "GET", "/webhook", 200),
                await answer(ada, "GET", path, 200),
                await answer(ada, "PATCH", path, 200, json={"description": "x"}),
                await answer(ada, "POST", f"{path}/ping", 202),
                await answer(ada, "GET", f"{path}/deliveries", 200),
                await problem(ada, "PATCH", path, 422, json={"secret": rotated["secret"]}),
                await problem(ada, "POST", "/webhook", 422, json={"url": rotated["secret"]}),
            ]
            await answer(ada, "DELETE", path, 204)

        told = json.dumps([texts, records], default=str)
        assert records
        for secret in (webhook["secret"], rotated["secret"]):
            assert secret.removeprefix("whsec_") not in told

    async def test_no_log_record_has_the_url(self, ada: aiohttp.ClientSession) -> None:
        with capture_logs() as records:
            await created(ada, url="https://hooks.example.org/canary-in-a-path?token=canary")

        assert "canary" not in json.dumps(records, default=str)


async def test_while_the_database_is_away_the_answer_is_503(ada_alone: aiohttp.ClientSession) -> None:
    await problem(ada_alone, "GET", "/webhook", 503)
    await problem(ada_alone, "POST", "/webhook", 503, json={"url": _URL})
