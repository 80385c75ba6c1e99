"""A supervised service: a process that is restarted whenever it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.support.servers.listeners import listens

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping
    from datetime import datetime

THIS_CODE: Final = Path(__file__).parents[4]

_RESTART_AFTER_S: Final = 0.3
_READY_WITHIN_S: Final = 180.0
_ANSWER_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


class Service:
    """``python -m MODULE`` with its environment, kept running.

    Attributes:
        code: The folder of the release whose module it is, from its next start on.
    """

    def __init__(self, module: str, port: int, environment: Mapping[str, str], log: Path) -> None:
        self.module = module
        self.port = port
        self.statuses: list[int] = []
        self.log = log
        self.environment = dict(environment)
        self.code = THIS_CODE
        self._clock: Mapping[str, str] = {}
        self._once: dict[str, str] = {}
        self._process: Process | None = None
        self._is_wanted = True

    @property
    def pid(self) -> int:
        """The pid of the current process."""
        assert self._process is not None
        return self._process.pid

    async def keep_running(self) -> None:
        """Run it, and restart it whenever it ends, until `end`."""
        while self._is_wanted:
            with self.log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *_tied_to_us(),
                    *(sys.executable, "-m", self.module),
                    stdout=output,
                    stderr=output,
                    cwd=self.code,  # where -m looks first
                    env=os.environ
                    | {"PYTHONPATH": str(self.code)}
                    | self.environment
                    | dict(self._clock)
                    | self._once,
                )
            self._once = {}
            self.statuses.append(await self._process.wait())
            await asyncio.sleep(_RESTART_AFTER_S)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the current process."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def restart(self, **environment: str) -> int:
        """Stop it and start it with these additions; the old one's exit status."""
        await self.until_ready()  # one that has just died gets no signal
        self._once = environment
        count = len(self.statuses)
        self.send(signal.SIGTERM)
        while len(self.statuses) == count:
            await asyncio.sleep(_POLL_S)
        await self.until_ready()
        return self.statuses[count]

    async def restart_by(self, clock: Mapping[str, str]) -> None:
        """Restart it with the environment of a fake clock."""
        self._clock = clock
        await self.restart()

    async def until_ready(self) -> None:
        """Return when it is ready."""
        await self._until(lambda answer: answer is not None and answer.ok)

    async def until_not_ready(self) -> None:
        """Return when it is not ready."""
        await self._until(lambda answer: answer is not None and not answer.ok)

    async def until_part(self, name: str, state: str) -> None:
        """Return when it is ready and a part of it has this state."""
        url = f"http://127.0.0.1:{self.port}/health/ready"
        timeout = aiohttp.ClientTimeout(_ANSWER_WITHIN_S)
        async with asyncio.timeout(_READY_WITHIN_S), aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                async with session.get(url) as answer:
                    if answer.ok and (await answer.json())["parts"][name]["state"] == state:
                        return
                await asyncio.sleep(_POLL_S)

    async def until_clock(self, is_right: Callable[[datetime], bool]) -> None:
        """Return when its clock, which its responses show, is right."""
        await self._until(lambda answer: answer is not None and is_right(_date(answer)))

    async def _until(self, holds: Callable[[aiohttp.ClientResponse | None], bool]) -> None:
        timeout = aiohttp.ClientTimeout(_ANSWER_WITHIN_S)
        async with asyncio.timeout(_READY_WITHIN_S), aiohttp.ClientSession(timeout=timeout) as session:
            while not holds(await self._answer(session)):
                await asyncio.sleep(_POLL_S)

    async def _answer(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse | None:
        try:
            async with session.get(f"http://127.0.0.1:{self.port}/health/ready") as answer:
                is_ours = self._process is not None and listens(self.pid, self.port)
                return answer if is_ours else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    def end(self) -> None:
        """Stop it for good."""
        self._is_wanted = False
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)


def _date(answer: aiohttp.ClientResponse) -> datetime:
    return parsedate_to_datetime(answer.headers["Date"])


def _tied_to_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL"] if setpriv else []
