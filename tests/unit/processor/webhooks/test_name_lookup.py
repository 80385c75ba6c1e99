"""Lookups of names: bounded in time and number, and none delays another."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import pytest

from processor.webhooks import name_lookup
from processor.webhooks.name_lookup import NameLookupError, open_name_lookup, system_lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WITHIN_S: Final = 60.0
_SHORT_S: Final = 0.05


class _SlowNames:
    """The system's lookup, of which names with `slow` in them wait until they are freed."""

    def __init__(self) -> None:
        self.freed = threading.Event()
        self.begun = threading.Semaphore(0)
        self.names: list[str] = []
        self.are_daemons: list[bool] = []

    def __call__(self, name: str) -> Sequence[str]:
        self.names.append(name)
        self.are_daemons.append(threading.current_thread().daemon)
        self.begun.release()
        if "slow" in name:
            self.freed.wait(_WITHIN_S)
        return ["1.1.1.1"]

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.begun.acquire)


@pytest.fixture
def names() -> Iterator[_SlowNames]:
    slow = _SlowNames()
    yield slow
    slow.freed.set()


async def test_a_slow_name_delays_no_other(names: _SlowNames) -> None:
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(names) as lookup:
        slow = asyncio.create_task(lookup.addresses("slow.test"))
        await names.has_begun()

        assert await lookup.addresses("quick.test") == [ip_address("1.1.1.1")]
        assert not slow.done()

        names.freed.set()
        assert await slow == [ip_address("1.1.1.1")]


async def test_calls_for_one_name_share_a_lookup_and_later_ones_look_again(names: _SlowNames) -> None:
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(names) as lookup:
        calls = [asyncio.create_task(lookup.addresses("slow.test")) for _ in range(10)]
        await names.has_begun()
        names.freed.set()
        await asyncio.gather(*calls)
        assert names.names == ["slow.test"]

        await lookup.addresses("slow.test")

    assert names.names == ["slow.test"] * 2


async def test_a_call_that_is_cancelled_leaves_the_lookup_to_others(names: _SlowNames) -> None:
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(names) as lookup:
        first, second = (asyncio.create_task(lookup.addresses("slow.test")) for _ in range(2))
        await names.has_begun()
        first.cancel()
        await asyncio.wait([first])
        names.freed.set()

        assert await second == [ip_address("1.1.1.1")]


async def test_a_lookup_without_an_answer_is_given_up(
    names: _SlowNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "LOOKUP_S", _SHORT_S)
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(names) as lookup:
        for _ in range(2):
            with pytest.raises(NameLookupError, match="its name could not be looked up within"):
                await lookup.addresses("slow.test")

    assert names.names == ["slow.test"]  # the second waited for the first, which has a thread still


async def test_a_thread_more_than_allowed_is_not_begun(
    names: _SlowNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "_MOST_LOOKUPS", 2)
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(names) as lookup:
        calls = [asyncio.create_task(lookup.addresses(f"slow{number}.test")) for number in range(3)]
        await names.has_begun()
        await names.has_begun()
        await asyncio.sleep(0)
        assert len(names.names) == 2

        names.freed.set()
        await asyncio.gather(*calls)

    assert len(names.names) == 3


async def test_the_end_waits_for_no_lookup(names: _SlowNames) -> None:
    async with asyncio.timeout(_WITHIN_S):
        async with open_name_lookup(names) as lookup:
            call = asyncio.create_task(lookup.addresses("slow.test"))
            await names.has_begun()
        await asyncio.wait([call])

    assert call.cancelled()
    assert names.are_daemons == [True]  # nor does the end of the process


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "its name is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "its name could not be looked up"),
        (OSError("no more threads"), "its name could not be looked up"),
        (UnicodeError("label too long"), "its name could not be looked up"),
    ],
    ids=["unknown", "no answer", "system", "encoding"],
)
async def test_a_failure_is_told_in_a_sentence(error: Exception, message: str) -> None:
    def fail(_name: str) -> Sequence[str]:
        raise error

    async with asyncio.timeout(_WITHIN_S), open_name_lookup(fail) as lookup:
        with pytest.raises(NameLookupError, match=f"^{message}$"):
            await lookup.addresses("receiver.test")


async def test_a_name_without_an_address_is_a_failure() -> None:
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(lambda _: []) as lookup:
        with pytest.raises(NameLookupError, match="its name has no address"):
            await lookup.addresses("receiver.test")


async def test_each_address_is_given_once_in_order_without_its_zone() -> None:
    found = ["fe80::1%eth0", "1.1.1.1", "::1", "1.1.1.1"]
    async with asyncio.timeout(_WITHIN_S), open_name_lookup(lambda _: found) as lookup:
        addresses = await lookup.addresses("receiver.test")

    assert list(map(str, addresses)) == ["fe80::1", "1.1.1.1", "::1"]


def test_the_system_knows_localhost() -> None:
    assert "127.0.0.1" in system_lookup("localhost")
