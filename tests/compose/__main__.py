"""``python -m tests.compose``: use what `docker-compose.yml` starts, roll it, try to overstep its rights.

Run by `scripts/compose-test`, which gives it a Docker of its own. Prints a line for each thing seen; the exit
status is 1 if one of them is not as it should be.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiohttp
from aio_pika.exceptions import AMQPError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_ROOT: Final = Path(os.environ["ISOLINE_COMPOSE_ROOT"])
_SOURCE: Final = "/srv/isoline"
_URL: Final = "http://127.0.0.1:8080"
_PASSWORD: Final = "correct horse"
_LEADS: Final = [{"name": "I", "signal": [1, -1, 1]}]
_CLIENTS: Final = 8
_COMMAND_WITHIN_S: Final = 600
_ANSWER_WITHIN_S: Final = 40

# Each would be a way from a service's credentials to more than its work.
_OVERSTEPPING_SQL: Final = (
    "DROP TABLE ecg",
    "TRUNCATE ecg",
    "ALTER TABLE ecg ADD COLUMN mine int",
    "CREATE TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE TEMPORARY TABLE mine (x int)",
    "CREATE ROLE mine",
    "ALTER ROLE isoline_owner PASSWORD 'mine'",
    "SET ROLE isoline_owner",
    "COPY ecg TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "DELETE FROM _pogo_migration",
)
_OVERSTEPPING_SQL_OF: Final = {
    "gateway": (*_OVERSTEPPING_SQL, "UPDATE ecg_insights SET document = '{}'", "SELECT FROM operation"),
    "processor": (*_OVERSTEPPING_SQL, "SELECT password_hash FROM account", "DELETE FROM ecg_signal"),
}

_RUN_SQL: Final = """
import asyncio, os, sys, asyncpg
async def main():
    connection = await asyncpg.connect(os.environ["ISOLINE_DATABASE_URL"])
    for statement in sys.argv[1:]:
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            print("refused", flush=True)
        else:
            print("done", flush=True)
