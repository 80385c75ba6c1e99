"""Look up the names of receivers, each in a thread: a slow name delays no other one.

A lookup can't be cancelled, and the system may take half a minute for one. Its thread is a daemon, so that
nothing waits for it: neither who asked, after some seconds, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address
from threading import Thread
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from shared.egress import Address

LOOKUP_S: Final = 5.0
# Each takes a thread; of the same name there is one at a time.
_MOST_LOOKUPS: Final = 32
_UNKNOWN_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})

SystemLookup: TypeAlias = "Callable[[str], Sequence[str]]"


def system_lookup(name: str) -> list[str]:
    """The addresses of a name as the system knows them; blocks.

    Raises:
        OSError: There is no such name, or no answer.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


class NameLookupError(OSError):
    """A name has no address, or none is known in time. The message says which of them."""


class NameLookup:
    """Looks names up, a bounded number at a time, each within `LOOKUP_S`."""

    def __init__(self, look_up: SystemLookup) -> None:
        self._look_up = look_up
        self._free_threads = asyncio.Semaphore(_MOST_LOOKUPS)
        self._lookups: dict[str, asyncio.Task[list[Address]]] = {}

    async def addresses(self, name: str) -> list[Address]:
        """All addresses of a name, at least one; calls for one name at the same time share a lookup.

        Raises:
            NameLookupError: There is no such name, or no answer in time.
        """
        task = self._lookups.get(name)
        if task is None:
            task = self._lookups[name] = asyncio.create_task(self._addresses(name))
            task.add_done_callback(partial(self._forget, name))
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await asyncio.shield(task)
        except TimeoutError:
            raise NameLookupError(f"its name could not be looked up within {LOOKUP_S:.0f} s") from None
        except (OSError, UnicodeError) as error:
            is_unknown = isinstance(error, socket.gaierror) and error.errno in _UNKNOWN_NAME
            raise NameLookupError(
                "its name is not known" if is_unknown else "its name could not be looked up"
            ) from None
        if not found:
            raise NameLookupError("its name has no address")
        return found

    async def cancel(self) -> None:
        """Wait for no lookup any more."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _addresses(self, name: str) -> list[Address]:
        async with asyncio.timeout(LOOKUP_S):
            await self._free_threads.acquire()
        try:
            found = await _in_daemon_thread(self._look_up, name)
        finally:
            self._free_threads.release()
        return [ip_address(address.partition("%")[0]) for address in dict.fromkeys(found)]

    def _forget(self, name: str, task: asyncio.Task[list[Address]]) -> None:
        del self._lookups[name]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: who asked may have stopped waiting


@asynccontextmanager
async def open_name_lookup(look_up: SystemLookup) -> AsyncIterator[NameLookup]:
    """Yield a lookup of names; no caller waits after it is closed."""
    names = NameLookup(look_up)
    try:
        yield names
    finally:
        await names.cancel()


def _in_daemon_thread(look_up: SystemLookup, name: str) -> asyncio.Future[Sequence[str]]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def finish(found: Sequence[str], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def work() -> None:
        found: Sequence[str] = ()
        failure: Exception | None = None
        try:
            found = look_up(name)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(finish, found, failure)

    Thread(target=work, name="lookup of a receiver", daemon=True).start()
    return future
