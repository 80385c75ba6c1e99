"""An installation to inject faults into: two of each service, their servers, and proxies between them."""

from __future__ import annotations

import asyncio
import base64
import secrets
import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from shared.domain.account import Role
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.schema.migrations import migrate
from tests.programs.faults.followers.listener import Listener, open_listener
from tests.programs.faults.followers.log_readers import open_log_readers
from tests.programs.faults.followers.webhook_receiver import open_webhook_receiver
from tests.programs.faults.installation.balancer import Balancer, open_balancer
from tests.programs.faults.installation.clock import Clock
from tests.programs.faults.installation.footprint import Footprint, footprint_of, largest_by_kind
from tests.programs.faults.installation.proxy import Proxy, open_proxy
from tests.programs.faults.installation.servers import (
    Disk,
    Postgres,
    Rabbitmq,
    open_disk,
    open_postgres,
    open_rabbitmq,
    open_standby,
)
from tests.programs.faults.installation.service import THIS_CODE, Service
from tests.programs.faults.load import PASSWORD, Load
from tests.support.servers.pgbouncer import PgbouncerServer
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.e2e.load import KnownEcg
    from tests.programs.faults.followers.follower import Events, Follower
    from tests.programs.faults.followers.log_readers import LogReader
    from tests.programs.faults.followers.webhook_receiver import WebhookReceiver

_EACH: Final = 2
# The services own nothing in the database and prove who they are.
SERVICE_ROLE: Final = "isoline_service"
SERVICE_PASSWORD: Final = "a rotated password"
OBSERVER: Final = "olga"
SUBSCRIBER: Final = "billing"


