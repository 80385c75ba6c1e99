"""Submit an ECG: store it first, then announce it; an unavailable broker delays only the announcement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.errors import ConflictError
from shared.observability.tracing import now_ns, record_spans
from shared.runtime import failpoint

if TYPE_CHECKING:
    from gateway.ecgs.backlog import Backlog
    from gateway.ecgs.submission_batcher import SubmissionBatcher
    from shared.ports.ecgs import Receipt, RecordingStore, RecordingSubmission, Submission


async def submit(submission: Submission, *, batcher: SubmissionBatcher, backlog: Backlog) -> Receipt:
    """Store an ECG and announce it; the same content again changes nothing and returns its present status.

    Once this returns, the ECG is safe: if it could not be announced in time, the relay will do it.

    Raises:
        ConflictError: The owner has another ECG of this id.
        UnavailableError: It may have been stored, or too many are queued. Submitting the same again is safe.
    """
    backlog.check()
    return _check_no_conflict(await batcher.submit(submission))


async def submit_recording(
    submission: RecordingSubmission, *, store: RecordingStore, batcher: SubmissionBatcher, backlog: Backlog
) -> Receipt:
    """As `submit`, for an ECG that is stored in parts and not in a batch."""
    backlog.check()
    began_ns = now_ns()
    receipt = await store.add(submission)
    record_spans("commit", [submission.traceparent], began_ns=began_ns)
    failpoint.reach("after-commit-before-publish")
    if receipt.is_new:
        await batcher.announce([(receipt.key, submission.traceparent)])
    return _check_no_conflict(receipt)


def _check_no_conflict(receipt: Receipt) -> Receipt:
    if receipt.is_conflict:
        raise ConflictError("You have another ECG of this id already, with other content.")
    return receipt
