"""Followers over HTTP: one asks `GET /events` for page after page, one follows it as server-sent events.

Both begin again after every failure from the cursor that they kept last.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from shared.runtime.supervision import failure_of
from tests.programs.faults.followers.follower import Follower
from tests.programs.faults.load import PASSWORD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.programs.faults.followers.follower import Events

_RETRY_S: Final = 0.3
_POLL_S: Final = 0.3
_ANSWER_WITHIN_S: Final = 8.0
_PAGE: Final = "1000"
_HEARTBEAT_WITHIN_S: Final = 20.0  # the gateway sends one every 15 s
_STREAM_S: Final = 3.0


class LogReader(Follower, ABC):
    """Reads on from a cursor, as the account `user`."""

    def __init__(self, name: str, events: Events, *, address: str, user: str) -> None:
        super().__init__(name, events)
        self.cursor: str | None = None
        self._address = address
        self._user = user
        self._headers: dict[str, str] = {}
        self._reading: asyncio.Future[None] | None = None

    async def follow(self) -> None:
        """Read forever, each time on a connection to any gateway."""
        while True:
            self._reading = asyncio.ensure_future(self._read_in_a_session())
            if await failure_of(self._reading):
                await asyncio.sleep(_RETRY_S)

    def begin_anew(self) -> None:
        """Leave what it reads, and read all that the log has."""
        self.cursor = None
        if self._reading:
            self._reading.cancel()

    @abstractmethod
    async def read(self, session: aiohttp.ClientSession) -> None:
        """Read on from the cursor for a while, or until something fails."""

    async def _read_in_a_session(self) -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=_ANSWER_WITHIN_S, sock_read=_HEARTBEAT_WITHIN_S)
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(
            self._address, timeout=timeout, connector=connector, headers=self._headers
        ) as session:
            try:
                await self.read(session)
            except aiohttp.ClientResponseError as error:
                if error.status == 401:
                    self._headers = await self._log_in(session)
                elif error.status == 410:
                    self.cursor = None  # as it is told; what it knows it drops
                else:
                    raise

    async def _log_in(self, session: aiohttp.ClientSession) -> dict[str, str]:
        login = {"user": self._user, "password": PASSWORD}
        async with session.post("/token", json=login, raise_for_status=True) as answer:
            return {"Authorization": f"Bearer {(await answer.json())['access_token']}"}


class PageReader(LogReader):
    """Polls for pages; a request that takes too long is sent again.

    Attributes:
        answers: How many pages it has had.
    """

    def __init__(
        self, name: str, events: Events, *, address: str, user: str, poll_s: float = _POLL_S
    ) -> None:
        super().__init__(name, events, address=address, user=user)
        self.answers = 0
        self._poll_s = poll_s

    async def read(self, session: aiohttp.ClientSession) -> None:
        """Read on from the cursor until something fails."""
        timeout = aiohttp.ClientTimeout(_ANSWER_WITHIN_S)
        while True:
            query = {"limit": _PAGE} | ({"after": self.cursor} if self.cursor else {})
            async with session.get("/events", params=query, timeout=timeout, raise_for_status=True) as answer:
                page = orjson.loads(await answer.read())
            for event in page["events"]:
                self.record(event)
            self.cursor = page["cursor"]
            self.answers += 1
            if not page["has_more"]:
                await asyncio.sleep(self._poll_s)


class StreamReader(LogReader):
    """Follows a stream for some seconds, and then another one that goes on from there.

    Attributes:
        streams: How many it has begun.
    """

    def __init__(
        self, name: str, events: Events, *, address: str, user: str, stream_s: float = _STREAM_S
    ) -> None:
        super().__init__(name, events, address=address, user=user)
        self.streams = 0
        self._stream_s = stream_s

    async def read(self, session: aiohttp.ClientSession) -> None:
        """Read on from the cursor for some seconds, or until something fails."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.cursor} if self.cursor else {})
        query = {"limit": _PAGE}
        until_s = time.monotonic() + self._stream_s
        fields: dict[bytes, bytes] = {}
        async with session.get("/events", params=query, headers=headers, raise_for_status=True) as answer:
            self.streams += 1
            async for line in answer.content:
                name, _, value = line.rstrip(b"\n").partition(b": ")
                if name:
                    fields[name] = value
                    continue
                if b"data" in fields and b"id" in fields:
                    self.record(orjson.loads(fields[b"data"]))
                if b"id" in fields:
                    self.cursor = fields[b"id"].decode()
                if time.monotonic() > until_s:
                    return
                fields = {}


@asynccontextmanager
async def open_log_readers(
    address: str, events: Events, *, owner: str, subscriber: str
) -> AsyncIterator[list[LogReader]]:
    """Yield readers that read while the context is open: an owner pages, and a subscriber a stream."""
    readers = [
        PageReader("the log", events, address=address, user=owner),
        StreamReader("server-sent events", events, address=address, user=subscriber),
    ]
    tasks = [asyncio.create_task(reader.follow()) for reader in readers]
    try:
        yield [*readers]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
