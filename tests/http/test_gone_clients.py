"""Clients that disconnect before the response: their work is cancelled and what it held is released."""

from __future__ import annotations

import asyncio
import gzip
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from gateway.accounts import password_hashing as password_hashing_module
from gateway.ecgs import result_waiter as waiter_module
from gateway.ecgs import submission_batcher as batcher_module
from gateway.ecgs.result_waiter import ResultWaiter
from gateway.formats import json_reader as json_module
from gateway.http.memory.body_memory import SMALL_BYTES
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.recordings import PostgresRecordingStore
from tests.http.conftest import PASSWORD, open_client, open_test_gateway
from tests.support.builders import a_binary_body, an_ecg_body
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_LIMIT_S: Final = 20
_SENDERS: Final = 6
# So many bodies are parsed, batches and recordings stored, and passwords verified at a time.
_AT_A_TIME: Final = 2


class Disconnected:
    """The log records of requests whose clients have disconnected."""

    def __init__(self, records: list[Any]) -> None:
        self._records = records

    async def have_ended(self, count: int) -> None:
        await until(lambda: self._statuses().count(400) == count)

    def _statuses(self) -> list[int]:
        return [record["status"] for record in self._records if record["message"] == "request"]


class BlockingWork:
    """Work in a thread that runs until the test ends it."""

    def __init__(self) -> None:
        self.began = 0
        self.may_end = threading.Event()

    def __call__(self, *_: object, **__: object) -> Any:
        self.began += 1
        assert self.may_end.wait(_LIMIT_S)
        return False


@pytest.fixture
def blocking() -> Iterator[BlockingWork]:
    work = BlockingWork()
    yield work
    work.may_end.set()


def a_request(
    target: str, body: bytes = b"", *, client: aiohttp.ClientSession | None = None, **fields: str
) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **fields}
    if client is not None:
        fields["Authorization"] = client.headers["Authorization"]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{target} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def sent_and_gone(
    address: str, requests: list[bytes], has_begun: Callable[[], bool]
) -> AsyncIterator[Disconnected]:
    """Send requests, each on its own connection; inside, their clients have disconnected unanswered."""
    with capture_logs() as records:
        writers = []
        for request in requests:
            _, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(request)
            await writer.drain()
            writers.append(writer)
        await until(has_begun)
        for writer in writers:
            writer.close()
        yield Disconnected(records)
    assert not [record for record in records if record["level"] == "error"]


async def test_waiting_for_a_result_ends_when_the_client_disconnects(
    ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ResultWaiter] = []

    class RecordedWaiter(ResultWaiter):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    monkeypatch.setattr(waiter_module, "ResultWaiter", RecordedWaiter)
    async with ada.post("/ecg/process", json=an_ecg_body()) as response:
        assert response.status == 202
    async with open_test_gateway(database, broker.publisher()) as address:
        [waiter] = opened
        before = len(asyncio.all_tasks())
        requests = [a_request("GET /ecg/10?wait=30", client=ada)] * _SENDERS
        async with sent_and_gone(
            address, requests, lambda: sum(map(len, waiter._pending.values())) == _SENDERS
        ) as disconnected:
            await disconnected.have_ended(_SENDERS)

        assert waiter._pending == {}
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_pending_submission_is_dropped_when_its_client_disconnects(
    gateway: str, ada: aiohttp.ClientSession, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "_BATCH_ECGS", 1)
    began, ended = 0, 0
    may_end = asyncio.Event()
    add = PostgresEcgStore.add

    async def slow_add(self: PostgresEcgStore, submissions: Any) -> Any:
        nonlocal began, ended
        began += 1
        await may_end.wait()
        receipts = await add(self, submissions)
        ended += 1
        return receipts

    monkeypatch.setattr(PostgresEcgStore, "add", slow_add)
    posts = [
        a_request("POST /ecg/process", orjson.dumps(an_ecg_body(id=number)), client=ada)
        for number in range(_SENDERS)
    ]
    async with sent_and_gone(gateway, posts, lambda: began == _AT_A_TIME) as disconnected:
        await disconnected.have_ended(_SENDERS)
        may_end.set()
        await until(lambda: ended == _AT_A_TIME)
    async with ada.post("/ecg/process", json=an_ecg_body(id="next")) as response:
        assert response.status == 202

    assert began == _AT_A_TIME + 1
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM ecg") == _AT_A_TIME + 1


async def test_a_body_that_waits_to_be_parsed_is_dropped_when_its_client_disconnects(
    gateway: str, ada: aiohttp.ClientSession, blocking: BlockingWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_module, "read_ecg_json", blocking)
    packed = gzip.compress(bytes(2 * SMALL_BYTES))
    post = a_request("POST /ecg/process", packed, client=ada, **{"Content-Encoding": "gzip"})
    async with sent_and_gone(
        gateway, [post] * _SENDERS, lambda: blocking.began == _AT_A_TIME
    ) as disconnected:
        await disconnected.have_ended(_SENDERS - _AT_A_TIME)
        blocking.may_end.set()
        await disconnected.have_ended(_SENDERS)

    assert blocking.began == _AT_A_TIME


async def test_a_queued_login_is_dropped_when_its_client_disconnects(
    gateway: str, blocking: BlockingWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(password_hashing_module, "_verify", blocking)
    logins = [
        a_request("POST /token", orjson.dumps({"user": f"user-{number}", "password": PASSWORD}))
        for number in range(_SENDERS)
    ]
    async with sent_and_gone(gateway, logins, lambda: blocking.began == _AT_A_TIME) as disconnected:
        await disconnected.have_ended(_SENDERS - _AT_A_TIME)
        blocking.may_end.set()
        await disconnected.have_ended(_SENDERS)

    assert blocking.began == _AT_A_TIME


async def test_a_recording_releases_its_slot_and_bytes_when_its_client_disconnects(
    database: Database, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = 0

    async def stuck_add(*_: object) -> Any:
        nonlocal stored
        stored += 1
        await asyncio.Event().wait()

    def has_stored(count: int) -> bool:
        return stored == count

    monkeypatch.setattr(PostgresRecordingStore, "add", stuck_add)
    # A quarter of the bytes on disk holds one of them.
    settings = GatewayOnlySettings(
        host="127.0.0.1",
        port=0,
        max_lead_samples=6,
        max_ecg_samples=10,
        max_recording_samples=2**16,
        max_spooled_bytes=2**20,
    )
    lead = {"name": "I", "num_samples": 50_000, "sample_type": "int32"}
    body = a_binary_body({"id": "10", "date": "2023-07-30", "leads": [lead]}, bytes(200_000))
    async with (
        open_test_gateway(database, broker.publisher(), settings=settings) as address,
        open_client(address, "ada") as ada,
    ):
        post = a_request(
            "POST /ecg/process", body, client=ada, **{"Content-Type": "application/vnd.isoline.ecg"}
        )
        for count in range(1, 2 * _AT_A_TIME + 1):
            async with sent_and_gone(address, [post], partial(has_stored, count)) as disconnected:
                await disconnected.have_ended(1)
