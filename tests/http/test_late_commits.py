"""Readers of `GET /events` while eight writers commit, some of them late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.programs.faults.followers.log_readers import PageReader, StreamReader
from tests.support.databases import open_connection
from tests.support.log_writers import PlainCursor, write_events
from tests.support.polling import until
from tests.support.tasks import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

_WRITERS: Final = 8
_COMMITS: Final = 125
_EACH_LATE: Final = 25
_FIRST: Final = "0"


async def test_each_event_comes_once_however_late_it_is_committed_but_not_by_a_plain_cursor(
    gateway: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late is: when each reader has read again, and the plain cursor has seen a later number."""
    monkeypatch.setattr("gateway.events.following._LOOK_EVERY_S", 0.02)
    expected = {str(number) for number in range(_WRITERS * _COMMITS)}
    pages = PageReader("pages", {}, address=gateway, user="ada", poll_s=0.01)
    stream = StreamReader("a stream", {}, address=gateway, user="both", stream_s=0.02)
    first_is_begun = asyncio.Event()

    async def ids_of(writer: int) -> AsyncIterator[str]:
        if writer:
            await first_is_begun.wait()
        for number in range(writer, len(expected), _WRITERS):
            yield str(number)

    async def may_commit(id_: str) -> None:
        if id_ == _FIRST:
            first_is_begun.set()
            await until(lambda: bool(plain.seen))
        elif int(id_) % _EACH_LATE == 0:
            reads, answers = plain.reads + 3, pages.answers + 3
            await until(lambda: plain.reads >= reads and pages.answers >= answers)

    async with open_connection(database_url) as connection:
        plain = PlainCursor(connection)
        async with running(plain.read_on(poll_s=0.01), pages.follow(), stream.follow()):
            await until(lambda: pages.answers and stream.streams)
            async with asyncio.timeout(60), asyncio.TaskGroup() as writing:
                for writer in range(_WRITERS):
                    writing.create_task(write_events(database_url, ids_of(writer), before_commit=may_commit))
            await until(lambda: expected == pages.erased == stream.erased)
        await plain.read()

    assert set(pages.deliveries.values()) == {1}
    assert set(stream.deliveries.values()) == {1}
    assert stream.streams > 1
    assert _FIRST not in plain.seen
