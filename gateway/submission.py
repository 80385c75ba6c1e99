"""Take an ECG in: keep it first, then tell the processors, and let nobody wait for the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from shared import failpoint
from shared.domain.errors import ConflictError, UnavailableError
from shared.events import submitted

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.backlog import Backlog
    from gateway.intake import Intake
    from shared.ports import Publisher, Receipt, RecordingStore, RecordingSubmission, Submission

_log = structlog.get_logger(__name__)


async def submit(submission: Submission, *, intake: Intake, backlog: Backlog) -> Receipt:
    """Keep an ECG and announce it; the same content again changes nothing and says where it stands.

    Once this returns, the ECG is safe: if it could not be announced in time, the relay will do it.

    Raises:
        ConflictError: The owner has another ECG of this id.
        UnavailableError: It may have been kept, or too many are queued. Submitting the same again is safe.
    """
    backlog.check()
    return _told(await intake.take(submission))


async def submit_recording(
    submission: RecordingSubmission,
    *,
    store: RecordingStore,
    publisher: Publisher,
    publish_timeout_s: float,
    backlog: Backlog,
    now: datetime,
) -> Receipt:
    """The same as `submit`, for an ECG that is too long for memory and so is taken in by itself."""
    backlog.check()
    receipt = await store.add(submission)
    failpoint.reach("after-commit-before-publish")
    if receipt.is_new:
        event = submitted([receipt.key], now=now, traceparent=submission.traceparent)
        try:
            async with asyncio.timeout(publish_timeout_s):
                [failure] = await publisher.publish([event])
        except TimeoutError:
            failure = UnavailableError(f"no answer from the broker within {publish_timeout_s:g} s")
        if failure is not None:
            _log.warning("an ECG was kept but not announced; the relay will", reason=str(failure))
    return _told(receipt)


def _told(receipt: Receipt) -> Receipt:
    if receipt.is_conflict:
        raise ConflictError("You have another ECG of this id already, with other content.")
    return receipt
