"""What hostile clients cost a real gateway: ``make hostile``. Exit status 1 when a bound is missed.

It starts PostgreSQL, RabbitMQ and one gateway of its own, with default settings; and another one, without
limits of how often somebody may ask, for the shapes of `tests.programs.hostile.shapes`: what a request of
each costs, and what a bystander notices of the dearest.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import secrets
import select
import socket
import statistics
import sys
import tempfile
import time
import zlib
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console
from rich.table import Table

from gateway.accounts.password_hashing import PasswordHashing
from isoline.embedded.postgres_server import open_postgres_server
from shared.domain.account import Account, Role
from shared.observability.logs import configure_logs
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.schema.migrations import migrate
from tests.programs.hostile.costs import (
    MAX_BYSTANDER_S,
    MAX_CPU_S,
    MAX_LOOP_S,
    Cost,
    bystander_s,
    cost_of,
    memory_mib,
)
from tests.programs.hostile.shapes import SHAPES
from tests.support.builders import an_ecg_body
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

_ROOT: Final = Path(__file__).parents[3]
_PASSWORD: Final = "a good password"
_MIB: Final = 2**20

_BOMBS: Final = 50
_MAX_GROWTH_MIB: Final = 100.0
_SLOW_CLIENTS: Final = 200
_CUT_OFF_WITHIN_S: Final = 20.0
_SERVED_WITHIN_S: Final = 1.0
_UNREAD_CONNECTIONS: Final = 150
# More than a kernel keeps of it for them.
_UNREAD_REQUESTS: Final = 200
_MAX_UNREAD_MIB: Final = 30.0
_UNREAD_ENDED_WITHIN_S: Final = 45.0
_MAX_CONNECTIONS: Final = 200
_KEPT_CONNECTIONS: Final = 600
_KEPT_REQUESTS: Final = 100
# A late body is left alone for 1 s.
_KEPT_FOR_S: Final = 2.0
_KEPT: Final = {
    "idle": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "each with a body that does not end": b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
}
_LOGINS: Final = 60
_MAX_DIFFERENCE: Final = 0.2
_WITHOUT_RATES: Final = {
    "ISOLINE_TRUSTED_PROXIES": "1",  # else some headers are not looked at
    "ISOLINE_RATE_PER_ADDRESS": "0",
    "ISOLINE_RATE_PER_CALLER": "0",
    "ISOLINE_RATE_OF_LOGINS": "0",
}
# Of the dearest, by each kind of CPU, so many are sent while somebody else is served.
_DEAREST: Final = 8
_KEYS: Final[Sequence[Callable[[Cost], float]]] = (lambda cost: cost.loop_s, lambda cost: cost.cpu_s)


class Finding(NamedTuple):
    """What was measured, what may be, and whether it is."""

    what: str
    measured: str
    bound: str
    is_kept: bool


class Gateway(NamedTuple):
    """A running gateway, and a client of it with a token."""

    pid: int
    address: str
    client: aiohttp.ClientSession


async def measure_bombs(gateway: Gateway, name: str, bomb: bytes, status: int) -> Finding:
    """How much memory the gateway takes for many gzip bombs at a time."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    async def throw() -> int:
        async with gateway.client.post("/ecg/process", data=bomb, headers=headers) as answer:
            return answer.status

    before = memory_mib(gateway.pid, "VmRSS")
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")  # the high-water mark begins anew
    statuses = await asyncio.gather(*(throw() for _ in range(_BOMBS)))
    growth = memory_mib(gateway.pid, "VmHWM") - before
    is_refused = set(statuses) <= {status, 503}
    return Finding(
        f"{_BOMBS} gzip bombs at a time, {name}: growth of memory",
        f"{growth:.0f} MiB (from {before:.0f}; answers {sorted(set(statuses))})",
        f"< {_MAX_GROWTH_MIB:.0f} MiB, all refused",
        growth < _MAX_GROWTH_MIB and is_refused,
    )


