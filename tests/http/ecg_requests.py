"""Requests that submit an ECG and ask for it, and what a response says of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

_LIMIT_S = 10


def another_body() -> dict[str, Any]:
    return an_ecg_body(leads=[{"name": "I", "signal": [1, -1, 2]}])


async def submit(client: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Submit an ECG; the status of the response, and its body."""
    async with client.post("/ecg/process", json=body) as response:
        return response.status, await response.json(content_type=None)


async def get_json(client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    """The body of a 200."""
    async with asyncio.timeout(_LIMIT_S), client.get(path) as response:
        assert response.status == 200
        document: dict[str, Any] = await response.json()
    return document


def without_times_and_header(state: dict[str, Any]) -> dict[str, Any]:
    """The status and result of an ECG, without its times and header."""
    others = {"date", "submitted_at", "completed_at", "generation"}
    return {name: value for name, value in state.items() if name not in others}