@dataclass(kw_only=True)
class Installation:
    """An installation, and the results that are expected of it.

    Attributes:
        clock: Faked clock of every service and PostgreSQL.
        clock_of_one: Faked clock of one gateway alone.
        standby: The synchronous standby of `postgres`, whose URL has both hosts then.
        load: What comes in while a fault is injected.
        forgotten: ECGs that were accepted after the backup was taken that was restored.
        log_readers: Followers over HTTP.
        webhooks: Followers to whom events are sent.
        log_is_kept: Whether services keep the event log; a release before this one does not.
        followers_of_fault: Those of the fault that is injected.
        until_verdict: What a fault opens, until its verdict.
        note: What the fault that is injected has to say, besides its outcome.
    """

    postgres: Postgres
    rabbitmq: Rabbitmq
    disk: Disk
    proxies: Mapping[str, Proxy]
    gateways: list[Service]
    processors: list[Service]
    balancer: Balancer
    listener: Listener
    clock: Clock
    clock_of_one: Clock
    logs: Path
    known: dict[str, KnownEcg] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    must_fail: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    generations: dict[str, int] = field(default_factory=dict)
    injected_letters: int = 0
    has_run_release_before: bool = False
    pgbouncer: PgbouncerServer | None = None
    standby: Postgres | None = None
    plateau: dict[str, Footprint] = field(default_factory=dict)
    load: Load | None = None
    forgotten: set[str] = field(default_factory=set)
    log_readers: list[LogReader] = field(default_factory=list)
    webhooks: list[WebhookReceiver] = field(default_factory=list)
    log_is_kept: bool = True
    followers_of_fault: list[Follower] = field(default_factory=list)
    until_verdict: AsyncExitStack = field(default_factory=AsyncExitStack)
    note: str = ""

    @property
    def followers(self) -> list[Follower]:
        """All who have to hear of every ECG."""
        return [self.listener, *self.others]

    @property
    def others(self) -> list[Follower]:
        """Followers besides the listener; without those of the log while none is kept."""
        return [*self.followers_of_fault, *self.followers_of_log * self.log_is_kept]

    @property
    def followers_of_log(self) -> list[Follower]:
        """Those who hear of what is in the event log."""
        return [*self.log_readers, *self.webhooks]

    def follow(self, follower: Follower) -> None:
        """Have one hear of every ECG that comes from now on, until the verdict."""
        follower.exempt = frozenset(self.accepted)
        self.followers_of_fault.append(follower)
        self.until_verdict.callback(self.followers_of_fault.remove, follower)

    @property
    def services(self) -> list[Service]:
        """All of them, gateways first."""
        return [*self.gateways, *self.processors]

    def heal(self) -> None:
        """End the faults of every proxy and resume every frozen service and node."""
        for proxy in self.proxies.values():
            proxy.heal()
        for service in self.services:
            service.send(signal.SIGCONT)
        for node in self.rabbitmq.nodes:
            node.send(signal.SIGCONT)

    async def until_ready(self) -> None:
        """Return once every service is ready and the balancer uses every gateway."""
        await asyncio.gather(*(service.until_ready() for service in self.services))
        await self.balancer.until_all_ready()

    async def roll(self, code: Path | None = None) -> None:
        """Restart one gateway and one processor after the other; with other code where that is given."""
        for pair in zip(self.gateways, self.processors, strict=True):
            for service in pair:
                service.code = code or service.code
            statuses = await asyncio.gather(*(service.restart() for service in pair))
            assert statuses == [0, 0], f"gateway and processor left with {statuses}"
            await self.balancer.until_all_ready()

    async def restart_all(self, code: Path) -> None:
        """Restart every service at once with other code."""
        for service in self.services:
            service.code = code
        await asyncio.gather(*(service.restart() for service in self.services))

    async def put_pgbouncer_between(self) -> None:
        """Lead every service to PostgreSQL by way of a PgBouncer."""
        server_url = urlsplit(self.postgres.url)
        service = f"{SERVICE_ROLE}:{quote(SERVICE_PASSWORD)}@"
        folder = self.logs / "pgbouncer"
        folder.mkdir(exist_ok=True)
        self.pgbouncer = PgbouncerServer(folder, urlunsplit(server_url._replace(netloc=service)), {})
        await self.pgbouncer.start()
        for proxy in self.postgres_proxies:
            proxy.lead_to(self.pgbouncer.connect)

    async def take_pgbouncer_away(self) -> None:
        """Lead every service to PostgreSQL itself, which takes new processes: none forgets a pooler."""
        for proxy in self.postgres_proxies:
            proxy.lead_to(self.postgres.connect)
        await self.restart_all(THIS_CODE)
        await self.end_pgbouncer()

    async def end_pgbouncer(self) -> None:
        """End the PgBouncer, if there is one."""
        if self.pgbouncer is not None:
            await self.pgbouncer.kill()

    @property
    def postgres_proxies(self) -> list[Proxy]:
        """The proxies between services and PostgreSQL."""
        return [proxy for name, proxy in self.proxies.items() if name.endswith("-postgres")]

    def footprints(self) -> dict[str, Footprint]:
        """Memory, files and connections of each service's process."""
        return {
            f"{service.module} {number}": footprint_of(service.pid)
            for kind in (self.gateways, self.processors)
            for number, service in enumerate(kind, 1)
        }

    def largest_footprints(self) -> dict[str, Footprint]:
        """The largest footprint of each kind of process."""
        return largest_by_kind(self.footprints())