async def measure_slow_clients(gateway: Gateway) -> list[Finding]:
    """When clients that send a byte a second are cut off, and how another is served meanwhile."""
    served: list[float] = []
    serving = asyncio.create_task(_submit_forever(gateway.client, served))
    head = b"POST /token HTTP/1.1\r\nHost: x\r\n"
    beginnings = [head, head + b"Content-Length: 1000\r\n\r\n"]
    lives = await asyncio.gather(
        *(_life_of_slow_client(gateway.address, beginnings[index % 2]) for index in range(_SLOW_CLIENTS))
    )
    is_serving = not serving.done()  # it ends only by an answer that is none of success
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    p99 = statistics.quantiles(served, n=100)[98]
    return [
        Finding(
            f"{_SLOW_CLIENTS} clients that send a byte a second: the last was cut off after",
            f"{max(lives):.1f} s",
            f"< {_CUT_OFF_WITHIN_S:.0f} s",
            max(lives) < _CUT_OFF_WITHIN_S,
        ),
        Finding(
            "a normal client meanwhile: submissions, their median and 99th percentile",
            f"{len(served)}, {statistics.median(served) * 1000:.0f} ms, {p99 * 1000:.0f} ms",
            f"all accepted, < {_SERVED_WITHIN_S:.0f} s",
            is_serving and p99 < _SERVED_WITHIN_S,
        ),
    ]


async def measure_unread(gateway: Gateway, path: str) -> list[Finding]:
    """How much memory the gateway takes for clients that ask and do not read, and when it ends them."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * _UNREAD_REQUESTS
    before = memory_mib(gateway.pid, "VmRSS")
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    begun = time.monotonic()
    with ExitStack() as opened:
        unread = [opened.enter_context(_sent(gateway.address, request)) for _ in range(_UNREAD_CONNECTIONS)]
        ended = await asyncio.to_thread(_count_ended, unread, begun + _UNREAD_ENDED_WITHIN_S)
    took_s = time.monotonic() - begun
    growth = memory_mib(gateway.pid, "VmHWM") - before
    what = f"{_UNREAD_CONNECTIONS} clients that ask {_UNREAD_REQUESTS} times for {path} and read nothing"
    return [
        Finding(
            f"{what}: growth of memory",
            f"{growth:.0f} MiB (from {before:.0f})",
            f"< {_MAX_UNREAD_MIB:.0f} MiB",
            growth < _MAX_UNREAD_MIB,
        ),
        Finding(
            "how many of them were ended, and within",
            f"{ended}, {took_s:.1f} s",
            f"all, < {_UNREAD_ENDED_WITHIN_S:.0f} s",
            ended == _UNREAD_CONNECTIONS,
        ),
    ]


async def measure_kept(gateway: Gateway, how: str, request: bytes) -> Finding:
    """Whether another client is served while one opens more connections than there may be, and keeps them."""
    connector = aiohttp.TCPConnector(force_close=True)
    with ExitStack() as opened:
        for _ in range(_KEPT_CONNECTIONS):
            with suppress(ConnectionError):
                opened.enter_context(_sent(gateway.address, request))
        await asyncio.sleep(_KEPT_FOR_S)
        async with aiohttp.ClientSession(gateway.address, connector=connector) as client:
            served = sum([await _is_served(client) for _ in range(_KEPT_REQUESTS)])
    return Finding(
        f"{_KEPT_CONNECTIONS} connections, {how}, where {_MAX_CONNECTIONS} may be: another client's requests "
        "that were served",
        f"{served} of {_KEPT_REQUESTS}",
        "all",
        served == _KEPT_REQUESTS,
    )


async def _is_served(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/health/live") as response:
            return response.ok
    except aiohttp.ClientError:
        return False


async def measure_logins(gateway: Gateway, known: list[str]) -> Finding:
    """Whether the time of a refused login tells whether there is such an account."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for name in known:
        for is_known in (True, False):
            user = name if is_known else f"nobody-{secrets.token_hex(4)}"
            times[is_known].append(await _refused_login(gateway.client, user))
    of_known, of_unknown = (statistics.median(times[is_known]) for is_known in (True, False))
    difference = abs(of_known - of_unknown) / of_known
    return Finding(
        f"{_LOGINS} logins each: median of a known account with a wrong password, and of an unknown one",
        f"{of_known * 1000:.1f} ms, {of_unknown * 1000:.1f} ms ({difference:.0%} apart)",
        f"< {_MAX_DIFFERENCE:.0%} apart",
        difference < _MAX_DIFFERENCE,
    )


