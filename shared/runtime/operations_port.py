"""The operations port: a private HTTP port of each worker, for its operators.

Several workers of a gateway share its public port, where a request meets a random one; here each worker has a
port of its own. Routes here need no token: the port must not be public.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from shared.domain.errors import ConfigurationError
from shared.observability.logs import Logger
from shared.runtime.health import LIVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shared.runtime.health import Health
    from shared.runtime.scraped_metrics import ScrapedMetrics

_SETTINGS: Final = "ISOLINE_OPERATIONS_HOST, ISOLINE_OPERATIONS_PORT"

_log = Logger(__name__)


@asynccontextmanager
async def open_operations_port(
    host: str, port: int, *, health: Health, metrics: ScrapedMetrics
) -> AsyncIterator[str]:
    """Serve the operations port while the context is open.

    Args:
        host: The address to listen on.
        port: 0 takes a free one; the log names it.
        health: Of this worker, for `/health/live` and `/health/ready`.
        metrics: Of this worker, for `/metrics`.

    Yields:
        The URL at which it listens.

    Raises:
        ConfigurationError: The port is taken.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/health/live", _get_live),
            web.get("/health/ready", partial(_get_ready, health)),
            web.get("/metrics", partial(_get_metrics, metrics)),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        address = await _listen(runner, host, port)
        _log.info("the operations port is open", address=address)
        yield address
    finally:
        await runner.cleanup()


async def _get_live(_: web.Request) -> web.Response:
    return _json(LIVE)


async def _get_ready(health: Health, _: web.Request) -> web.Response:
    readiness = await health.readiness()
    return _json(readiness.document, readiness.status)


async def _get_metrics(metrics: ScrapedMetrics, _: web.Request) -> web.Response:
    exposition = await metrics.scrape()
    return web.Response(body=exposition.body, headers={"Content-Type": exposition.content_type})


def _json(document: Mapping[str, object], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigurationError(f"{_SETTINGS}: can't listen on {host}:{port}: {error.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{runner.addresses[0][1]}"
