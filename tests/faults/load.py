"""A load of real ECGs whose clients do as the README tells them: the same again after whatever may pass."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.e2e.load import real_ecgs

if TYPE_CHECKING:
    from tests.e2e.load import KnownEcg

PASSWORD: Final = "a good password"
_CLIENTS: Final = 24
_RATE_HZ: Final = 160.0
_TIMEOUT_S: Final = 8.0
_PAUSE_S: Final = 0.2


class Load:
    """ECGs on their way in at a steady rate, and what became of them."""

    def __init__(self, address: str, count: int, prefix: str) -> None:
        self.ecgs = {ecg.body["id"]: ecg for ecg in real_ecgs(count, prefix)}
        self.accepted: set[str] = set()
        self.retries = 0
        self.refused: list[str] = []
        self._address = address

    async def run(self) -> None:
        """Return when each was accepted."""
        waiting = iter(self.ecgs.values())
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        async with aiohttp.ClientSession(self._address, timeout=timeout) as session:
            await self._log_in(session)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_CLIENTS):
                    tasks.create_task(self._submit_some(session, waiting))

    async def until_accepted(self, share: float) -> None:
        """Return when this share of them was accepted."""
        while len(self.accepted) < share * len(self.ecgs):
            await asyncio.sleep(0.02)

    async def _log_in(self, session: aiohttp.ClientSession) -> None:
        while "Authorization" not in session.headers:
            try:
                async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
                    if answer.ok:
                        token = (await answer.json())["access_token"]
                        session.headers["Authorization"] = f"Bearer {token}"
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_PAUSE_S)

    async def _submit_some(self, session: aiohttp.ClientSession, waiting: object) -> None:
        loop = asyncio.get_running_loop()
        for ecg in waiting:  # type: ignore[attr-defined]
            begun_s = loop.time()
            await self._submit(session, ecg)
            await asyncio.sleep(begun_s + _CLIENTS / _RATE_HZ - loop.time())

    async def _submit(self, session: aiohttp.ClientSession, ecg: KnownEcg) -> None:
        ecg_id = ecg.body["id"]
        while True:
            try:
                async with session.post("/ecg/process", json=ecg.body) as answer:
                    if answer.status == 202:
                        self.accepted.add(ecg_id)
                        return
                    if answer.status not in {429, 503} or "Retry-After" not in answer.headers:
                        self.refused.append(f"{ecg_id}: {answer.status} {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError):
                pass
            self.retries += 1
            await asyncio.sleep(_PAUSE_S)