async def measure_shapes(gateway: Gateway, only: str) -> tuple[list[Cost], list[Finding]]:
    """What requests of each shape cost, and what a bystander notices of the dearest."""
    port, token = urlsplit(gateway.address).port or 0, await _token(gateway)
    shapes = [shape for shape in SHAPES if only in f"{shape.route}: {shape.what}"]
    costs = [
        await asyncio.to_thread(cost_of, shape, pid=gateway.pid, port=port, token=token) for shape in shapes
    ]
    if not costs:
        return [], []
    dearest = {cost.shape for key in _KEYS for cost in sorted(costs, key=key)[-_DEAREST:]}
    token = await _token(gateway)
    noticed_s = await asyncio.to_thread(bystander_s, sorted(dearest), port=port, token=token)
    finding = Finding(
        f"a bystander, while 2 others send the {len(dearest)} dearest shapes again and again: median",
        f"{noticed_s * 1000:.1f} ms",
        f"< {MAX_BYSTANDER_S * 1000:.0f} ms",
        noticed_s < MAX_BYSTANDER_S,
    )
    return costs, [_of_shapes(costs), finding]


def _of_shapes(costs: Sequence[Cost]) -> Finding:
    """One line for all shapes; the table of the dearest tells the rest."""
    loop_s, cpu_s = max(cost.loop_s for cost in costs), max(cost.cpu_s for cost in costs)
    return Finding(
        f"a request of each of {len(costs)} shapes: the most CPU of the event loop, of all threads",
        f"{loop_s * 1000:.0f} ms, {cpu_s * 1000:.0f} ms",
        f"< {MAX_LOOP_S * 1000:.0f} ms, < {MAX_CPU_S * 1000:.0f} ms, memory < 3 bodies",
        all(cost.is_kept for cost in costs),
    )


def _table_of(costs: Sequence[Cost]) -> Table:
    """The dearest shape of each route, and each that misses a bound."""
    table = Table(
        *("route", "shape", "status", "loop, ms", "CPU, ms", "memory, MiB", "kept"),
        title="The dearest requests of each route",
    )
    routes = {
        cost.shape.route: [each for each in costs if each.shape.route == cost.shape.route] for cost in costs
    }
    for of_route in routes.values():
        dearest = {max(of_route, key=key) for key in _KEYS}
        for cost in sorted(dearest | {cost for cost in of_route if not cost.is_kept}, key=_KEYS[0]):
            table.add_row(
                *(cost.shape.route, cost.shape.what, str(cost.status)),
                *(f"{cost.loop_s * 1000:.1f}", f"{cost.cpu_s * 1000:.1f}"),
                *(f"{cost.memory_mib:.0f} of {cost.max_memory_mib:.0f}", "yes" if cost.is_kept else "NO"),
            )
    return table


async def main(only: str) -> int:
    """Measure all, or the shapes whose names hold a text; 1 when a bound is missed."""
    findings: list[Finding] = []
    if not only:
        async with _open_gateway({}) as (gateway, known):
            findings += [
                await measure_bombs(gateway, "1 GiB of zeros", _zeros(1024), 413),
                await measure_bombs(gateway, "just under the limit", _just_under_the_limit(), 413),
                *await measure_slow_clients(gateway),
                await measure_logins(gateway, known),
            ]
        async with _open_gateway({"ISOLINE_MAX_CONNECTIONS": str(_MAX_CONNECTIONS)}) as (gateway, _):
            findings += [await measure_kept(gateway, how, request) for how, request in _KEPT.items()]
    async with _open_gateway(_WITHOUT_RATES) as (gateway, _):
        costs, of_shapes = await measure_shapes(gateway, only)
        for path in () if only else ("/docs/swagger-ui-bundle.js", "/openapi.json"):
            of_shapes += await measure_unread(gateway, path)
    console = Console(width=150)
    console.print(_table_of(costs))
    table = Table("measured", "found", "bound", "kept", title="Hostile clients against one gateway")
    for finding in (findings := findings + of_shapes):
        table.add_row(finding.what, finding.measured, finding.bound, "yes" if finding.is_kept else "NO")
    console.print(table)
    return 0 if all(finding.is_kept for finding in findings) else 1


