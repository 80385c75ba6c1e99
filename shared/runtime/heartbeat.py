"""The heartbeat of a process: it says every few seconds that it is there, and at the end that it has left."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.ports.operators.processes import Presence
from shared.release import RELEASE
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from shared.ports.operators.processes import Processes
    from shared.ports.operators.throughput import SettledCounts, Throughput

_EVERY_S: Final = 5.0
_LEAVE_WITHIN_S: Final = 1.0

_log = Logger(__name__)


class Heartbeat:
    """Says of this process that it is there.

    Args:
        processes: Keeps what is said.
        process_id: Made by `shared.ports.claim_ids.new_process_id`.
        service: Its name.
        worker: Its number, from 1.
        is_draining: Whether it leaves.
        held_ecgs: How many ECGs it holds; None for a service that holds none.
        is_paused: Whether an operator has paused it.
        settled: What it settles, which is kept in the throughput and counted from 0 again; None for a service
            that settles nothing.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        process_id: UUID,
        service: str,
        worker: int,
        is_draining: Callable[[], bool],
        held_ecgs: Callable[[], int] | None = None,
        is_paused: Callable[[], bool] = lambda: False,
        settled: tuple[SettledCounts, Throughput] | None = None,
    ) -> None:
        self._processes = processes
        self._presence = Presence(process_id, service, worker, socket.gethostname(), RELEASE, pid=os.getpid())
        self._is_draining = is_draining
        self._held_ecgs = held_ecgs
        self._is_paused = is_paused
        self._settled = settled
        self._is_kept = True

    async def run(self) -> None:
        """Say it forever; outages of PostgreSQL are told by those who need more of it."""
        while True:
            with suppress(UnavailableError):
                self._note(is_kept=await self._processes.announce(self._now()))
                await self._keep_settled()
            await asyncio.sleep(_EVERY_S)

    async def leave(self) -> None:
        """Say that it has left, if that can be said at once."""
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(_LEAVE_WITHIN_S):
                await self._keep_settled()
                await self._processes.leave(self._presence.id)

    def _now(self) -> Presence:
        held_ecgs = None if self._held_ecgs is None else self._held_ecgs()
        return self._presence._replace(
            is_draining=self._is_draining(), held_ecgs=held_ecgs, is_paused=self._is_paused()
        )

    async def _keep_settled(self) -> None:
        """Keep what was settled since the last beat; what could not be kept is kept with the next one."""
        if self._settled is None or self._settled[0].is_empty:
            return
        counts, throughput = self._settled
        taken = counts.take()
        try:
            await throughput.add(self._presence.id, taken)
        except UnavailableError:
            counts.put_back(taken)
            raise

    def _note(self, *, is_kept: bool) -> None:
        if self._is_kept and not is_kept:
            _log.warning(
                "operators don't see this process",
                reason="its role may not write to the table `process`, or migrations are pending",
            )
        self._is_kept = is_kept


@asynccontextmanager
async def open_heartbeat(heartbeat: Heartbeat) -> AsyncIterator[None]:
    """Let it beat while the context is open."""
    try:
        async with background_task(heartbeat.run, "the heartbeat"):
            yield
    finally:
        await heartbeat.leave()
