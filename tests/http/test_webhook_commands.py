"""`isoline webhook` and `Client.webhooks`, with a processor that sends to a receiver on this machine."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pytest
from aiohttp import web

from isoline.client import RefusedError, UnavailableError, open_client
from processor.__main__ import open_webhooks_on_postgres
from shared.runtime.settings import GatewayOnlySettings, ProcessorOnlySettings
from tests.http.conftest import PASSWORD, open_test_gateway
from tests.http.test_commands import CommandLine
from tests.support.builders import an_ecg_body
from tests.support.polling import until
from tests.unit.processor.webhooks.receivers import OK, open_receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoline.client import Client
    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_NETWORKS: Final = "127.0.0.0/8"
_REFUSED: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_NOBODYS: Final = str(UUID(int=0))
_NO_WEBHOOK: Final = "404: You have no webhook of this id.\n"


@pytest.fixture
async def address(gateway: str, database: Database, broker: InProcessBroker) -> AsyncIterator[str]:
    """A gateway with ada's account, whose webhooks may lead to this machine."""
    assert gateway  # it has made the accounts
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, webhook_networks=_NETWORKS)
    async with open_test_gateway(database, broker.publisher(), settings=settings) as address:
        yield address


@pytest.fixture
async def sending(database: Database) -> AsyncIterator[None]:
    """The part of a processor that sends for webhooks."""
    async with open_webhooks_on_postgres(database, ProcessorOnlySettings(webhook_networks=_NETWORKS)):
        yield


@pytest.fixture
def isoline(address: str) -> CommandLine:
    return CommandLine(address)


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with open_client(address, user="ada", password=PASSWORD) as client:
        yield client


async def printed_by(isoline: CommandLine, *arguments: str) -> str:
    status, printed, complained = await isoline.run("webhook", *arguments)
    assert (status, complained) == (0, "")
    return printed


async def complaint_of(isoline: CommandLine, *arguments: str) -> str:
    status, printed, complained = await isoline.run("webhook", *arguments)
    assert (status, printed) == (1, "")
    return complained


async def added(isoline: CommandLine, url: str, *options: str) -> tuple[str, str]:
    """The id and the secret."""
    match = re.fullmatch(
        r"Webhook (\S+) was added\. Its secret is shown only now: (whsec_\S+)\n",
        await printed_by(isoline, "add", url, *options),
    )
    assert match is not None
    return match[1], match[2]


class TestCommands:
    @pytest.mark.usefixtures("processor", "sending")
    async def test_one_is_added_tested_and_sends_and_what_it_sent_is_sent_again(
        self, isoline: CommandLine, client: Client
    ) -> None:
        async with open_receiver(OK) as receiver:
            webhook_id, _ = await added(isoline, receiver.url, "--description", "billing")
            pinged = await printed_by(isoline, "ping", webhook_id)
            await client.submit_and_wait(an_ecg_body(id="10"))
            await _until_delivered(client, webhook_id, "ada/10")
            listed = (await printed_by(isoline, "deliveries", webhook_id)).splitlines()
            only = await printed_by(isoline, "deliveries", webhook_id, "--limit", "1", "--format", "json")
            none = await printed_by(isoline, "deliveries", webhook_id, "--state", "failed")
            delivery_id = json.loads(only)["id"]
            resent = await printed_by(isoline, "resend", webhook_id, delivery_id)
            await _until_delivered(client, webhook_id, "ada/10", attempts=2)

        assert re.fullmatch(
            r"\d+  webhook\.ping  delivered: attempts 1, the last \S+Z, answered 200\n", pinged
        )
        assert len(listed) == 2
        assert re.fullmatch(
            r"\d+  ecg\.processed ada/10  delivered: attempts 1, the last \S+Z, answered 200", listed[0]
        )
        assert json.loads(only)["subject"] == "ada/10"
        assert none == ""
        assert resent == f"Delivery {delivery_id} will be sent again.\n"
        ids = [request.headers["webhook-id"] for request in receiver.requests]
        assert len(ids) == 3
        assert ids[1] == ids[2] != ids[0]

    @pytest.mark.usefixtures("sending")
    async def test_a_test_event_that_is_not_taken_is_a_failure_that_says_why(
        self, isoline: CommandLine
    ) -> None:
        async with open_receiver(_REFUSED) as receiver:
            webhook_id, _ = await added(isoline, receiver.url)
            status, printed, _ = await isoline.run("webhook", "ping", webhook_id)

        assert status == 1
        assert re.fullmatch(r"\d+  webhook\.ping  failed: attempts 1, the last \S+Z, .*503.*\n", printed)

    async def test_a_test_event_that_nobody_sends_is_waited_for_so_long(self, isoline: CommandLine) -> None:
        webhook_id, _ = await added(isoline, "https://hooks.example.org/")

        status, printed, _ = await isoline.run("webhook", "ping", webhook_id, "--timeout", "0")

        assert status == 1
        assert re.fullmatch(r"\d+  webhook\.ping  waiting, due \S+Z: attempts 0, the last never\n", printed)

    async def test_one_is_listed_shown_changed_and_removed(self, isoline: CommandLine) -> None:
        webhook_id, secret = await added(
            isoline,
            *("https://hooks.example.org/a", "--type", "ecg.failed", "--type", "ecg.deleted"),
            *("--description", "wards", "--since", "2026-01-31T08:00Z"),
        )

        line = await printed_by(isoline, "list")
        shown = await printed_by(isoline, "show", webhook_id)
        changed = await printed_by(
            isoline, "change", webhook_id, "--to", "https://hooks.example.org/b", "--pause"
        )
        document = json.loads(await printed_by(isoline, "show", webhook_id, "--format", "json"))
        removed = await printed_by(isoline, "remove", webhook_id)

        assert line == (
            f"{webhook_id}  active  https://hooks.example.org/a (wards): ecg.deleted, ecg.failed; "
            "0 waiting, last delivered never\n"
        )
        assert "types: ecg.deleted, ecg.failed\ndescription: wards\n" in shown
        assert "all_owners: no\n" in shown
        assert "state: active\n" in shown
        assert "disabled_at" not in shown
        assert "url: https://hooks.example.org/b\n" in changed
        assert "state: paused\ndisabled_at: " in changed
        assert (document["url"], document["description"]) == ("https://hooks.example.org/b", "wards")
        assert secret not in line + shown + changed + json.dumps(document)
        assert removed == f"Webhook {webhook_id} was removed.\n"
        assert await complaint_of(isoline, "remove", webhook_id) == "You have no webhook of this id.\n"
        assert await printed_by(isoline, "list") == ""

    async def test_another_secret_is_shown_with_the_end_of_the_one_before(self, isoline: CommandLine) -> None:
        webhook_id, secret = await added(isoline, "https://hooks.example.org/")

        printed = await printed_by(isoline, "rotate", webhook_id)

        match = re.fullmatch(
            rf"Webhook {webhook_id} has another secret, which is shown only now: (whsec_\S+)\n"
            r"The one before is valid until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.\n",
            printed,
        )
        assert match is not None
        assert match[1] != secret

    async def test_what_is_wrong_is_told(self, isoline: CommandLine) -> None:
        assert await complaint_of(isoline, "add", "ftp://hooks.example.org/") == (
            "422: The body does not fit: 1 problem, see errors.\n  /url: https:// is expected\n"
        )
        assert "need the role subscriber" in await complaint_of(
            isoline, "add", "https://hooks.example.org/", "--all-owners"
        )
        assert "expected url, types, description or enabled, found none" in await complaint_of(
            isoline, "change", _NOBODYS
        )
        assert await complaint_of(isoline, "show", _NOBODYS) == _NO_WEBHOOK
        assert await complaint_of(isoline, "rotate", _NOBODYS) == _NO_WEBHOOK