@asynccontextmanager
async def open_installation(*, nodes: int = 1, has_standby: bool = False) -> AsyncIterator[Installation]:
    """Start an installation on servers of its own, RabbitMQ with so many nodes."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isoline-faults-", dir="/tmp")))
        folder.chmod(0o755)  # as root, PostgreSQL runs as somebody else
        disk = await stack.enter_async_context(open_disk(folder / "disk"))
        postgres = await stack.enter_async_context(open_postgres(folder / "disk" / "postgres"))
        rabbitmq = await stack.enter_async_context(open_rabbitmq(folder, nodes))
        await migrate(postgres.url)
        await postgres.admit(SERVICE_ROLE, SERVICE_PASSWORD)
        await _create_accounts(postgres.url)
        standby = None
        if has_standby:
            standby = await stack.enter_async_context(
                open_standby(postgres, folder / "disk" / "standby" / "postgres")
            )
        connects = {"postgres": postgres.connect, "rabbitmq": rabbitmq.connect}
        connects |= {"standby": standby.connect} if standby else {}
        proxies = {
            f"{service}-{server}": await stack.enter_async_context(open_proxy(connect))
            for service in ("gateway", "processor")
            for server, connect in connects.items()
        }
        gateways, processors = (
            [
                _service(kind, proxies, _broker(kind, number, proxies, rabbitmq), folder, number)
                for number in range(_EACH)
            ]
            for kind in ("gateway", "processor")
        )
        await stack.enter_async_context(_running([*gateways, *processors]))
        events: Events = {}
        installation = Installation(
            postgres=postgres,
            rabbitmq=rabbitmq,
            disk=disk,
            proxies=proxies,
            gateways=gateways,
            processors=processors,
            balancer=await stack.enter_async_context(open_balancer([it.port for it in gateways])),
            listener=await stack.enter_async_context(open_listener(rabbitmq.urls, events)),
            clock=Clock(folder),
            clock_of_one=Clock(folder, "clock-of-one"),
            logs=folder,
            standby=standby,
        )
        installation.log_readers = await stack.enter_async_context(
            open_log_readers(installation.balancer.address, events, owner="ada", subscriber=SUBSCRIBER)
        )
        stack.push_async_callback(installation.end_pgbouncer)
        await installation.until_ready()
        webhook = open_webhook_receiver(installation, user=SUBSCRIBER, name="a webhook")
        installation.webhooks = [await stack.enter_async_context(webhook)]
        yield installation


def _broker(kind: str, number: int, proxies: Mapping[str, Proxy], rabbitmq: Rabbitmq) -> str:
    """The URL of the proxy to the only node, or of all nodes, each service starting with another one."""
    if len(rabbitmq.nodes) == 1:
        return f"amqp://guest:guest@127.0.0.1:{proxies[f'{kind}-rabbitmq'].port}/"
    first = (number + (kind == "processor")) % len(rabbitmq.urls)
    return ",".join(rabbitmq.urls[first:] + rabbitmq.urls[:first])


def _database_url(kind: str, proxies: Mapping[str, Proxy]) -> str:
    """The URL of PostgreSQL, and of its standby where there is one."""
    login = f"{SERVICE_ROLE}:{quote(SERVICE_PASSWORD)}"
    names = (f"{kind}-postgres", f"{kind}-standby")
    hosts = ",".join(f"127.0.0.1:{proxies[name].port}" for name in names if name in proxies)
    return f"postgresql://{login}@{hosts}/isoline?sslmode=disable"


def _service(kind: str, proxies: Mapping[str, Proxy], broker: str, logs: Path, number: int) -> Service:
    port = free_port()
    environment = {
        "ISOLINE_DATABASE_URL": _database_url(kind, proxies),
        "ISOLINE_AMQP_URL": broker,
        "ISOLINE_TOKEN_KEY": _KEY,
        "ISOLINE_HOST": "127.0.0.1",
        "ISOLINE_PORT": str(port),
        "ISOLINE_RATE_PER_ADDRESS": "1000000",  # all clients share one
        "ISOLINE_RATE_PER_CALLER": "1000000",
        "ISOLINE_RATE_OF_LOGINS": "10000",
        "ISOLINE_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "ISOLINE_HEALTH_HOST": "127.0.0.1",
        "ISOLINE_HEALTH_PORT": str(port),
    }
    return Service(kind, port, environment, logs / f"{kind}-{number}.log")


@asynccontextmanager
async def _running(services: list[Service]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(service.keep_running()) for service in services]
    try:
        yield
    finally:
        for service in services:
            service.end()
        _, late = await asyncio.wait(tasks, timeout=40)
        for service in services if late else ():
            service.send(signal.SIGKILL)
        await asyncio.wait(tasks)


async def _create_accounts(url: str) -> None:
    async with open_database(url) as database:
        accounts = PostgresAccountStore(database)
        for name, role in ("ada", Role.USER), (OBSERVER, Role.OBSERVER), (SUBSCRIBER, Role.SUBSCRIBER):
            await create_account(name, PASSWORD, [role], accounts=accounts, passwords=PasswordHashing())


_KEY: Final = base64.b64encode(secrets.token_bytes(32)).decode()
