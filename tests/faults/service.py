"""A service as an orchestrator runs it: a process that is started again whenever it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping
    from pathlib import Path

_RESTART_AFTER_S: Final = 0.3
_READY_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05


class Service:
    """``python -m MODULE`` with its environment, kept running."""

    def __init__(self, module: str, port: int, environment: Mapping[str, str], log: Path) -> None:
        self.module = module
        self.port = port
        self.statuses: list[int] = []
        self.log = log
        self.environment = dict(environment)
        self._once: dict[str, str] = {}
        self._process: Process | None = None
        self._is_wanted = True

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    async def keep_running(self) -> None:
        """Run it, again and again, until nobody wants it."""
        while self._is_wanted:
            with self.log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *_tied_to_us(),
                    *(sys.executable, "-m", self.module),
                    stdout=output,
                    stderr=output,
                    env=os.environ | self.environment | self._once,
                )
            self._once = {}
            self.statuses.append(await self._process.wait())
            await asyncio.sleep(_RESTART_AFTER_S)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process that runs now."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def restart(self, **environment: str) -> int:
        """Tell it to leave and start it with these additions; the old one's exit status."""
        await self.until_ready()  # one that has just died gets no signal
        self._once = environment
        count = len(self.statuses)
        self.send(signal.SIGTERM)
        while len(self.statuses) == count:
            await asyncio.sleep(_POLL_S)
        await self.until_ready()
        return self.statuses[count]

    async def until_ready(self) -> None:
        """Return when it says that it is ready."""
        async with asyncio.timeout(_READY_WITHIN_S), aiohttp.ClientSession() as session:
            while not await self._asked(session):
                await asyncio.sleep(_POLL_S)

    async def is_ready(self) -> bool:
        """Whether it says that it is."""
        async with aiohttp.ClientSession() as session:
            return await self._asked(session)

    async def _asked(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/health/ready") as answer:
                return answer.ok
        except aiohttp.ClientError:
            return False

    def end(self) -> None:
        """Let it leave and not come back."""
        self._is_wanted = False
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)


def _tied_to_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL"] if setpriv else []