class TestClient:
    async def test_all_that_a_webhook_sent_is_read_page_by_page(
        self, client: Client, database: Database
    ) -> None:
        webhook = await client.webhooks.add("https://hooks.example.org/")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO webhook_delivery (webhook, event_id, type, state, attempts, give_up_at) "
                "SELECT $1, gen_random_uuid(), 'webhook.ping', 'failed', 1, now() "
                "FROM generate_series(1, 250)",
                UUID(webhook["id"]),
            )

        found = [int(each["id"]) async for each in client.webhooks.deliveries(webhook["id"], state="failed")]

        assert len(found) == 250
        assert found == sorted(found, reverse=True)

    async def test_it_is_enabled_again(self, client: Client) -> None:
        webhook = await client.webhooks.add("https://hooks.example.org/", types=["ecg.failed"])

        paused = await client.webhooks.change(webhook["id"], enabled=False, types=["ecg.deleted"])
        enabled = await client.webhooks.change(webhook["id"], enabled=True)

        assert (paused["state"], paused["types"]) == ("paused", ["ecg.deleted"])
        assert (enabled["state"], enabled["types"]) == ("active", ["ecg.deleted"])
        assert await client.webhooks.get(webhook["id"]) == enabled
        assert await client.webhooks.list() == (enabled,)
        assert await client.webhooks.remove(webhook["id"])
        assert not await client.webhooks.remove(webhook["id"])

    @pytest.mark.parametrize("webhook_id", ["", "..", "x" * 32, f"{_NOBODYS}/ping", f"{_NOBODYS}?a"])
    async def test_what_can_be_no_id_names_no_other_path(self, webhook_id: str) -> None:
        async with open_client("http://127.0.0.1:1", token="none") as client:
            webhooks = client.webhooks
            for asked in (
                webhooks.get(webhook_id),
                webhooks.change(webhook_id, enabled=True),
                webhooks.rotate(webhook_id),
                webhooks.ping(webhook_id),
                webhooks.resend(webhook_id, "1"),
                webhooks.resend(_NOBODYS, "../1"),
            ):
                with pytest.raises(RefusedError, match=r"No (webhook|delivery) can have this id\."):
                    await asked
            assert not await webhooks.remove(webhook_id)

    @pytest.mark.parametrize("method", ["add", "rotate"])
    async def test_what_would_be_done_twice_is_not_sent_again(self, method: str) -> None:
        async with _open_overloaded() as (address, asked), open_client(address, token="none") as client:
            with pytest.raises(UnavailableError, match="503"):
                await getattr(client.webhooks, method)(_NOBODYS)

        assert len(asked) == 1


async def _until_delivered(client: Client, webhook_id: str, subject: str, *, attempts: int = 1) -> None:
    async def is_delivered() -> bool:
        return any(
            [
                (each["subject"], each["state"], each["attempts"]) == (subject, "delivered", attempts)
                async for each in client.webhooks.deliveries(webhook_id)
            ]
        )

    await until(is_delivered)


@asynccontextmanager
async def _open_overloaded() -> AsyncIterator[tuple[str, list[str]]]:
    """The address of a server that answers everything with 503, and the paths that it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", asked
    finally:
        await runner.cleanup()
