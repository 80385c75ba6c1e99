"""What may be away: each server killed, frozen and starved, and the processors."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.programs.faults.installation.installation import SERVICE_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.faults.installation.installation import Installation
    from tests.support.servers.redis_server import RedisServer


@dataclass(frozen=True, slots=True)
class Servers:
    """What outages are made of."""

    installation: Installation
    redis: RedisServer


Harm: TypeAlias = Callable[[Servers], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """An outage, and what has to be told of it.

    Attributes:
        begin: Returns once it has begun.
        end: Ends it.
        reason: A regular expression that each reason has to match.
        gateway: The part of a gateway that is not ok; empty if gateways have nothing to tell.
        processor: The part of a processor, likewise.
        check: The check of the doctor.
        ops: The part or state in the operations API, where it is another one than the gateway's.
    """

    name: str
    begin: Harm
    end: Harm
    reason: str
    check: str
    gateway: str = ""
    processor: str = ""
    ops: str = ""


async def _kill_postgres(servers: Servers) -> None:
    await servers.installation.postgres.kill()


async def _start_postgres(servers: Servers) -> None:
    await servers.installation.postgres.start()


def _signal_postgres(number: signal.Signals) -> Harm:
    async def send(servers: Servers) -> None:
        postmaster = servers.installation.postgres.pid
        for pid in (postmaster, *_children(postmaster)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    return send


async def _refuse_connections(servers: Servers) -> None:
    postgres = servers.installation.postgres
    await postgres.query(f"ALTER ROLE {SERVICE_ROLE} CONNECTION LIMIT 0")
    await postgres.end_sessions(SERVICE_ROLE)


async def _admit_connections(servers: Servers) -> None:
    await servers.installation.postgres.query(f"ALTER ROLE {SERVICE_ROLE} CONNECTION LIMIT -1")


async def _make_read_only(servers: Servers) -> None:
    postgres = servers.installation.postgres
    await postgres.query("ALTER DATABASE isoline SET default_transaction_read_only = on")
    await postgres.end_sessions(SERVICE_ROLE)


async def _make_writable(servers: Servers) -> None:
    postgres = servers.installation.postgres
    await postgres.query("ALTER DATABASE isoline RESET default_transaction_read_only")
    await postgres.end_sessions(SERVICE_ROLE)


async def _kill_rabbitmq(servers: Servers) -> None:
    await servers.installation.rabbitmq.server.kill()


async def _start_rabbitmq(servers: Servers) -> None:
    await servers.installation.rabbitmq.server.start()


def _signal_rabbitmq(number: signal.Signals) -> Harm:
    async def send(servers: Servers) -> None:
        servers.installation.rabbitmq.server.send(number)

    return send


def _control_rabbitmq(*command: str) -> Harm:
    async def control(servers: Servers) -> None:
        await servers.installation.rabbitmq.server.control(*command)

    return control


async def _kill_redis(servers: Servers) -> None:
    await servers.redis.stop()


async def _start_redis(servers: Servers) -> None:
    await servers.redis.start()


def _signal_redis(number: signal.Signals) -> Harm:
    async def send(servers: Servers) -> None:
        servers.redis.send(number)

    return send


# Ends a process at its start, so that whoever restarts it has no luck.
_NO_START: Final = {"ISOLINE_WORKERS": "none"}


async def _kill_processors(servers: Servers) -> None:
    for processor in servers.installation.processors:
        processor.environment |= _NO_START
        processor.send(signal.SIGKILL)


async def _let_processors_start(servers: Servers) -> None:
    for processor in servers.installation.processors:
        del processor.environment["ISOLINE_WORKERS"]


def _signal_processors(number: signal.Signals) -> Harm:
    async def send(servers: Servers) -> None:
        for processor in servers.installation.processors:
            processor.send(number)

    return send


_OF_POSTGRESQL: Final = {
    "gateway": "submissions",
    "processor": "results",
    "check": "postgresql",
    "ops": "answers",  # no: 503, with the reason
}
_OF_RABBITMQ: Final = {"gateway": "broker", "processor": "broker", "check": "rabbitmq"}
# RabbitMQ tells a connection that it is blocked once that publishes: not a processor without an event.
_OF_BLOCKING_RABBITMQ: Final = {"gateway": "broker", "check": "publishing"}

OUTAGES: Final = (
    Outage(
        name="PostgreSQL: killed",
        begin=_kill_postgres,
        end=_start_postgres,
        reason=r"(?i)connect|closed|refused|PostgreSQL",
        **_OF_POSTGRESQL,
    ),
    Outage(
        name="PostgreSQL: frozen",
        begin=_signal_postgres(signal.SIGSTOP),
        end=_signal_postgres(signal.SIGCONT),
        reason=r"(?i)no answer|not answer|timed? ?out|PostgreSQL",
        **_OF_POSTGRESQL,
    ),
    Outage(
        name="PostgreSQL: no connection left",
        begin=_refuse_connections,
        end=_admit_connections,
        reason=r"too many connections",
        **_OF_POSTGRESQL,
    ),
    Outage(
        name="PostgreSQL: read-only",
        begin=_make_read_only,
        end=_make_writable,
        reason=r"(?i)read-only",
        **_OF_POSTGRESQL | {"check": "writes", "ops": "submissions"},
    ),
    Outage(
        name="RabbitMQ: killed",
        begin=_kill_rabbitmq,
        end=_start_rabbitmq,
        reason=r"(?i)connect|closed|refused|RabbitMQ",
        **_OF_RABBITMQ,
    ),
    Outage(
        name="RabbitMQ: frozen",
        begin=_signal_rabbitmq(signal.SIGSTOP),
        end=_signal_rabbitmq(signal.SIGCONT),
        reason=r"(?i)no answer|not answer|timed? ?out|confirm",
        **_OF_RABBITMQ,
    ),
    Outage(
        name="RabbitMQ: no memory left",
        begin=_control_rabbitmq("set_vm_memory_high_watermark", "0.000001"),
        end=_control_rabbitmq("set_vm_memory_high_watermark", "0.9"),
        reason=r"low on memory|short of memory",
        **_OF_BLOCKING_RABBITMQ,
    ),
    Outage(
        name="RabbitMQ: no disk left",
        begin=_control_rabbitmq("set_disk_free_limit", "500GB"),
        end=_control_rabbitmq("set_disk_free_limit", "1MB"),
        reason=r"low on disk|short of memory or disk",
        **_OF_BLOCKING_RABBITMQ,
    ),
    Outage(
        name="Redis: killed",
        begin=_kill_redis,
        end=_start_redis,
        reason=r"Redis does not answer",
        gateway="limits",
        check="redis",
    ),
    Outage(
        name="Redis: frozen",
        begin=_signal_redis(signal.SIGSTOP),
        end=_signal_redis(signal.SIGCONT),
        reason=r"Redis does not answer",
        gateway="limits",
        check="redis",
    ),
    Outage(
        name="processors: killed",
        begin=_kill_processors,
        end=_let_processors_start,
        reason=r".",
        gateway="backlog_age",
        processor="answers",
        check="consumers",
    ),
    Outage(
        name="processors: frozen",
        begin=_signal_processors(signal.SIGSTOP),
        end=_signal_processors(signal.SIGCONT),
        reason=r".",
        gateway="backlog_age",
        processor="answers",
        check="processes",
        ops="silent",
    ),
)


def _children(parent: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[1]) == parent:
                yield int(process.name)
