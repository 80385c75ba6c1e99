"""Take an ECG in: keep it first, then tell the processors, and let nobody wait for the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.errors import ConflictError
from shared.runtime import failpoint

if TYPE_CHECKING:
    from gateway.ecgs.backlog import Backlog
    from gateway.ecgs.submission_batcher import Intake
    from shared.ports.ecgs import Receipt, RecordingStore, RecordingSubmission, Submission


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
    submission: RecordingSubmission, *, store: RecordingStore, intake: Intake, backlog: Backlog
) -> Receipt:
    """The same as `submit`, for an ECG that is stored in parts and so is taken in by itself."""
    backlog.check()
    receipt = await store.add(submission)
    failpoint.reach("after-commit-before-publish")
    if receipt.is_new:
        await intake.announce([(receipt.key, submission.traceparent)])
    return _told(receipt)


def _told(receipt: Receipt) -> Receipt:
    if receipt.is_conflict:
        raise ConflictError("You have another ECG of this id already, with other content.")
    return receipt
