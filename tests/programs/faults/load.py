"""A load of real ECGs; its clients retry after temporary failures, as docs/http.md says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.e2e.load import real_ecgs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.load import KnownEcg

PASSWORD: Final = "a good password"
_CLIENTS: Final = 24
_RATE_HZ: Final = 160.0
_RATE_BEYOND_HZ: Final = 32.0
_BEYOND: Final = 64
_TIMEOUT_S: Final = 8.0
_PAUSE_S: Final = 0.2
_POLL_S: Final = 0.02


class Load:
    """Submits ECGs at a steady rate, and records the outcomes.

    So many come in at the least, and more of them, fewer at a time, until ``finish`` is called: what a fault
    waits for comes about however fast or slow this machine is.
    """

    def __init__(self, address: str, count: int, prefix: str) -> None:
        self.ecgs: dict[str, KnownEcg] = {}
        self.accepted: set[str] = set()
        self.retries = 0
        self.refused: list[str] = []
        self._address = address
        self._count = count
        self._prefix = prefix
        self._is_finishing = False
        self._login = asyncio.Lock()

    async def run(self) -> None:
        """Submit until each ECG is accepted and no more are wanted."""
        waiting = self._supply()
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        async with aiohttp.ClientSession(self._address, timeout=timeout) as session:
            await self._log_in(session, None)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_CLIENTS):
                    tasks.create_task(self._submit_some(session, waiting))

    def finish(self) -> None:
        """Submit no more ECGs than the number asked for."""
        self._is_finishing = True

    async def until_accepted(self, share: float) -> None:
        """Return when this share of the number asked for was accepted."""
        while len(self.accepted) < share * self._count:
            await asyncio.sleep(_POLL_S)

    def _supply(self) -> Iterator[KnownEcg]:
        yield from self._some(self._count, self._prefix)
        while not self._is_finishing:
            yield from self._some(_BEYOND, f"{self._prefix}-{len(self.ecgs)}")

    def _some(self, count: int, prefix: str) -> Iterator[KnownEcg]:
        for ecg in real_ecgs(count, prefix):
            if self._is_finishing and len(self.ecgs) >= self._count:
                return
            self.ecgs[ecg.body["id"]] = ecg
            yield ecg

    async def _log_in(self, session: aiohttp.ClientSession, refused: str | None) -> None:
        """Replace a refused token; one of the clients fetches it for all."""
        async with self._login:
            while session.headers.get("Authorization") == refused:
                try:
                    async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
                        if answer.ok:
                            token = (await answer.json())["access_token"]
                            session.headers["Authorization"] = f"Bearer {token}"
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(_PAUSE_S)

    async def _submit_some(self, session: aiohttp.ClientSession, waiting: Iterator[KnownEcg]) -> None:
        loop = asyncio.get_running_loop()
        for ecg in waiting:
            begun_s = loop.time()
            await self._submit(session, ecg)
            rate_hz = _RATE_HZ if len(self.ecgs) < self._count else _RATE_BEYOND_HZ
            await asyncio.sleep(begun_s + _CLIENTS / rate_hz - loop.time())

    async def _submit(self, session: aiohttp.ClientSession, ecg: KnownEcg) -> None:
        ecg_id = ecg.body["id"]
        while True:
            token = session.headers.get("Authorization")
            try:
                async with session.post("/ecg/process", json=ecg.body) as answer:
                    if answer.status == 202:
                        self.accepted.add(ecg_id)
                        return
                    if answer.status != 401 and not _may_pass(answer):
                        self.refused.append(f"{ecg_id}: {answer.status} {await answer.text()}")
                    is_logged_out = answer.status == 401
            except (aiohttp.ClientError, TimeoutError):
                is_logged_out = False
            self.retries += 1
            await asyncio.sleep(_PAUSE_S)
            if is_logged_out:
                await self._log_in(session, token)


def _may_pass(answer: aiohttp.ClientResponse) -> bool:
    return answer.status in {429, 503} and "Retry-After" in answer.headers
