"""Where an operator looks, and what is told there to be wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.programs.faults.load import PASSWORD

if TYPE_CHECKING:
    from tests.programs.faults.installation.service import Service

_ANSWER_WITHIN_S: Final = 8.0
_UNREACHABLE: Final = "answers"

Told: TypeAlias = Mapping[str, str]
"""What is told to be wrong: the reason by the name of a part or check; metrics give no reason."""

Look: TypeAlias = Callable[[], Awaitable[Told]]


def health_of(session: aiohttp.ClientSession, service: Service) -> Look:
    """The parts of a service that its `/health/ready` tells not to be ok."""

    async def look() -> Told:
        async with session.get(f"{_address(service)}/health/ready") as answer:
            return _not_ok(await answer.json(content_type=None))

    return _reached(look)


def metrics_of(session: aiohttp.ClientSession, service: Service) -> Look:
    """The parts of a service that its `/metrics` tells not to be ok."""

    async def look() -> Told:
        async with session.get(f"{_address(service)}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
        [parts] = [family for family in families if family.name == "isoline_health_part_ok"]
        return {sample.labels["part"]: "0" for sample in parts.samples if not sample.value}

    return _reached(look)


class OperationsApi:
    """What a gateway's operations API tells, to an observer who has logged in."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Service, observer: str) -> None:
        self._session = session
        self._address = f"http://127.0.0.1:{gateway.port}"
        self._observer = observer
        self._headers: dict[str, str] = {}

    async def log_in(self) -> None:
        """Log in, which needs PostgreSQL."""
        login = {"user": self._observer, "password": PASSWORD}
        async with self._session.post(f"{self._address}/token", json=login) as answer:
            answer.raise_for_status()
            self._headers = {"Authorization": f"Bearer {(await answer.json())['access_token']}"}

    async def look(self) -> Told:
        """The parts of the gateway that are not ok, and processors that say nothing."""
        try:
            async with self._session.get(
                f"{self._address}/ops/api/overview", headers=self._headers
            ) as answer:
                overview = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            return {_UNREACHABLE: repr(error)}
        if not answer.ok:
            return {_UNREACHABLE: overview["detail"]}
        processors = overview["processes"].get("processor", {})
        away = {state: f"{number} {state}" for state, number in processors.items() if state == "silent"}
        return _not_ok(overview["health"]) | away


def doctor(environment: Mapping[str, str]) -> Look:
    """The checks of ``isoline doctor`` that are not ok, as soon as they are printed."""

    async def look() -> Told:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isoline", "doctor", "--format", "json"),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | dict(environment),
        )
        assert process.stdout
        line = await process.stdout.readline()
        # It ends its connections now, for which nobody has to wait.
        process.kill()
        await process.wait()
        checks = orjson.loads(line)["checks"]
        return {it["name"]: it["reason"] for it in checks if it["verdict"] != "ok"}

    return look


def _reached(look: Look) -> Look:
    async def reached() -> Told:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                return await look()
        except (aiohttp.ClientError, TimeoutError) as error:
            return {_UNREACHABLE: repr(error)}

    return reached


def _address(service: Service) -> str:
    port = service.environment.get("ISOLINE_OPERATIONS_PORT", service.port)
    return f"http://127.0.0.1:{port}"


def _not_ok(health: Mapping[str, object]) -> dict[str, str]:
    parts = health["parts"]
    assert isinstance(parts, dict)
    return {name: part["reason"] for name, part in parts.items() if part["state"] != "ok"}
