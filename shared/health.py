"""`/health/live` and `/health/ready`, the same in every service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web

from shared.domain.errors import ConfigurationError, IsolineError
from shared.json_answer import json_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when what it checks is ready for work, else raises an IsolineError that says why not."""

_CHECK_TIMEOUT_S: Final = 3.0


class Health:
    """Answers whether a service lives and whether it is ready.

    Args:
        checks: What must pass for it to be ready, by name.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    async def get_live(self, _: web.BaseRequest) -> web.Response:
        """Live: the event loop turns."""
        return json_answer({"status": "live"})

    async def get_ready(self, _: web.BaseRequest) -> web.Response:
        """Ready: every check passes, else 503 with the reason of each that fails."""
        outcomes = [(name, await _reason(check)) for name, check in self._checks.items()]
        reasons = {name: reason for name, reason in outcomes if reason is not None}
        if reasons:
            return json_answer({"status": "not ready", "reasons": reasons}, HTTPStatus.SERVICE_UNAVAILABLE)
        return json_answer({"status": "ready"})


@asynccontextmanager
async def open_health_server(host: str, port: int, checks: Mapping[str, Check]) -> AsyncIterator[None]:
    """Answer health requests on a port of their own for as long as the context is open.

    Raises:
        ConfigurationError: The port is taken.
    """
    app, health = web.Application(), Health(checks)
    app.add_routes([web.get("/health/live", health.get_live), web.get("/health/ready", health.get_ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        detail = f"can't listen on {host}:{port}: {error.strerror}"
        raise ConfigurationError(f"ISOLINE_HEALTH_HOST, ISOLINE_HEALTH_PORT: {detail}") from None


async def _reason(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except IsolineError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} s"
    return None
