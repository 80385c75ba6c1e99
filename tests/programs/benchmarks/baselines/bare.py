"""What HTTP alone costs: ``python -m tests.programs.benchmarks.baselines.bare PORT RESULT_FILE``.

aiohttp on uvloop without an access log, like the gateway, and nothing behind it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

_ANSWER: Final = b'{"id":"1000000000","status":"queued"}'
_MAX_BODY_BYTES: Final = 64 * 2**20


def reading(understand: Callable[[bytes], object] = len) -> Handler:
    """A handler that reads the body, does that much with it, and answers 202."""

    async def accept(request: web.Request) -> web.Response:
        understand(await request.read())
        return web.Response(status=202, body=_ANSWER, content_type="application/json")

    return accept


def answering(result: bytes) -> Handler:
    """A handler that always answers with the same bytes."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=result, content_type="application/json")

    return show


def main() -> None:
    """Serve until a stop is requested."""
    port, result = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/bare", reading()),
            web.post("/orjson", reading(orjson.loads)),
            web.post("/json", reading(json.loads)),
            web.get("/result/{id}", answering(result)),
            web.get("/health/ready", answering(b"{}")),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
