"""Where the submissions of concurrent requests meet, to be kept and announced together.

No timer collects them: whoever is there or about to be is taken, and while PostgreSQL writes one batch the
next one gathers.
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
from shared.events import MAX_ECGS_PER_EVENT, submitted
from shared.runtime import failpoint
from shared.runtime.outages import Outages
from shared.runtime.supervision import lasting, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.domain.errors import UnroutableError
    from shared.events import EcgKey, Event
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import EcgStore, Receipt, Submission
    from shared.ports.installation import Installation

# While one batch is written, the other is on its way or gathers.
_FLUSHERS: Final = 2
_BATCH_ECGS: Final = 200
# 4 MB as 16 bits; an ECG with more is a batch by itself.
_BATCH_SAMPLES: Final = 2_000_000
# So few are prepared with the batch, one right after the other: in their requests' own turns, between all
# else that these do, it takes twice the 5 us. A batch of 200 takes 1 ms to prepare.
_FEW_SAMPLES: Final = 500
# Encoding a large ECG takes four times the memory of its samples.
_PREPARED_AT_A_TIME: Final = 2
# An ECG whose bytes are here takes a turn of the event loop for its head, one for its body, one to be read.
# Without these turns, batches of STANDARD ECGs from 16 connections had 2 or 3 members instead of 7, and took
# 1.25 times the CPU in the gateway, 1.4 in the processor, 1.6 in PostgreSQL and in RabbitMQ.
_TURNS_FOR_COMPANY: Final = 3
# While others come all the time, the first of a batch waits so long for them and no longer.
_LONGEST_FOR_COMPANY_S: Final = 0.1
# Batches whose announcement is not confirmed yet. A broker that answers nobody keeps each of them waiting for
# the time limit, and so more clients than 16 x 200 from being taken in that time.
_UNCONFIRMED: Final = 16
# A frozen PostgreSQL takes 10 s to fail each batch: the last of thousands would wait for minutes, to be kept
# long after their senders have gone. Who has waited longer is told so when the next batch is taken.
_LONGEST_WAIT_S: Final = 10.0


_ENDED: Final = "submissions are not taken in any more"
_ENDED_FOR_SENDER: Final = "This gateway stops and takes no more submissions."


class _Waiting(NamedTuple):
    """A submission and who waits for its receipt."""

    submission: Submission
    answer: asyncio.Future[Receipt]
    since_s: float

    def succeed(self, receipt: Receipt) -> None:
        if not self.answer.done():
            self.answer.set_result(receipt)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Intake:
    """Takes submissions in, many at a time."""

    def __init__(
        self, *, store: EcgStore, publisher: Publisher, installation: Installation, publish_timeout_s: float
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._installation = installation
        self._publish_timeout_s = publish_timeout_s
        self._waiting: OrderedDict[asyncio.Future[Receipt], _Waiting] = OrderedDict()
        self._somebody_waits = asyncio.Event()
        self._gathering = asyncio.Lock()
        self._unanswered: set[asyncio.Future[Receipt]] = set()
        self._unconfirmed = asyncio.Semaphore(_UNCONFIRMED)
        self._preparing = asyncio.Semaphore(_PREPARED_AT_A_TIME)
        self._has_ended = False
        self._outages = Outages("announcing ECGs that were kept, which the relay does then")

    async def take(self, submission: Submission) -> Receipt:
        """Keep an ECG and announce it if it is new.

        Once this returns, the ECG is safe: if it could not be announced in time, the relay will do it. Who is
        cancelled takes nobody else's submission along.

        Raises:
            UnavailableError: It may have been kept. Taking the same again is safe.
        """
        if submission.ecg.header.num_samples > _FEW_SAMPLES:
            async with self._preparing:
                submission = await self._store.prepare(submission)
        if self._has_ended:
            raise UnavailableError(_ENDED, for_sender=_ENDED_FOR_SENDER)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._unanswered.add(answer)
        self._waiting[answer] = _Waiting(submission, answer, time.monotonic())
        self._somebody_waits.set()
        try:
            return await answer
        finally:
            self._unanswered.discard(answer)
            self._waiting.pop(answer, None)

    async def announce(self, kept: Sequence[tuple[EcgKey, str | None]]) -> None:
        """Publish one event for up to 64 of these; what the broker does not take in time, the relay does.

        Args:
            kept: Each with the trace in which it came. An event carries that of its first ECG; each ECG's
                own is stored with it.
        """
        began_s = time.monotonic()
        failures = [failure for failure in await self._published(kept) if failure is not None]
        if failures:
            self._outages.begin(str(failures[0]), waited_s=time.monotonic() - began_s)
        else:
            self._outages.end_past()

    async def run(self) -> None:
        """Take in whatever waits, forever; nobody is left waiting when it ends.

        Raises:
            ExceptionGroup: A part of it ended.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(_FLUSHERS):
                    tasks.create_task(lasting(partial(self._flush, tasks), "taking a batch in"))
        finally:
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        for answer in self._unanswered:
            if not answer.done():
                answer.set_exception(UnavailableError(_ENDED, for_sender=_ENDED_FOR_SENDER))

    async def _flush(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            async with self._gathering:
                await self._somebody_waits.wait()
                await self._let_others_come()
                batch = self._next_batch()
            if batch:
                await self._keep(batch, tasks)

    async def _let_others_come(self) -> None:
        """Give those who are nearly here a few turns of the event loop, and again whenever one has come."""
        came, turns = len(self._waiting), 0
        while turns < _TURNS_FOR_COMPANY and self._has_room():
            await asyncio.sleep(0)
            turns = turns + 1 if len(self._waiting) == came else 0
            came = len(self._waiting)

    def _has_room(self) -> bool:
        """Whether somebody waits, and may wait for more."""
        if not 0 < len(self._waiting) < _BATCH_ECGS:
            return False
        return time.monotonic() - self._oldest().since_s < _LONGEST_FOR_COMPANY_S

    def _next_batch(self) -> list[_Waiting]:
        self._give_up()
        batch: list[_Waiting] = []
        room = _BATCH_SAMPLES
        while self._waiting and len(batch) < _BATCH_ECGS:
            room -= self._oldest().submission.ecg.header.num_samples
            if batch and room < 0:
                break
            waiting = self._take_oldest()
            if not waiting.answer.done():  # else its sender goes at this moment
                batch.append(waiting)
        if not self._waiting:
            self._somebody_waits.clear()
        return batch

    def _give_up(self) -> None:
        """Turn away who has waited for too long; the oldest are in front."""
        too_long_ago_s = time.monotonic() - _LONGEST_WAIT_S
        while self._waiting and self._oldest().since_s < too_long_ago_s:
            error = UnavailableError(
                "too many submissions wait for storage; this one was not kept",
                for_sender="Too many submissions wait for the gateway's database; this one was not kept.",
            )
            self._take_oldest().fail(error)

    def _oldest(self) -> _Waiting:
        return next(iter(self._waiting.values()))

    def _take_oldest(self) -> _Waiting:
        return self._waiting.popitem(last=False)[1]

    async def _keep(self, batch: Sequence[_Waiting], tasks: asyncio.TaskGroup) -> None:
        """Keep a batch and answer all of it, those that are new when they were announced."""
        try:
            receipts = await self._store.add([waiting.submission for waiting in batch])
        except UnavailableError as error:
            for waiting in batch:
                waiting.fail(error.again())
        except Exception as error:  # noqa: BLE001 - a defect that one submission met must not fail the others
            await self._keep_alone(batch, error, tasks)
        else:
            failpoint.reach("after-commit-before-publish")
            await self._answer(batch, receipts, tasks)

    async def _keep_alone(
        self, batch: Sequence[_Waiting], error: Exception, tasks: asyncio.TaskGroup
    ) -> None:
        if len(batch) == 1:
            batch[0].fail(error)
            return
        for waiting in batch:
            await self._keep([waiting], tasks)

    async def _answer(
        self, batch: Sequence[_Waiting], receipts: Sequence[Receipt], tasks: asyncio.TaskGroup
    ) -> None:
        new = []
        for waiting, receipt in zip(batch, receipts, strict=True):
            if receipt.is_new:
                new.append((waiting, receipt))
            else:
                waiting.succeed(receipt)
        if new:
            await self._unconfirmed.acquire()
            tasks.create_task(self._announce(new))  # the next batch need not wait for the broker

    async def _announce(self, new: Sequence[tuple[_Waiting, Receipt]]) -> None:
        """Announce these, and answer who waits, whether or not the broker has it."""
        try:
            await self.announce([(receipt.key, waiting.submission.traceparent) for waiting, receipt in new])
        finally:
            self._unconfirmed.release()
            for waiting, receipt in new:
                waiting.succeed(receipt)

    async def _published(
        self, kept: Sequence[tuple[EcgKey, str | None]]
    ) -> Sequence[UnroutableError | UnavailableError | None]:
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                return await self._publisher.publish(_events(kept, await self._installation.source()))
        except TimeoutError:
            return [UnavailableError(f"no answer from the broker within {self._publish_timeout_s:g} s")]
        except UnavailableError as error:
            return [error]


def _events(kept: Sequence[tuple[EcgKey, str | None]], source: str) -> list[Event]:
    now = datetime.now(UTC)
    pages = [kept[first : first + MAX_ECGS_PER_EVENT] for first in range(0, len(kept), MAX_ECGS_PER_EVENT)]
    return [
        submitted([key for key, _ in page], source=source, now=now, traceparent=page[0][1]) for page in pages
    ]


@asynccontextmanager
async def open_intake(
    *, store: EcgStore, publisher: Publisher, installation: Installation, publish_timeout_s: float
) -> AsyncIterator[Intake]:
    """Yield an intake that takes in for as long as the context is open."""
    intake = Intake(
        store=store, publisher=publisher, installation=installation, publish_timeout_s=publish_timeout_s
    )
    async with running(intake.run, "taking submissions in"):
        yield intake
