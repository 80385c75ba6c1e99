"""Operators of an installation of real processes: see what failed, replay it, pause and resume under load."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import aiohttp

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import change_roles, create_account
from shared.domain.account import Role
from shared.events import EcgKey, failed_event
from shared.ports.ecgs import Settlement
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from tests.e2e.conftest import PASSWORD
from tests.support.builders import SOURCE, a_submission, an_ecg_body
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation

_WITHIN_S: Final = 120.0
_REASONS: Final = ("Given up after 5 attempts.", "zero_crossings could not be measured: ValueError", "no")
_OWNERS: Final = ("ada", "bob", "cleo", "dora")
_EACH: Final = 125
_LOAD: Final = 200


@asynccontextmanager
async def open_session(installation: Installation, user: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(installation.address) as client:
        async with client.post("/token", json={"user": user, "password": PASSWORD}) as response:
            client.headers["Authorization"] = f"Bearer {(await response.json())['access_token']}"
        yield client


async def add_operators(database: Database) -> None:
    accounts, passwords = PostgresAccountStore(database), PasswordHashing()
    for name, role in (("olga", Role.OPERATOR), ("otto", Role.OBSERVER)):
        await create_account(name, PASSWORD, [role], accounts=accounts, passwords=passwords)


async def fail_500(database: Database) -> None:
    """125 ECGs of each of four owners, failed for three reasons."""
    store = PostgresEcgStore(database)
    for owner in _OWNERS:
        await store.add([a_submission(str(number), owner=owner) for number in range(_EACH)])
        keys = [EcgKey(owner, str(number)) for number in range(_EACH)]
        settlements = []
        for claim in (await store.claim(keys, claim_id=uuid4())).claimed:
            reason = _REASONS[int(claim.key.id) % 3]
            event = failed_event(claim.key, reason, source=SOURCE, now=datetime.now(UTC), traceparent=None)
            settlements.append(Settlement(claim, event, error=reason))
        await store.settle(settlements)


async def get(client: aiohttp.ClientSession, path: str, **params: str) -> dict[str, Any]:
    async with client.get(f"/ops/api/{path}", params=params) as response:
        assert response.status == 200, await response.text()
        document: dict[str, Any] = await response.json()
        return document


async def act(client: aiohttp.ClientSession, method: str, path: str, body: object) -> dict[str, Any]:
    async with client.request(method, f"/ops/api/{path}", json=body) as response:
        assert response.status == 200, await response.text()
        document: dict[str, Any] = await response.json()
        return document


async def test_500_failed_ecgs_are_seen_by_reason_and_those_of_one_reason_replayed_live(
    installation: Installation, database: Database
) -> None:
    await add_operators(database)
    await fail_500(database)
    await installation.start_gateway()
    await installation.start_processor()

    async with (
        asyncio.timeout(_WITHIN_S),
        open_session(installation, "olga") as olga,
        open_session(installation, "otto") as otto,
        otto.get("/ops/api/stream") as stream,
    ):
        overviews = read_overviews(stream)
        before = await anext(overviews)
        failures = await get(otto, "failures", status="failed")
        of_bob = await get(otto, "ecgs", reason=_REASONS[0], owner="bob", limit="100")
        body = {
            "filter": {"reason": _REASONS[0], "until": failures["as_of"]},
            "expected": failures["groups"][0]["ecgs"],
            "reason": "mended",
        }
        replayed = [await act(olga, "POST", "replays", body) for _ in range(2)]
        live = [
            overview["failed_ecgs"]
            async for overview in until_true(
                overviews, lambda each: not each["backlog"]["queued_ecgs"] and each["failed_ecgs"] < 500
            )
        ]

        async def is_counted() -> bool:
            hour = (await get(otto, "overview"))["throughput"]["hour"]
            return bool(hour["completed"] == 168)

        await until(is_counted)
        [record] = (await get(otto, "audit"))["records"]
        await change_roles("otto", [Role.USER], accounts=PostgresAccountStore(database))
        async for _ in overviews:
            pass  # until the stream ends, because its token has

    assert before["failed_ecgs"] == 500
    assert [(group["ecgs"], group["owners"]) for group in failures["groups"]] == [
        (168, 4),
        (168, 4),
        (164, 4),
    ]
    assert len(of_bob["ecgs"]) == 42
    assert [each["replayed"] for each in replayed] == [168, 0]
    assert live[-1] == 332
    assert (record["who"], record["why"], record["subject"]["ecgs"]) == ("olga", "mended", 168)


async def test_a_pause_under_load_outlasts_restarts_and_loses_nothing(
    installation: Installation, database: Database
) -> None:
    await add_operators(database)
    await installation.start_gateway()
    first = await installation.start_processor()
    await installation.start_processor()

    async with (
        asyncio.timeout(_WITHIN_S),
        open_session(installation, "olga") as olga,
        open_session(installation, "ada") as ada,
    ):
        submitting = asyncio.create_task(submit(ada, _LOAD))
        await act(olga, "PUT", "intake", {"state": "paused", "reason": "a disk is replaced"})

        async def paused() -> set[str]:
            """When those were started that are paused."""
            processes = (await get(olga, "processes"))["processes"]
            return {process["since"] for process in processes if process["state"] == "paused"}

        async def are_both_paused() -> bool:
            return len(await paused()) == 2

        await until(are_both_paused, within_s=_WITHIN_S)
        before = await paused()
        first.kill()
        await installation.start_processor()

        async def is_another_paused() -> bool:
            return not await paused() <= before

        await until(is_another_paused, within_s=_WITHIN_S)
        await submitting
        await submit(ada, 1, prefix="late")
        async with ada.get("/ecg/late-0", params={"wait": "2"}) as response:
            waiting = await response.json()
        await act(olga, "PUT", "intake", {"state": "running", "reason": "done"})
        statuses = set()
        for name in ("late-0", *(f"load-{number}" for number in range(_LOAD))):
            async with ada.get(f"/ecg/{name}", params={"wait": "30"}) as response:
                statuses.add((await response.json())["status"])

    assert waiting["status"] == "queued"
    assert statuses == {"completed"}


async def submit(client: aiohttp.ClientSession, count: int, *, prefix: str = "load") -> None:
    for number in range(count):
        async with client.post("/ecg/process", json=an_ecg_body(id=f"{prefix}-{number}")) as response:
            assert response.status == 202


async def read_overviews(stream: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """What the stream tells, until it ends."""
    name = b""
    async for line in stream.content:
        if line.startswith(b"event: "):
            name = line.removeprefix(b"event: ").strip()
        elif line.startswith(b"data: ") and name == b"overview":
            yield json.loads(line.removeprefix(b"data: "))


async def until_true(
    overviews: AsyncIterator[dict[str, Any]], condition: Any
) -> AsyncIterator[dict[str, Any]]:
    """Those until one meets the condition, that one too."""
    async for overview in overviews:
        yield overview
        if condition(overview):
            return
