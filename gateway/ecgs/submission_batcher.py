"""Batch the submissions of concurrent requests: one commit and one publish for all of a batch.

No timer delays a batch: it holds what is pending, and the next one fills while PostgreSQL writes it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.errors import UnavailableError
from shared.events import MAX_ECGS_PER_EVENT, submitted_event
from shared.observability.loop_metrics import LoopHistogram
from shared.observability.metrics import BATCH_BUCKETS
from shared.observability.tracing import SpanKind, now_ns, record_spans
from shared.runtime import failpoint
from shared.runtime.outages import Outages
from shared.runtime.supervision import background_task, run_supervised

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.domain.errors import UnroutableError
    from shared.events import EcgKey, Event
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import EcgStore, Receipt, Submission
    from shared.ports.event_source import EventSource

# While one batch is written, the other fills or is on its way to PostgreSQL.
_FLUSHERS: Final = 2
_BATCH_ECGS: Final = 200
# 4 MB as 16 bits; an ECG with more is a batch by itself.
_BATCH_SAMPLES: Final = 2_000_000
# Up to this size ECGs are prepared in a loop over the batch, 1 ms for 200. Each in its own request's task
# takes twice the 5 us.
_PREPARED_WITH_BATCH_SAMPLES: Final = 500
# Encoding a large ECG takes four times the memory of its samples.
_MAX_CONCURRENT_PREPARES: Final = 2
# An ECG whose bytes have arrived takes one iteration of the event loop each for its head, its body and its
# parsing. Without these, batches of STANDARD ECGs from 16 connections had 2 or 3 members instead of 7, and
# took 1.25 times the CPU in the gateway, 1.4 in the processor, 1.6 in PostgreSQL and in RabbitMQ.
_LINGER_ITERATIONS: Final = 3
# Bounds the linger under steady load, where each iteration adds a submission.
_MAX_LINGER_S: Final = 0.1
# Batches published and not confirmed yet. A broker that confirms nothing holds each of them until the publish
# timeout, and so limits submissions to 16 x 200 in that time.
_MAX_UNCONFIRMED_BATCHES: Final = 16
# A frozen PostgreSQL takes 10 s to fail each batch: the last of thousands would wait for minutes, to be
# stored long after its sender gave up. One that waited longer than this fails when the next batch is taken.
_MAX_WAIT_S: Final = 10.0


_BATCH_SIZE: Final = LoopHistogram(
    "isoline_submission_batch_ecgs", "ECGs that were stored by one statement.", buckets=BATCH_BUCKETS
).labels()

_CLOSED: Final = "the submission batcher is closed"
_CLOSED_FOR_SENDER: Final = "This gateway stops and takes no more submissions."


class _PendingSubmission(NamedTuple):
    """A submission and the future of its receipt."""

    submission: Submission
    future: asyncio.Future[Receipt]
    queued_at_s: float

    def succeed(self, receipt: Receipt) -> None:
        if not self.future.done():
            self.future.set_result(receipt)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class SubmissionBatcher:
    """Stores and announces submissions in batches."""

    def __init__(
        self, *, store: EcgStore, publisher: Publisher, event_source: EventSource, publish_timeout_s: float
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._event_source = event_source
        self._publish_timeout_s = publish_timeout_s
        self._pending: OrderedDict[asyncio.Future[Receipt], _PendingSubmission] = OrderedDict()
        self._has_pending = asyncio.Event()
        self._collecting = asyncio.Lock()
        self._unresolved: set[asyncio.Future[Receipt]] = set()
        self._unconfirmed_slots = asyncio.Semaphore(_MAX_UNCONFIRMED_BATCHES)
        self._prepare_slots = asyncio.Semaphore(_MAX_CONCURRENT_PREPARES)
        self._is_closed = False
        self._outages = Outages("announcing stored ECGs, which the relay does then")

    async def submit(self, submission: Submission) -> Receipt:
        """Store an ECG and announce it if it is new.

        Once this returns, the ECG is safe: if it could not be announced in time, the relay will do it.
        Cancelling this cancels no other submission of the batch.

        Raises:
            UnavailableError: It may have been stored. Submitting the same again is safe.
        """
        if submission.ecg.header.num_samples > _PREPARED_WITH_BATCH_SAMPLES:
            async with self._prepare_slots:
                submission = await self._store.prepare(submission)
        if self._is_closed:
            raise UnavailableError(_CLOSED, for_sender=_CLOSED_FOR_SENDER)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._unresolved.add(future)
        self._pending[future] = _PendingSubmission(submission, future, time.monotonic())
        self._has_pending.set()
        try:
            return await future
        finally:
            self._unresolved.discard(future)
            self._pending.pop(future, None)

    async def announce(self, stored: Sequence[tuple[EcgKey, str | None]]) -> None:
        """Publish one event for up to 64 ECGs; events not confirmed in time are left to the relay.

        Args:
            stored: Keys of ECGs with their trace contexts. An event carries that of its first ECG; each ECG's
                own is stored with it.
        """
        began_s, began_ns = time.monotonic(), now_ns()
        failures = [failure for failure in await self._publish(stored) if failure is not None]
        record_spans(
            "publish ecg.submitted",
            (traceparent for _, traceparent in stored),
            began_ns=began_ns,
            kind=SpanKind.PRODUCER,
            failure=str(failures[0]) if failures else None,
            isoline__batch__ecgs=len(stored),
        )
        if failures:
            self._outages.record_failure(str(failures[0]), waited_s=time.monotonic() - began_s)
        else:
            self._outages.record_success()

    async def run(self) -> None:
        """Process pending submissions forever; when it ends, those still pending fail.

        Raises:
            ExceptionGroup: A flusher failed.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_FLUSHERS):
                    tasks.create_task(run_supervised(partial(self._flush, tasks), "flushing batches"))
        finally:
            self._close()

    def _close(self) -> None:
        self._is_closed = True
        for future in self._unresolved:
            if not future.done():
                future.set_exception(UnavailableError(_CLOSED, for_sender=_CLOSED_FOR_SENDER))

    async def _flush(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            async with self._collecting:
                await self._has_pending.wait()
                await self._linger()
                batch = self._next_batch()
            if batch:
                await self._store_batch(batch, tasks)

    async def _linger(self) -> None:
        """Let requests reach the batch for a few iterations of the event loop, and again after each one."""
        count, iterations = len(self._pending), 0
        while iterations < _LINGER_ITERATIONS and self._may_linger():
            await asyncio.sleep(0)
            iterations = iterations + 1 if len(self._pending) == count else 0
            count = len(self._pending)

    def _may_linger(self) -> bool:
        """Whether the batch is neither empty nor full, and its oldest submission may wait longer."""
        if not 0 < len(self._pending) < _BATCH_ECGS:
            return False
        return time.monotonic() - self._oldest().queued_at_s < _MAX_LINGER_S

    def _next_batch(self) -> list[_PendingSubmission]:
        self._fail_expired()
        batch: list[_PendingSubmission] = []
        samples_left = _BATCH_SAMPLES
        while self._pending and len(batch) < _BATCH_ECGS:
            samples_left -= self._oldest().submission.ecg.header.num_samples
            if batch and samples_left < 0:
                break
            pending = self._pop_oldest()
            if not pending.future.done():  # done: cancelled just now, its client has disconnected
                batch.append(pending)
        if not self._pending:
            self._has_pending.clear()
        return batch

    def _fail_expired(self) -> None:
        """Fail submissions that have waited for too long."""
        too_long_ago_s = time.monotonic() - _MAX_WAIT_S
        while self._pending and self._oldest().queued_at_s < too_long_ago_s:
            error = UnavailableError(
                "too many submissions wait for storage; this one was not kept",
                for_sender="Too many submissions wait for the gateway's database; this one was not kept.",
            )
            self._pop_oldest().fail(error)

    def _oldest(self) -> _PendingSubmission:
        return next(iter(self._pending.values()))

    def _pop_oldest(self) -> _PendingSubmission:
        return self._pending.popitem(last=False)[1]

    async def _store_batch(self, batch: Sequence[_PendingSubmission], tasks: asyncio.TaskGroup) -> None:
        """Store a batch and resolve its futures; those of new ECGs after the announcement."""
        _BATCH_SIZE.observe(len(batch))
        began_ns = now_ns()
        try:
            receipts = await self._store.add([pending.submission for pending in batch])
        except UnavailableError as error:
            for pending in batch:
                pending.fail(error.copy())
        except Exception as error:  # noqa: BLE001 - one bad submission must not fail the others of its batch
            await self._store_each(batch, error, tasks)
        else:
            record_spans(
                "commit",
                (pending.submission.traceparent for pending in batch),
                began_ns=began_ns,
                isoline__batch__ecgs=len(batch),
            )
            failpoint.reach("after-commit-before-publish")
            await self._resolve(batch, receipts, tasks)

    async def _store_each(
        self, batch: Sequence[_PendingSubmission], error: Exception, tasks: asyncio.TaskGroup
    ) -> None:
        if len(batch) == 1:
            batch[0].fail(error)
            return
        for pending in batch:
            await self._store_batch([pending], tasks)

    async def _resolve(
        self, batch: Sequence[_PendingSubmission], receipts: Sequence[Receipt], tasks: asyncio.TaskGroup
    ) -> None:
        new = []
        for pending, receipt in zip(batch, receipts, strict=True):
            if receipt.is_new:
                new.append((pending, receipt))
            else:
                pending.succeed(receipt)
        if new:
            await self._unconfirmed_slots.acquire()
            tasks.create_task(self._announce(new))  # the next batch does not wait for the broker

    async def _announce(self, new: Sequence[tuple[_PendingSubmission, Receipt]]) -> None:
        """Announce new ECGs and resolve their futures, whether or not the broker confirmed."""
        try:
            await self.announce([(receipt.key, pending.submission.traceparent) for pending, receipt in new])
        finally:
            self._unconfirmed_slots.release()
            for pending, receipt in new:
                pending.succeed(receipt)

    async def _publish(
        self, stored: Sequence[tuple[EcgKey, str | None]]
    ) -> Sequence[UnroutableError | UnavailableError | None]:
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                return await self._publisher.publish(_events(stored, await self._event_source.uri()))
        except TimeoutError:
            return [UnavailableError(f"no answer from the broker within {self._publish_timeout_s:g} s")]
        except UnavailableError as error:
            return [error]


def _events(stored: Sequence[tuple[EcgKey, str | None]], source: str) -> list[Event]:
    now = datetime.now(UTC)
    pages = [
        stored[first : first + MAX_ECGS_PER_EVENT] for first in range(0, len(stored), MAX_ECGS_PER_EVENT)
    ]
    return [
        submitted_event([key for key, _ in page], source=source, now=now, traceparent=page[0][1])
        for page in pages
    ]


@asynccontextmanager
async def open_submission_batcher(
    *, store: EcgStore, publisher: Publisher, event_source: EventSource, publish_timeout_s: float
) -> AsyncIterator[SubmissionBatcher]:
    """Yield a batcher that works for as long as the context is open."""
    batcher = SubmissionBatcher(
        store=store, publisher=publisher, event_source=event_source, publish_timeout_s=publish_timeout_s
    )
    async with background_task(batcher.run, "batching submissions"):
        yield batcher