asyncio.run(main())
"""


@dataclass
class Report:
    """What was seen so far."""

    wrong: list[str] = field(default_factory=list)

    def note(self, what: str, *, ok: bool, seen: object = "") -> None:
        """Say what was seen, and keep what is not as it should be."""
        sys.stdout.write(f"{'ok   ' if ok else 'WRONG'} {what}{f': {seen}' if seen != '' else ''}\n")
        sys.stdout.flush()
        if not ok:
            self.wrong.append(what)


@dataclass
class Load:
    """Submissions and reads, one connection for each client, none of them sent again."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)

    async def run(self, token: str, prefix: str, client: int) -> None:
        """Submit an ECG, wait for it, list, again and again."""
        async with _session(token) as session:
            number = 0
            while True:
                ecg_id = f"{prefix}-{client}-{number}"
                number += 1
                body = {"id": ecg_id, "date": "2023-07-30", "leads": _LEADS}
                if await self._ask(session, "POST", "/ecg/process", json=body) is not None:
                    self.accepted.add(ecg_id)
                await self._ask(session, "GET", f"/ecg/{ecg_id}?wait=10")
                await self._ask(session, "GET", "/ecg?limit=5")
                await asyncio.sleep(0.02)

    async def _ask(self, session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> Any:
        self.requests += 1
        try:
            async with session.request(method, path, **more) as answer:
                text = await answer.text()
                if answer.ok:
                    return json.loads(text)
                self.failed.append(f"{method} {path}: {answer.status} {text[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{method} {path}: {error!r}")
        return None


async def main() -> int:
    """See everything once; the exit status."""
    report = Report()
    environment = _environment()
    try:
        await _up()
        await _see_containers(report)
        token = await _log_in_new_user(report)
        await _see_subscriber(report, token, environment["RABBITMQ_SUBSCRIBER_PASSWORD"])
        for service in ("gateway", "processor"):
            await _under_load(report, token, f"rolling {service}", partial(_roll, service))
        await _under_load(report, token, "restarting one gateway", _restart_one)
        await _under_load(report, token, "killing one gateway", _kill_one)
        await _see_database_rights(report)
        await _see_broker_rights(report, environment)
        await _see_dead_letter(report, environment["RABBITMQ_GATEWAY_PASSWORD"])
        await _see_absence(report, token)
        await _see_memory(report)
    except BaseException:
        sys.stdout.write(await _compose("logs", "--tail", "20"))
        raise
    finally:
        await _compose("down", "--volumes", "--timeout", "40")
    report.note("nothing is left of it", ok=not await _docker("ps", "--all", "--quiet"))
    sys.stdout.write(f"{len(report.wrong)} wrong\n")
    return 1 if report.wrong else 0


async def _up() -> None:
    scale = ("--scale", "gateway=2", "--scale", "processor=4")
    await _compose("up", "--detach", "--wait", "--no-recreate", *scale)


async def _see_containers(report: Report) -> None:
    ids = (await _compose("ps", "--quiet")).split()
    containers = json.loads(await _docker("inspect", *ids))
    names = sorted(it["Name"].lstrip("/") for it in containers)
    report.note("up --wait --scale processor=4 --scale gateway=2 returned 0", ok=len(ids) == 9, seen=names)
    for it in containers:
        limits = it["HostConfig"]
        held = {
            "memory": limits["Memory"] > 0,
            "cpus": limits["NanoCpus"] > 0,
            "pids": (limits["PidsLimit"] or 0) > 0,
            "log": "max-size" in limits["LogConfig"]["Config"],
            "user": re.fullmatch(r"[1-9]\d*:[1-9]\d*", it["Config"]["User"]) is not None,
            "healthy": it["State"]["Health"]["Status"] == "healthy",
        }
        missing = [what for what, is_held in held.items() if not is_held]
        report.note(
            f"{it['Name'].lstrip('/')} is limited, no root, healthy", ok=not missing, seen=missing or ""
        )


async def _log_in_new_user(report: Report) -> str:
    said = await _compose("run", "--rm", "--no-deps", "-T", "migrate", "create-admin")
    password = said.split()[-1]
    admin = await _token("admin", password)
    account = {"user": "ada", "password": _PASSWORD}
    async with _session(admin) as session, session.post("/user", json=account) as answer:
        report.note("the first administrator makes an account", ok=answer.status == 201, seen=answer.status)
    return await _token("ada", _PASSWORD)


async def _see_subscriber(report: Report, token: str, password: str) -> None:
    """The example subscriber of docs/events.md hears of an ECG."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "examples/subscriber.py",
        f"amqp://isoline_subscriber:{password}@127.0.0.1/",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    printed = asyncio.create_task(process.stdout.readline())
    load = asyncio.create_task(Load().run(token, "subscriber", 0))
    try:
        async with asyncio.timeout(60):
            event = json.loads(await printed)
        seen = event["data"]["leads"]
        report.note("a subscriber hears of a result", ok=seen == [{"I": {"zero_crossings": 2}}], seen=seen)
    finally:
        load.cancel()
        printed.cancel()
        process.terminate()
        await process.wait()


async def _under_load(report: Report, token: str, what: str, act: Callable[[], Awaitable[None]]) -> None:
    load, prefix = Load(), what.replace(" ", "-")
    clients = [asyncio.create_task(load.run(token, prefix, number)) for number in range(_CLIENTS)]
    try:
        await act()
        await asyncio.sleep(5)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    report.note(what, ok=not load.failed, seen=f"{len(load.failed)} of {load.requests} requests failed")
    for failure in load.failed[:5]:
        sys.stdout.write(f"      {failure}\n")
    lost = [it for it in load.accepted if not await _is_completed(token, it)]
    report.note(
        f"{what}: accepted ECGs have results", ok=not lost, seen=f"{len(load.accepted)}, lost {len(lost)}"
    )


async def _is_completed(token: str, ecg_id: str) -> bool:
    async with _session(token) as session, session.get(f"/ecg/{ecg_id}?wait=30") as answer:
        body: dict[str, Any] = await answer.json()
        return body.get("leads") == [{"I": {"zero_crossings": 2}}]


async def _roll(service: str) -> None:
    await _run("chroot", str(_ROOT), "env", f"--chdir={_SOURCE}", "deploy/compose/roll", service)


async def _restart_one() -> None:
    [first, *_] = (await _compose("ps", "--quiet", "gateway")).split()
    await _docker("restart", first)
    await _up()


async def _kill_one() -> None:
    [first, *_] = (await _compose("ps", "--quiet", "gateway")).split()
    await _docker("kill", first)
    await _docker("start", first)
    await _up()


async def _see_database_rights(report: Report) -> None:
    for service, statements in _OVERSTEPPING_SQL_OF.items():
        outcomes = (await _sql(service, *statements)).split()
        done = [it for it, outcome in zip(statements, outcomes, strict=True) if outcome != "refused"]
        report.note(
            f"a {service}'s role can't overstep its rights in PostgreSQL", ok=not done, seen=done or ""
        )


async def _sql(service: str, *statements: str) -> str:
    run = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "python", service, "-c", _RUN_SQL, *statements)
    return await _compose(*run)


async def _see_broker_rights(report: Report, environment: dict[str, str]) -> None:
    gateway, processor, subscriber = (
        f"amqp://isoline_{user}:{environment[f'RABBITMQ_{user.upper()}_PASSWORD']}@127.0.0.1/"
        for user in ("gateway", "processor", "subscriber")
    )
    queue, message = "sub.example.processed", aio_pika.Message(b"{}")
    ours = "processor.ecg-submitted"
    refused = {
        "a gateway purges the processors' queue": await _refuses(gateway, lambda it: _purge(it, ours)),
        "a gateway reads it": await _refuses(gateway, lambda it: _get(it, ours)),
        "a processor deletes it": await _refuses(processor, lambda it: it.queue_delete(ours)),
        "a processor purges a subscriber's queue": await _refuses(processor, lambda it: _purge(it, queue)),
        "a gateway deletes it": await _refuses(gateway, lambda it: it.queue_delete(queue)),
        "a gateway publishes to it": await _refuses(
            gateway, lambda it: it.default_exchange.publish(message, queue)
        ),
        "a gateway makes a queue": await _refuses(gateway, lambda it: it.declare_queue("mine")),
        "a processor makes one": await _refuses(processor, lambda it: it.declare_queue("mine")),
        "a subscriber purges the processors' queue": await _refuses(subscriber, lambda it: _purge(it, ours)),
        "a subscriber deletes it": await _refuses(subscriber, lambda it: it.queue_delete(ours)),
        "a subscriber reads it": await _refuses(subscriber, lambda it: _get(it, ours)),
        "a subscriber deletes the exchange": await _refuses(
            subscriber, lambda it: it.exchange_delete("ecg.events")
        ),
        "a subscriber publishes events": await _refuses(subscriber, lambda it: _publish(it, message)),
    }
    done = [what for what, is_refused in refused.items() if not is_refused]
    report.note(
        "no service and no subscriber can overstep its rights in RabbitMQ", ok=not done, seen=done or ""
    )
    user = aiohttp.encode_basic_auth("isoline_processor", environment["RABBITMQ_PROCESSOR_PASSWORD"])
    overview = "http://127.0.0.1:15672/api/overview"
    async with (
        aiohttp.ClientSession(headers={"Authorization": user}) as session,
        session.get(overview) as answer,
    ):
        report.note("a service is no administrator of RabbitMQ", ok=answer.status == 401, seen=answer.status)


async def _refuses(url: str, act: Callable[[Any], Awaitable[Any]]) -> bool:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        try:
            await act(channel)
        except AMQPError as error:
            return "ACCESS_REFUSED" in str(error)
    return False


async def _purge(channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).purge()


async def _get(channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).get(fail=False)


async def _publish(channel: aio_pika.abc.AbstractChannel, message: aio_pika.Message) -> None:
    await (await channel.get_exchange("ecg.events", ensure=False)).publish(message, "ecg.processed")


async def _see_dead_letter(report: Report, password: str) -> None:
    """An operator's rights suffice for `isoline dlq`, which puts back what it has shown."""
    async with await aio_pika.connect(f"amqp://isoline_gateway:{password}@127.0.0.1/") as connection:
        exchange = await (await connection.channel()).get_exchange("ecg.events")
        await exchange.publish(aio_pika.Message(b"junk"), "ecg.submitted")
    async with asyncio.timeout(_COMMAND_WITHIN_S):
        while "1 dead letters" not in await _dlq("list"):
            await asyncio.sleep(1)
    shown = await _dlq("list")
    report.note("a dead letter is shown and stays", ok="1 dead letters" in shown)
    await _dlq("drop", "--all", "--yes", "--why", "a trial")
    report.note("a dead letter is dropped", ok="0 dead letters" in await _dlq("list"))


async def _dlq(*arguments: str) -> str:
    return await _compose("run", "--rm", "--no-deps", "-T", "operator", "dlq", *arguments)


async def _see_absence(report: Report, token: str) -> None:
    body = {"id": "late", "date": "2023-07-30", "leads": _LEADS}
    async with _session(token) as session:
        for service, who in (("postgres", "a gateway"), ("gateway", "the balancer")):
            await _compose("stop", service)
            async with session.post("/ecg/process", json=body) as answer:
                seen = (answer.status, answer.headers.get("Retry-After"), answer.content_type)
                ok = seen[0] == 503 and seen[1] is not None and seen[2] == "application/problem+json"
            report.note(f"without {service}, {who} answers 503 with Retry-After", ok=ok, seen=seen)
            await _up()
        async with session.post("/ecg/process", json=body) as answer:
            report.note("then it is taken", ok=answer.status == 202, seen=answer.status)


async def _see_memory(report: Report) -> None:
    used = await _docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    for line in sorted(used.splitlines()):
        report.note("memory", ok=True, seen=line)


async def _token(user: str, password: str) -> str:
    login = {"user": user, "password": password}
    async with _session() as session, session.post("/token", json=login) as answer:
        answer.raise_for_status()
        return str((await answer.json())["access_token"])


@asynccontextmanager
async def _session(token: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(_ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(_URL, headers=headers, timeout=timeout) as session:
        yield session


def _environment() -> dict[str, str]:
    lines = (_ROOT / _SOURCE.lstrip("/") / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


async def _compose(*arguments: str) -> str:
    return await _docker("compose", *arguments)


async def _docker(*arguments: str) -> str:
    return await _run("chroot", str(_ROOT), "env", f"--chdir={_SOURCE}", "docker", *arguments)


async def _run(*command: str) -> str:
    """Its standard output.

    Raises:
        RuntimeError: It failed, or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_WITHIN_S):
            output, errors = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command[3:])} ended with {process.returncode}: {errors.decode()[-3000:]}"
        )
    return output.decode()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
