"""The memory of a real gateway, as the kernel reports it, with many large bodies at a time."""

from __future__ import annotations

import asyncio
import base64
import gzip
import secrets
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from gateway.auth.access_tokens import AccessTokens
from shared.domain.account import Role
from tests.support.builders import an_ecg_body
from tests.support.servers.services import free_port, open_service

_LIMIT_S: Final = 120
_MIB: Final = 2**20
_BODIES: Final = 80
_ACCOUNTS: Final = 20
_MAX_BYTES_IN_FLIGHT: Final = 64 * _MIB
_KEY: Final = base64.b64encode(secrets.token_bytes(32)).decode()


async def test_many_large_bodies_take_no_more_memory_than_the_setting_says(
    database_url: str, tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    environment = {
        "ISOLINE_DATABASE_URL": database_url,
        "ISOLINE_AMQP_URL": "amqp://nobody:none@127.0.0.1:1/",  # the relay would announce them
        "ISOLINE_PUBLISH_TIMEOUT_S": "0.01",
        "ISOLINE_TOKEN_KEY": _KEY,
        "ISOLINE_HOST": "127.0.0.1",
        "ISOLINE_PORT": address.rpartition(":")[2],
        "ISOLINE_MAX_BYTES_IN_FLIGHT": str(_MAX_BYTES_IN_FLIGHT),
        "ISOLINE_MAX_BODY_BYTES": str(4 * _MIB),
    }
    body = orjson.dumps(an_ecg_body(leads=[{"name": "I", "signal": [1000] * (4 * _MIB // 5 - 100)}]))
    assert 3.9 * _MIB < len(body) <= 4 * _MIB
    packed = gzip.compress(body, 1)
    async with (
        asyncio.timeout(_LIMIT_S),
        open_service(
            ["-m", "gateway"], address=address, environment=environment, log=tmp_path / "gateway.log"
        ) as process,
        aiohttp.ClientSession(address, connector=aiohttp.TCPConnector(limit=0)) as client,
    ):
        assert await _posted(client, 0, packed) == 202  # memory that the first body needs stays in use
        before = _memory(process.pid, "VmRSS")
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # resets the high-water mark
        # Compressed, else the buffers of so many connections would be measured too.
        statuses = await asyncio.gather(*(_posted(client, number, packed) for number in range(_BODIES)))
        growth = _memory(process.pid, "VmHWM") - before

    assert growth < _MAX_BYTES_IN_FLIGHT
    assert Counter(statuses).keys() <= {202, 503}
    assert 202 in statuses


async def _posted(client: aiohttp.ClientSession, number: int, packed: bytes) -> int:
    """The status of a submission from one of the accounts."""
    tokens = AccessTokens(key=_KEY, issuer="isoline", audience="isoline", lifetime_s=900)
    token = tokens.issue(f"account-{number % _ACCOUNTS}", [Role.USER], now=datetime.now(UTC))
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
    }
    async with client.post("/ecg/process", data=packed, headers=headers) as answer:
        return answer.status


def _memory(pid: int, field: str) -> int:
    """A figure of /proc/PID/status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
