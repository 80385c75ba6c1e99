"""A gateway whose budget of memory or disk is used up: which requests are refused then."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from gateway import app as app_module
from gateway.ecgs import feature as ecgs_module
from gateway.formats import spool as spool_module
from gateway.formats.spool import SpoolDirectory
from gateway.http.memory import body_memory as body_memory_module
from gateway.http.memory.body_memory import BodyMemoryBudget
from shared.domain.account import Role
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import (
    TOKENS,
    open_client,
    open_gateway_alone,
    open_raw,
    open_test_gateway,
    problem_of,
)
from tests.support.builders import a_binary_body, a_binary_ecg, an_ecg_body
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_LIMIT_S: Final = 30
_BINARY: Final = "application/vnd.isoline.ecg"
_JSON: Final = "application/json"
# Of 8 MiB, 2 are for work on a body of 1 MiB at a time, twice; a caller may hold 2.
_LITTLE_MEMORY: Final[dict[str, Any]] = {
    "max_bytes_in_flight": 2**23,
    "max_body_bytes": 2**20,
    "max_ecg_samples": 2**18,
}
_LARGE_BYTES: Final = 900_000
_SHORT: Final[dict[str, Any]] = {"max_lead_samples": 6, "max_ecg_samples": 10}
# Of the disk, a caller's quarter holds the longest recording.
_LITTLE_DISK: Final[dict[str, Any]] = {"max_spooled_bytes": 2**20, "max_recording_samples": 2**16}
_ACCOUNTS: Final = [f"account-{number}" for number in range(20)]


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[BodyMemoryBudget]:
    """The budget of each gateway that is opened."""
    opened: list[BodyMemoryBudget] = []

    class KnownBudget(BodyMemoryBudget):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            opened.append(self)

    monkeypatch.setattr(app_module, "BodyMemoryBudget", KnownBudget)
    return opened


@pytest.fixture
def spool_directory(monkeypatch: pytest.MonkeyPatch) -> list[SpoolDirectory]:
    """The spool directory of each gateway that is opened."""
    opened: list[SpoolDirectory] = []

    class RecordedSpoolDirectory(SpoolDirectory):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            opened.append(self)

    monkeypatch.setattr(ecgs_module, "SpoolDirectory", RecordedSpoolDirectory)
    return opened


def a_head(account: str, content_type: str, size: int) -> bytes:
    token = TOKENS.issue(account, [Role.USER], now=datetime.now(UTC))
    return (
        f"POST /ecg/process HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def a_long_body(num_samples: int) -> bytes:
    lead = {"name": "I", "num_samples": num_samples, "sample_type": "int32"}
    return a_binary_body({"id": "10", "date": "2023-07-30", "leads": [lead]}, bytes(4 * num_samples))


@asynccontextmanager
async def open_trickle(
    address: str, account: str, content_type: str, size: int, sent: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """A body that stalls after its first bytes."""
    async with open_raw(address) as (reader, writer):
        writer.write(a_head(account, content_type, size) + sent)
        await writer.drain()
        yield reader


async def fill(opened: AsyncExitStack, address: str, budget: BodyMemoryBudget) -> list[asyncio.StreamReader]:
    """Start stalled bodies, one per account, until another large one does not fit."""
    trickling: list[asyncio.StreamReader] = []
    for account in _ACCOUNTS:
        before = budget.large.held
        if before + _LARGE_BYTES > budget.large.max_bytes:
            return trickling
        trickle = open_trickle(address, account, _JSON, 2**20, b" " * _LARGE_BYTES)
        trickling.append(await opened.enter_async_context(trickle))
        await until(lambda before=before: budget.large.held == before + _LARGE_BYTES)  # type: ignore[misc]
    raise AssertionError("the memory is never full")


async def posted(client: aiohttp.ClientSession, body: bytes, content_type: str, **headers: str) -> Any:
    async with client.post(
        "/ecg/process", data=body, headers={"Content-Type": content_type, **headers}
    ) as response:
        return response.status, await response.json(content_type=None)


def small_bodies() -> list[tuple[bytes, dict[str, str]]]:
    """Bodies with an invalid date, so that no database is needed to refuse them."""
    small = an_ecg_body(date="tomorrow")
    standard = an_ecg_body(date="tomorrow", leads=[{"name": "I", "signal": [1000] * 50_000}])
    return [
        (orjson.dumps(small), {"content_type": _JSON}),
        (orjson.dumps(standard), {"content_type": _JSON}),
        (gzip.compress(orjson.dumps(small)), {"content_type": _JSON, "Content-Encoding": "gzip"}),
        (gzip.compress(orjson.dumps(standard)), {"content_type": _JSON, "Content-Encoding": "gzip"}),
        (a_binary_ecg(small), {"content_type": _BINARY}),
        (gzip.compress(a_binary_ecg(standard)), {"content_type": _BINARY, "Content-Encoding": "gzip"}),
    ]


class TestMemory:
    async def test_small_bodies_are_accepted_while_large_ones_use_up_the_budget(
        self, budgets: list[BodyMemoryBudget]
    ) -> None:
        async with (
            asyncio.timeout(_LIMIT_S),
            open_gateway_alone(**_LITTLE_MEMORY) as address,
            AsyncExitStack() as opened,
            open_client(address, "ada") as ada,
        ):
            await fill(opened, address, budgets[0])

            found = [await posted(ada, body, **headers) for body, headers in small_bodies()]
            large = [
                await posted(ada, b" " * _LARGE_BYTES, _JSON),
                await posted(ada, a_long_body(_LARGE_BYTES // 4), _BINARY),
            ]

        assert [status for status, _ in found] == [422] * 6
        for status, problem in large:
            assert status == 503
            assert problem["detail"].startswith("The gateway has its hands full")

    async def test_the_samples_of_a_binary_body_are_counted_while_they_arrive(
        self, budgets: list[BodyMemoryBudget]
    ) -> None:
        body = a_long_body(_LARGE_BYTES // 4)
        async with (
            asyncio.timeout(_LIMIT_S),
            open_gateway_alone(**_LITTLE_MEMORY) as address,
            open_trickle(address, "ada", _BINARY, len(body), body[:-100]),
        ):
            await until(lambda: budgets[0].large.held == _LARGE_BYTES - 100)

    async def test_a_fast_large_body_evicts_a_slow_one(
        self, budgets: list[BodyMemoryBudget], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body_memory_module, "_EVICTABLE_AFTER_S", 0.01)
        async with (
            asyncio.timeout(_LIMIT_S),
            open_gateway_alone(**_LITTLE_MEMORY) as address,
            AsyncExitStack() as opened,
            open_client(address, "ada") as ada,
        ):
            trickling = await fill(opened, address, budgets[0])
            await asyncio.sleep(0.02)  # now all of them have held it for too long

            found = [(await posted(ada, b" " * _LARGE_BYTES, _JSON))[0] for _ in range(2 * len(trickling))]
            ended = await trickling[0].read()
            [*_, last] = trickling
            is_last_waited_for = not last.at_eof() and not last._buffer  # type: ignore[attr-defined]

        assert found == [413] * len(found)  # so much white space is read, and refused then
        assert b"HTTP/1.1 503 " in ended
        assert b"Retry-After: 5" in ended
        assert b"came too slowly for what it held" in ended
        assert is_last_waited_for

    async def test_memory_is_released_when_the_client_disconnects(
        self, budgets: list[BodyMemoryBudget]
    ) -> None:
        async with asyncio.timeout(_LIMIT_S), open_gateway_alone(**_LITTLE_MEMORY) as address:
            async with AsyncExitStack() as opened:
                await fill(opened, address, budgets[0])

            await until(lambda: budgets[0].large.held == 0)

    async def test_a_window_larger_than_a_callers_budget_is_a_413(self) -> None:
        # A frame that asks for 8 MiB (RFC 8878, 3.1.1), where a caller may hold 2.
        body = bytes.fromhex("28b52ffd0068") + bytes(40)
        async with open_gateway_alone(**_LITTLE_MEMORY) as address, open_client(address, "ada") as ada:
            headers = {"Content-Type": _BINARY, "Content-Encoding": "zstd"}
            async with ada.post("/ecg/process", data=body, headers=headers) as response:
                problem = await problem_of(response, 413)

        assert problem["detail"].startswith("One caller may hold 2097152 bytes")
        assert "Retry-After" not in response.headers


class TestDisk:
    async def test_declared_sizes_reserve_no_disk_space(
        self, database: Database, broker: InProcessBroker, spool_directory: list[SpoolDirectory]
    ) -> None:
        long_one = a_long_body(2**16)
        async with (
            asyncio.timeout(_LIMIT_S),
            _open_gateway(database, broker) as address,
            AsyncExitStack() as opened,
            open_client(address, "ada") as ada,
        ):
            for account in _ACCOUNTS:
                trickle = open_trickle(address, account, _BINARY, len(long_one), long_one[:5000])
                await opened.enter_async_context(trickle)
            await until(lambda: spool_directory[0]._budget.held > len(_ACCOUNTS) * 4500)

            found = [(await posted(ada, long_one, _BINARY))[0] for _ in range(3)]

        assert found == [202] * 3

    @pytest.mark.parametrize("is_slow", [False, True])
    async def test_a_recording_past_the_disk_budget_is_refused_unless_others_are_slow(
        self,
        database: Database,
        broker: InProcessBroker,
        spool_directory: list[SpoolDirectory],
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_slow: bool,
    ) -> None:
        monkeypatch.setattr(spool_module, "_EVICTABLE_AFTER_S", 0.0 if is_slow else _LIMIT_S)
        long_one = a_long_body(2**16)
        async with (
            asyncio.timeout(_LIMIT_S),
            _open_gateway(database, broker) as address,
            AsyncExitStack() as opened,
            open_client(address, "ada") as ada,
        ):
            trickling = [
                await opened.enter_async_context(
                    open_trickle(address, account, _BINARY, len(long_one), long_one[:-1])
                )
                for account in _ACCOUNTS[:4]
            ]
            await until(lambda: spool_directory[0]._budget.held == 4 * (2**18 - 1))

            status, response = await posted(ada, long_one, _BINARY)
            ended = await trickling[0].readline() if is_slow else b""

        assert status == (202 if is_slow else 503)
        assert is_slow or response["detail"].startswith("The gateway has its hands full")
        assert ended.startswith(b"HTTP/1.1 503 ") == is_slow


@asynccontextmanager
async def _open_gateway(database: Database, broker: InProcessBroker) -> AsyncIterator[str]:
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, **_SHORT, **_LITTLE_DISK)
    async with open_test_gateway(database, broker.publisher(), settings=settings) as address:
        yield address
