"""Storage of ECGs with their signals and results."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from shared.domain.ecg import Ecg
    from shared.domain.findings import JsonValue, Series
    from shared.domain.recording import Recording
    from shared.events import EcgKey, Event, EventBatch


class Status(StrEnum):
    """The status of an ECG; the last two are terminal for its generation."""

    QUEUED = "queued"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Submission:
    """An ECG to store, and its owner."""

    owner: str
    ecg: Ecg
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingSubmission:
    """A recording to store, and its owner."""

    owner: str
    recording: Recording
    traceparent: str | None = None


class Receipt(NamedTuple):
    """The outcome of a submission.

    Attributes:
        key: Of the stored ECG.
        status: Of the stored ECG.
        is_new: False if the same content was stored already.
        is_conflict: True if the id has other content; nothing was stored.
        age_s: How long ago its content was submitted first, by the store's clock.
    """

    key: EcgKey
    status: Status
    is_new: bool = False
    is_conflict: bool = False
    age_s: float = 0.0


class EcgState(NamedTuple):
    """An ECG as its owner sees it: ``document`` when completed, ``error`` when failed.

    While a finished ECG is analysed again, its last finished generation is shown.

    Attributes:
        generation: The one that is shown.
        completed_at: When it was completed or failed; None while it is queued, or if it was not recorded.
        date: When the ECG was recorded, as sent; rate and unit are those of the submission too.
        reanalysis: Status of the generation after the one that is shown; None if there is none.
    """

    id: str
    status: Status
    document: bytes | None
    error: str | None
    generation: int
    submitted_at: datetime
    completed_at: datetime | None = None
    date: str | None = None
    sampling_rate_hz: float | None = None
    unit: str | None = None
    reanalysis: Status | None = None

    @property
    def is_final(self) -> bool:
        """Whether no generation of it is queued."""
        return self.status is not Status.QUEUED and self.reanalysis is None


class Claim(NamedTuple):
    """The right to analyse one queued ECG, already counted as an attempt.

    Attributes:
        row: The store's own key.
        attempt: 1 for the first.
        num_samples: Of all leads together.
        stored_s: When the ECG was stored, by this process's monotonic clock.
    """

    row: int
    key: EcgKey
    attempt: int
    num_samples: int
    traceparent: str | None
    stored_s: float


def given_up_after(attempts: int) -> str:
    """Why an ECG failed that was tried so often without a result."""
    return f"Given up after {attempts} attempt{'' if attempts == 1 else 's'}."


def attempts_of_claims(claims: int, error: str | None) -> int:
    """How often an ECG was tried that was claimed so often: the claim that gives it up is no attempt."""
    return claims - 1 if error == given_up_after(claims - 1) else claims


class StoredEcg(Protocol):
    """An ECG that was read from storage but is not decoded yet."""

    def decode(self) -> Ecg:
        """The decoded ECG; with many samples, call it in a thread.

        Raises:
            InvalidEcgError: The stored data can't be read.
        """


class Claims(NamedTuple):
    """The outcome of claiming ECGs.

    Attributes:
        claimed: Claims of the queued ones.
        tried_before: Queued ones that were not claimed, because they were tried before.
        loaded: The signals of some claimed ones; the others must be loaded.
    """

    claimed: list[Claim]
    tried_before: list[EcgKey]
    loaded: dict[EcgKey, StoredEcg]


class Settlement(NamedTuple):
    """The result of a claim, and its event: ``document`` or ``error``, never both.

    Attributes:
        document: Made by `Insights.document`.
        series: Stored apart from the document.
    """

    claim: Claim
    event: Event
    document: Mapping[str, JsonValue] | None = None
    error: str | None = None
    series: Sequence[Series] = ()


class EcgStore(Protocol):
    """ECGs with their signals and results. Every method raises UnavailableError."""

    async def prepare(self, submission: Submission) -> Submission:
        """The same submission, encoded in advance, in a thread if it is large.

        Nothing is stored yet. An unprepared submission can be added too, which takes longer.
        """

    async def add(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Store each submission wholly or not at all; one receipt per submission, in order.

        A new one is queued and due for the relay a little later, whether or not its event is published.

        Raises:
            UnavailableError: The outcome is unknown. Adding the same again is safe.
        """

    async def find(self, owned: Sequence[tuple[str, str]]) -> dict[tuple[str, str], EcgState]:
        """The present state of each (owner, id) that exists.

        While a finished ECG is analysed again, it is the last finished one, with a `reanalysis` beside it.
        """

    async def claim(
        self, keys: Collection[EcgKey], *, claim_id: UUID, tried_before: bool = False, load_samples: int = 0
    ) -> Claims:
        """Count an attempt for each of these ECGs that is still queued, and return its claim.

        An ECG with an earlier attempt is returned in ``Claims.tried_before`` and not claimed, unless
        ``tried_before`` is set. Repeating a call with the same ``claim_id`` counts no second attempt. ECGs
        that are finished, erased, unknown or of another generation are left out. An earlier attempt that has
        no result by now is noted as such.

        The signals of the first ones are loaded too, up to ``load_samples`` together.
        """

    async def count_queued(self, limit: int) -> int:
        """The number of queued ECGs, counted up to the limit."""

    async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
        """The claimed ECGs with their signals, without those that were erased."""

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        """Make each ECG terminal and put its event into the outbox: both or neither.

        An ECG that is no longer queued in this generation is left as it is.

        Returns:
            The events of those that this call made terminal.
        """

    async def postpone(self, keys: Collection[EcgKey], *, delay_s: float, reason: str) -> None:
        """Leave these queued; the relay announces them again after the delay.

        Why their attempts failed is kept for their timelines.
        """


class RecordingStore(Protocol):
    """Adds ECGs that are so long that they are stored in parts; then they are ECGs like any other."""

    async def add(self, submission: RecordingSubmission) -> Receipt:
        """Store the recording wholly or not at all; equal content makes the same ECG as in `EcgStore`.

        It is queued and due for the relay a while later, as with `EcgStore.add`.

        Raises:
            UnavailableError: The outcome is unknown. Adding the same again is safe.
        """
