"""Take an ECG in: keep it first, then tell the processors, and let nobody wait for the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.errors import ConflictError

if TYPE_CHECKING:
    from gateway.backlog import Backlog
    from gateway.intake import Intake
    from shared.ports import Receipt, Submission


async def submit(submission: Submission, *, intake: Intake, backlog: Backlog) -> Receipt:
    """Keep an ECG and announce it; the same content again changes nothing and says where it stands.

    Once this returns, the ECG is safe: if it could not be announced in time, the relay will do it.

    Raises:
        ConflictError: The owner has another ECG of this id.
        UnavailableError: It may have been kept, or too many are queued. Submitting the same again is safe.
    """
    backlog.check()
    receipt = await intake.take(submission)
    if receipt.is_conflict:
        raise ConflictError("You have another ECG of this id already, with other content.")
    return receipt
