"""Erase ECGs that were finished long ago, page by page and at a bounded rate, and keep partitions ready."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.runtime.outages import Outages
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from shared.domain.findings import JsonValue
    from shared.ports.operators.operations import AuditNote, Operations
    from shared.ports.operators.retention import Retention

# A page is a transaction: it holds up a submission or a replay that needs one of its rows, 50 ms or so.
PAGE: Final = 500
_COUNTED_PAGE: Final = 10_000

# A partition has the signals of eleven hours of 100 ECGs a second, or an eighth of what is kept if that is
# more: for each, a look-up takes 5 us. What is kept for ever is in partitions as wide as all before together.
_LEAST_ROWS: Final = 4_000_000
_PARTS: Final = 8
_EXTEND_EVERY_S: Final = 60.0
# A backup may hold the table for hours, and each try holds up others for 300 ms.
_EXTEND_AGAIN_S: Final = 600.0

_NEXT_ROUND_IN: Final = timedelta(minutes=10)
# Who has no page to erase looks again after so long: another process is at it, or the next round is not due.
_LOOK_AGAIN_S: Final = 60.0

_PRUNED: Final = Counter(
    "isoline_pruned_ecgs_total", "ECGs that were erased because they were finished long ago."
)

_log = Logger(__name__)


async def count_prunable(finished_before: datetime, *, retention: Retention) -> int:
    """How many ECGs `prune` would erase.

    Raises:
        UnavailableError: They can't be counted now.
    """
    ecgs, row = 0, 0
    while True:
        page = await retention.prune(finished_before, after_row=row, limit=_COUNTED_PAGE, only_count=True)
        ecgs += page.ecgs
        if page.last_row is None:
            return ecgs
        row = page.last_row


async def prune(
    finished_before: datetime,
    note: AuditNote,
    *,
    ecgs_per_s: int,
    retention: Retention,
    operations: Operations,
    on_page: Callable[[int], None] = lambda _: None,
) -> int:
    """Erase the ECGs that were finished before then; how many.

    Recorded before it begins and when it has ended. What ends it halfway leaves the rest as it was: beginning
    again goes on.

    PostgreSQL has as long a pause as each page took, and erases ``ecgs_per_s`` at the most. ``on_page`` is
    told after each page how many were erased in all.

    Raises:
        UnavailableError: Some may have been erased. Pruning again is safe.
    """
    # What is refused has not begun, and is not recorded.
    await retention.prune(finished_before, after_row=0, limit=1, only_count=True)
    subject: dict[str, JsonValue] = {"finished_before": finished_before.isoformat()}
    await operations.record("prune", subject, note)
    ecgs, row = 0, 0
    while True:
        began_s = time.monotonic()
        page = await retention.prune(finished_before, after_row=row, limit=PAGE)
        ecgs += page.ecgs
        on_page(ecgs)
        if page.last_row is None:
            break
        row = page.last_row
        await asyncio.sleep(_pause_s(page.ecgs, time.monotonic() - began_s, ecgs_per_s))
    await operations.record("pruned", {**subject, "ecgs": ecgs}, note)
    await _prune_the_rest(finished_before, ecgs_per_s=ecgs_per_s, retention=retention)
    return ecgs


@asynccontextmanager
async def open_retention(
    retention: Retention, *, older_than: timedelta | None, ecgs_per_s: int
) -> AsyncIterator[None]:
    """Erase what was finished longer ago, unless None, and keep partitions ready, while it is open."""
    async with AsyncExitStack() as stack:
        extend = partial(keep_partitions_ready, 1 if older_than is None else _PARTS, retention=retention)
        await stack.enter_async_context(background_task(extend, "the partitions"))
        if older_than is not None:
            run = partial(run_retention, older_than, ecgs_per_s=ecgs_per_s, retention=retention)
            await stack.enter_async_context(background_task(run, "the retention"))
        yield


async def keep_partitions_ready(parts: int, *, retention: Retention) -> None:
    """Have a partition ready for signals that are to come, forever; each as wide as such a part of all."""
    outages = Outages("adding a partition for signals")
    while True:
        pause_s = _EXTEND_EVERY_S
        try:
            if await retention.extend_partitions(least_rows=_LEAST_ROWS, parts=parts):
                _log.info("a partition for signals was added")
            outages.record_success()
        except UnavailableError as error:
            pause_s = _EXTEND_AGAIN_S
            if not error.is_logged:
                outages.record_failure(str(error))
        await asyncio.sleep(pause_s)


async def run_retention(older_than: timedelta, *, ecgs_per_s: int, retention: Retention) -> None:
    """Erase forever what was finished longer ago than that; many processes may do it, one at a time does."""
    outages = Outages("retention")
    while True:
        began_s = time.monotonic()
        try:
            share = await retention.prune_shared(older_than, limit=PAGE, next_round_in=_NEXT_ROUND_IN)
            if share is not None and share.round_ecgs is not None:
                finished_before = await retention.now() - older_than
                await _prune_the_rest(finished_before, ecgs_per_s=ecgs_per_s, retention=retention)
            outages.record_success()
        except UnavailableError as error:
            share = None
            if not error.is_logged:
                outages.record_failure(str(error), waited_s=time.monotonic() - began_s)
        if share is None:
            await asyncio.sleep(_LOOK_AGAIN_S * random.uniform(0.5, 1))  # nosec B311 # noqa: S311 - no secret
            continue
        _PRUNED.inc(share.ecgs)
        if share.round_ecgs:
            _log.info("ECGs that were finished long ago are erased", count=share.round_ecgs)
        await asyncio.sleep(_pause_s(share.ecgs, time.monotonic() - began_s, ecgs_per_s))


async def _prune_the_rest(finished_before: datetime, *, ecgs_per_s: int, retention: Retention) -> None:
    """Erase what is left when ECGs are erased: their signals, and records."""
    await retention.prune_records()
    while await retention.drop_signals():
        _log.info("a partition of signals was dropped")
    while True:
        began_s = time.monotonic()
        signals = await retention.prune_signals(finished_before, limit=PAGE)
        if not signals:
            return
        await asyncio.sleep(_pause_s(signals, time.monotonic() - began_s, ecgs_per_s))


def _pause_s(ecgs: int, took_s: float, ecgs_per_s: int) -> float:
    """Seconds until the next page: the rate is kept, and PostgreSQL is at it half of the time at the most."""
    return max(ecgs / ecgs_per_s - took_s, took_s)
