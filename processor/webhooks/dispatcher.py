"""Send for the webhooks that have something to send, each in a task of its own: none waits for another."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from processor.webhooks.delivering import send_for
from processor.webhooks.metrics import SENDING
from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.ports.webhook_dispatch import LEASE_S
from shared.runtime.outages import Outages
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from processor.webhooks.delivering import Senders
    from shared.ports.webhook_dispatch import LeasedWebhook

# An event is sent so much later at the most. A look costs PostgreSQL 0.1 ms.
_LOOK_EVERY_S: Final = 0.5
_LOOK_AGAIN_AFTER_FAILURE_S: Final = 2.0
_RENEW_EVERY_S: Final = LEASE_S / 3
_MOST_AT_ONCE: Final = 256
_FORGET_EVERY_S: Final = 600.0
_RELEASE_WITHIN_S: Final = 2.0

_log = Logger(__name__)


@asynccontextmanager
async def open_webhooks(senders: Senders, *, delivery_days: int) -> AsyncIterator[None]:
    """Send for webhooks while the context is open; any number of processes may.

    Args:
        senders: What it needs.
        delivery_days: How long it is kept what was sent.
    """
    dispatcher = _Dispatcher(senders)
    async with (
        background_task(dispatcher.run, "the webhooks"),
        background_task(partial(_forget_deliveries, senders, delivery_days), "the deliveries of webhooks"),
    ):
        try:
            yield
        finally:
            await dispatcher.close()


class _Dispatcher:
    """Takes webhooks with something to send, and sends for them."""

    def __init__(self, senders: Senders) -> None:
        self._senders = senders
        self._tasks: dict[asyncio.Task[None], LeasedWebhook] = {}
        self._outages = Outages("webhooks")
        self._is_closed = False
        self._renewed_s = 0.0
        SENDING.set_function(lambda: len(self._tasks))

    async def run(self) -> None:
        """Look forever."""
        while True:
            pause_s = _LOOK_EVERY_S
            try:
                await self._renew()
                await self._take()
                self._outages.record_success()
            except UnavailableError as error:
                self._record_outage(error)
                pause_s = _LOOK_AGAIN_AFTER_FAILURE_S
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Stop sending; what is being sent now, another process sends again."""
        self._is_closed = True
        leased = list(self._tasks.values())
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(_RELEASE_WITHIN_S):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for webhook in leased:
                    await self._senders.dispatch.release(webhook)
        except (TimeoutError, UnavailableError):
            _log.info("webhooks were not given back; others take them in ten seconds", count=len(leased))

    async def _take(self) -> None:
        room = _MOST_AT_ONCE - len(self._tasks)
        if self._is_closed or room == 0:
            return
        async with self._senders.statements:
            leased = await self._senders.dispatch.lease(limit=room)
        for webhook in leased:
            task = asyncio.create_task(self._send_for(webhook))
            self._tasks[task] = webhook
            task.add_done_callback(self._tasks.pop)

    async def _renew(self) -> None:
        """Keep the leases of what is being sent."""
        now_s = time.monotonic()
        if not self._tasks or now_s - self._renewed_s < _RENEW_EVERY_S:
            return
        self._renewed_s = now_s
        async with self._senders.statements:
            await self._senders.dispatch.renew(list(self._tasks.values()))

    async def _send_for(self, webhook: LeasedWebhook) -> None:
        try:
            await send_for(webhook, self._senders)
        except UnavailableError as error:
            self._record_outage(error)
        except Exception:  # noqa: BLE001 - one webhook must not end the others, nor the analysis
            _log.exception("sending for a webhook failed; it goes on in ten seconds", webhook=str(webhook.id))

    def _record_outage(self, error: UnavailableError) -> None:
        if not error.is_logged:
            self._outages.record_failure(str(error))


async def _forget_deliveries(senders: Senders, days: int) -> None:
    """Forget old deliveries forever."""
    while True:
        try:
            async with senders.statements:
                while await senders.dispatch.forget_deliveries(days=days):
                    pass
        except UnavailableError:
            pass  # the dispatcher tells of it
        await asyncio.sleep(_FORGET_EVERY_S)
