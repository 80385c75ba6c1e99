"""examples/webhook_receiver.py, to which the processors' sender sends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import aiohttp
import pytest

from processor.webhooks.message import WebhookMessage
from processor.webhooks.sender import open_webhook_sender
from processor.webhooks.signature import signature_headers
from shared.domain.webhook import new_webhook_secret
from shared.egress import EgressRules, read_networks
from tests.support.golden_events import present_events
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence

    from shared.ports.webhook_dispatch import Attempt

_EXAMPLE: Final = Path(__file__).parents[2] / "examples/webhook_receiver.py"
_LIMIT_S: Final = 60
_SECRET: Final = new_webhook_secret()
_OTHER_SECRET: Final = new_webhook_secret()


@asynccontextmanager
async def _open_receiver(file: Path, port: int) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _EXAMPLE, file, str(port)),
        stdout=PIPE,
        env=os.environ | {"WEBHOOK_SECRET": _SECRET, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout
        async with asyncio.timeout(_LIMIT_S):
            assert b"Running on" in await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _send(port: int, *messages: WebhookMessage, secrets: Sequence[str] = (_SECRET,)) -> list[Attempt]:
    rules = EgressRules(read_networks("127.0.0.1"))
    async with asyncio.timeout(_LIMIT_S), open_webhook_sender(rules) as sender:
        return [await sender.send(f"http://127.0.0.1:{port}/", secrets, each) for each in messages]


def _processed(generation: int, leads: list[str], *, owner: str = "demo") -> WebhookMessage:
    return _message("ecg.processed", generation, owner, leads=leads)


def _message(type_: str, generation: int, owner: str, **data: object) -> WebhookMessage:
    document = {"type": type_, "data": {"owner": owner, "id": "10", "generation": generation, **data}}
    return WebhookMessage(str(uuid4()), json.dumps(document).encode())


def _rows(file: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


async def test_each_event_is_kept_once_through_kill_9(tmp_path: Path) -> None:
    file, port = tmp_path / "results.sqlite", free_port()
    events = [WebhookMessage(str(event.id), event.body) for event in present_events()]
    ping = WebhookMessage(str(uuid4()), b'{"type":"webhook.ping","data":{}}')

    for _ in range(2):
        async with _open_receiver(file, port) as process:
            attempts = await _send(port, *events, *events, ping)
            process.kill()
        assert {attempt.status for attempt in attempts} == {204}

    expected = {(each.id,) for each in (*events, ping)}
    assert set(_rows(file, "SELECT event FROM inbox")) == expected
    assert len(_rows(file, "SELECT event FROM inbox")) == len(expected)


async def test_what_comes_late_changes_nothing_that_is_newer(tmp_path: Path) -> None:
    file, port = tmp_path / "results.sqlite", free_port()
    deleted = _message("ecg.deleted", 1, "gone")
    async with _open_receiver(file, port):
        await _send(
            port,
            *(_processed(2, ["new"]), _processed(1, ["old"])),
            *(deleted, _processed(1, ["late"], owner="gone")),
        )

    rows = _rows(file, "SELECT owner, generation, leads FROM result ORDER BY owner")
    assert rows == [("demo", 2, '["new"]'), ("gone", 1, None)]


async def test_either_generation_of_secrets_is_taken_and_no_other(tmp_path: Path) -> None:
    file, port = tmp_path / "results.sqlite", free_port()
    async with _open_receiver(file, port):
        (during,) = await _send(port, _processed(1, []), secrets=[_OTHER_SECRET, _SECRET])
        (after,) = await _send(port, _processed(1, []), secrets=[_OTHER_SECRET])

    assert (during.status, after.status) == (204, 401)
    assert len(_rows(file, "SELECT event FROM inbox")) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "another"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1614265330"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v2," + base64.b64encode(b"s" * 32).decode()},
        {"webhook-signature": "v1," + base64.b64encode(b"s" * 32).decode()},
    ],
    ids=lambda changed: (
        "-".join(f"{name}-{value[:8]}" for name, value in changed.items()).encode("ascii", "replace").decode()
    ),
)
async def test_what_is_not_signed_is_refused(receiver: tuple[Path, int], changed: dict[str, str]) -> None:
    file, port = receiver
    body = _processed(1, []).body
    headers = signature_headers("an-id", body, secrets=[_SECRET], timestamp=int(time.time()))

    async with (
        asyncio.timeout(_LIMIT_S),
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=body, headers=headers | changed) as response,
    ):
        assert response.status == 401

    assert _rows(file, "SELECT event FROM inbox") == []


@pytest.fixture(scope="module")
async def receiver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Path, int]]:
    """A receiver's database and port, for requests that change nothing."""
    file, port = tmp_path_factory.mktemp("receiver") / "results.sqlite", free_port()
    async with _open_receiver(file, port):
        yield file, port