@asynccontextmanager
async def _open_gateway(settings: Mapping[str, str]) -> AsyncIterator[tuple[Gateway, list[str]]]:
    """A gateway with an account that submits and administers, and others to guess at."""
    with tempfile.TemporaryDirectory(prefix="isoline-hostile-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as somebody else
        (folder / "rabbitmq").mkdir()
        async with (
            open_postgres_server(folder / "postgres") as postgres,
            open_rabbitmq_server(folder / "rabbitmq") as rabbitmq,
        ):
            await migrate(postgres.url)
            known = await _create_accounts(postgres.url)
            address = f"http://127.0.0.1:{free_port()}"
            environment = {
                "ISOLINE_DATABASE_URL": postgres.url,
                "ISOLINE_AMQP_URL": rabbitmq.amqp_url,
                "ISOLINE_TOKEN_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
                "ISOLINE_HOST": "127.0.0.1",
                "ISOLINE_PORT": address.rpartition(":")[2],
                "PYTHONPATH": str(_ROOT),
                **settings,
            }
            async with (
                open_service(
                    ["-m", "gateway"], address=address, environment=environment, log=folder / "gateway.log"
                ) as process,
                aiohttp.ClientSession(address, connector=aiohttp.TCPConnector(limit=0)) as client,
            ):
                await _log_in(client)
                yield Gateway(process.pid, address, client), known


async def _create_accounts(database_url: str) -> list[str]:
    """The account ada, and others with the same password."""
    known = [f"known-{index}" for index in range(_LOGINS)]
    password_hash = await PasswordHashing().hash(_PASSWORD)
    async with open_database(database_url) as database:
        accounts = PostgresAccountStore(database)
        for name in ["ada", *known]:
            await accounts.add(Account(name, password_hash, frozenset({Role.USER, Role.ADMIN})))
    return known


async def _token(gateway: Gateway) -> str:
    await _log_in(gateway.client)
    return gateway.client.headers["Authorization"].partition(" ")[2]


async def _log_in(client: aiohttp.ClientSession) -> None:
    async with client.post("/token", json={"user": "ada", "password": _PASSWORD}) as answer:
        client.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
    async with client.post("/ecg/process", json=an_ecg_body(id="warm")) as answer:
        answer.raise_for_status()


async def _submit_forever(client: aiohttp.ClientSession, served: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        async with client.post("/ecg/process", json=an_ecg_body(id=secrets.token_hex(8))) as answer:
            answer.raise_for_status()
        served.append(time.perf_counter() - begun)
        await asyncio.sleep(0.05)


async def _life_of_slow_client(address: str, beginning: bytes) -> float:
    """How long the gateway lets somebody go on who sends a byte a second."""
    begun, parts = time.monotonic(), urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(beginning)
    dripping = asyncio.create_task(_drip(writer))
    try:
        async with asyncio.timeout(2 * _CUT_OFF_WITHIN_S):
            await reader.read()
    except (TimeoutError, ConnectionError):
        pass
    dripping.cancel()
    writer.close()
    return time.monotonic() - begun


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(1)
        writer.write(b"x")


def _sent(address: str, request: bytes) -> socket.socket:
    """A connection that has sent all that is taken at once, and keeps little of what comes back."""
    parts = urlsplit(address)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((parts.hostname, parts.port))
    connection.settimeout(0)
    connection.send(request)
    return connection


def _count_ended(connections: Sequence[socket.socket], until: float) -> int:
    """How many connections were reset by their peer, once all are or it is too late."""
    looking = select.poll()
    for connection in connections:
        looking.register(connection, 0)  # errors are told without being asked for
    ended = 0
    while ended < len(connections) and (left_s := until - time.monotonic()) > 0:
        for number, _ in looking.poll(left_s * 1000):
            looking.unregister(number)
            ended += 1
    return ended


async def _refused_login(client: aiohttp.ClientSession, user: str) -> float:
    begun = time.perf_counter()
    async with client.post("/token", json={"user": user, "password": "wrong"}) as answer:
        assert answer.status == 401, answer.status
        await answer.read()
    return time.perf_counter() - begun


def _zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(_MIB)) for _ in range(mebibytes)) + bytes(packer.flush())


def _just_under_the_limit() -> bytes:
    return gzip.compress(b"{}".rjust(16 * _MIB))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="measure only the shapes whose route and name hold this")
    configure_logs("benchmarks", "error")  # that RabbitMQ is still starting is no news
    sys.exit(asyncio.run(main(parser.parse_args().only)))
