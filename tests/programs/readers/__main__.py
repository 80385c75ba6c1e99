"""Eight writers, a thousand commits a second, some of them late: do readers of `GET /events` get every event?

``python -m tests.programs.readers --seconds 10 --rate 1000``: a gateway of its own is read by pages and as a
stream, with another stream every few seconds, while a plain cursor reads the same table. Some
transactions are held open for one to three seconds before they commit.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import random
import secrets
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from shared.domain.account import Role
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.schema.migrations import migrate
from tests.programs.faults.followers.log_readers import LogReader, PageReader, StreamReader
from tests.programs.faults.load import PASSWORD
from tests.support.databases import open_connection, open_empty_database, open_private_postgres
from tests.support.log_writers import PlainCursor, write_events
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port, open_service
from tests.support.tasks import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.programs.faults.followers.follower import Follower

_WRITERS: Final = 8
_EACH_LATE: Final = 750
_LATE_S: Final = (1.0, 3.0)
_PLAIN_POLL_S: Final = 0.3
_READ_WITHIN_S: Final = 60.0
_SEED: Final = 1


async def main(*, seconds: float, rate: float) -> int:
    """Write and read, print what came; 1 if a reader missed something or had it twice."""
    count = int(seconds * rate)
    async with AsyncExitStack() as stack:
        database_url, address = await stack.enter_async_context(_open_gateway())
        plain = PlainCursor(await stack.enter_async_context(open_connection(database_url)))
        pages = PageReader("pages", {}, address=address, user="ada")
        stream = StreamReader("stream", {}, address=address, user="billing")
        readers: list[LogReader] = [pages, stream]
        reading = (reader.follow() for reader in readers)
        await stack.enter_async_context(running(*reading, plain.read_on(poll_s=_PLAIN_POLL_S)))
        took_s, late = await _write(database_url, count, rate)
        sys.stdout.write(
            f"{count:,} commits of {_WRITERS} writers in {took_s:.1f} s, {count / took_s:,.0f}/s; "
            f"{late} held open for {_LATE_S[0]:g} to {_LATE_S[1]:g} s\n"
        )
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + _READ_WITHIN_S and any(len(it.erased) < count for it in readers):
            await asyncio.sleep(0.05)
        read_s = time.monotonic() - begun_s
    for reader in readers:
        sys.stdout.write(_said_of(reader, count) + "\n")
    sys.stdout.write(f"readers had all {read_s:.1f} s after the last commit; {stream.streams} streams\n")
    sys.stdout.write(f"a plain cursor: {count - len(set(plain.seen)):,} missed\n")
    is_right = all(reader.deliveries.total() == len(reader.erased) == count for reader in readers)
    return 0 if is_right else 1


def _said_of(reader: Follower, count: int) -> str:
    twice = reader.deliveries.total() - len(reader.deliveries)
    return f"{reader.name}: {len(reader.erased):,} events, {count - len(reader.erased)} missed, {twice} twice"


async def _write(database_url: str, count: int, rate: float) -> tuple[float, int]:
    """When the last came that was not held open, and how many were."""
    begun_s, late, last_s = time.monotonic(), 0, 0.0
    drawn = random.Random(_SEED)  # noqa: S311 - the same for each run
    numbers = iter(range(count))

    async def next_ids() -> AsyncIterator[str]:
        for number in numbers:  # which the writers share: while one waits, the others go on
            await asyncio.sleep(begun_s + number / rate - time.monotonic())
            yield str(number)

    async def commit_late(id_: str) -> None:
        nonlocal late, last_s
        if int(id_) % _EACH_LATE:
            last_s = time.monotonic() - begun_s
        else:
            late += 1
            await asyncio.sleep(drawn.uniform(*_LATE_S))

    async with asyncio.TaskGroup() as writing:
        for _ in range(_WRITERS):
            writing.create_task(write_events(database_url, next_ids(), before_commit=commit_late))
    return last_s, late


@asynccontextmanager
async def _open_gateway() -> AsyncIterator[tuple[str, str]]:
    """Yield the URL of a database with two accounts, and the address of a gateway on it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(server_folder()))
        server_url = await stack.enter_async_context(open_private_postgres())
        database_url = await stack.enter_async_context(open_empty_database(server_url))
        broker = await stack.enter_async_context(open_rabbitmq_server(folder))
        await migrate(database_url)
        async with open_database(database_url) as database:
            accounts = PostgresAccountStore(database)
            for name, role in ("ada", Role.USER), ("billing", Role.SUBSCRIBER):
                await create_account(name, PASSWORD, [role], accounts=accounts, passwords=PasswordHashing())
        address = f"http://127.0.0.1:{(port := free_port())}"
        environment = {
            "ISOLINE_DATABASE_URL": database_url,
            "ISOLINE_AMQP_URL": broker.amqp_url,
            "ISOLINE_TOKEN_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "ISOLINE_HOST": "127.0.0.1",
            "ISOLINE_PORT": str(port),
        }
        await stack.enter_async_context(
            open_service(["-m", "gateway"], address=address, environment=environment, log=folder / "log")
        )
        yield database_url, address


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.programs.readers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="commits a second")
    arguments = parser.parse_args()
    for library in ("aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # the broker is not there at once
    sys.exit(asyncio.run(main(seconds=arguments.seconds, rate=arguments.rate)))
