"""ECGs, their signals and what was found in them, as the services ask storage for them."""

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
    """Where an ECG stands; the last two are terminal for its generation."""

    QUEUED = "queued"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Submission:
    """An ECG on its way in, and whose it is."""

    owner: str
    ecg: Ecg
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingSubmission:
    """A recording on its way in, and whose it is."""

    owner: str
    recording: Recording
    traceparent: str | None = None


class Receipt(NamedTuple):
    """What became of a submission.

    Attributes:
        key: The ECG under which it is kept.
        status: Where that ECG stands.
        is_new: False when the same content was there already.
        is_conflict: True when other content holds the id; nothing was stored.
    """

    key: EcgKey
    status: Status
    is_new: bool = False
    is_conflict: bool = False


class EcgState(NamedTuple):
    """An ECG as its owner sees it: ``document`` when completed, ``error`` when failed.

    While an ECG that was finished is analysed again, its last finished generation is shown.

    Attributes:
        generation: The one that is shown.
        completed_at: When that was completed or failed; None where it is queued, or nobody kept it.
        date: When the ECG was recorded, as sent; its rate and unit, too, are those of the submission.
        reanalysis: Where the generation behind the one that is shown stands; None if there is none.
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
        """Whether nothing of it is queued."""
        return self.status is not Status.QUEUED and self.reanalysis is None


class Claim(NamedTuple):
    """The right to analyse one queued ECG, already counted as an attempt.

    Attributes:
        row: The store's own handle.
        attempt: 1 for the first.
        num_samples: What loading it will cost.
    """

    row: int
    key: EcgKey
    attempt: int
    num_samples: int
    traceparent: str | None


class StoredEcg(Protocol):
    """An ECG as it lies in storage, read but not decoded yet."""

    def decoded(self) -> Ecg:
        """The ECG, by work that no event loop should do for many samples.

        Raises:
            InvalidEcgError: What is stored can't be read.
        """


class Claims(NamedTuple):
    """What came of asking for queued ECGs.

    Attributes:
        claimed: Those that were.
        tried_before: Those that were not, because they were tried before.
        loaded: The signals of some that were claimed; the others are to be loaded.
    """

    claimed: list[Claim]
    tried_before: list[EcgKey]
    loaded: dict[EcgKey, StoredEcg]


class Settlement(NamedTuple):
    """How a claim ended, and the event that tells of it: ``document`` or ``error``, never both.

    Attributes:
        document: What `Insights.document` gave.
        series: What is kept beside the document, apart from it.
    """

    claim: Claim
    event: Event
    document: Mapping[str, JsonValue] | None = None
    error: str | None = None
    series: Sequence[Series] = ()


class EcgStore(Protocol):
    """ECGs, their signals and what was found in them. Every method raises UnavailableError."""

    async def prepare(self, submission: Submission) -> Submission:
        """The same submission with the work done that adding it takes, off the event loop if it is much.

        Nothing is kept yet. Adding what was not prepared works as well and takes longer.
        """

    async def add(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Keep each submission, or none of it; one receipt per submission, in order.

        What is new is queued and due for the relay a little later, whether or not its event gets out.

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
        """Count an attempt for each of these that is still queued, and say what it is.

        One that has an attempt behind it is named and not claimed, unless ``tried_before`` asks for such.
        Claiming again with the same ``claim_id`` counts nothing more. What is finished, erased, unknown or
        of another generation is left out: there is nothing to do.

        The first are loaded with it, as far as they have no more than ``load_samples`` together.
        """

    async def count_queued(self, limit: int) -> int:
        """How many ECGs are queued; counting stops at the limit."""

    async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
        """The claimed ECGs with their signals; what was erased is left out."""

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        """Make each ECG terminal and put its event into the outbox: both or neither.

        An ECG that is no longer queued in this generation is left as it is.

        Returns:
            The events of those that this call made terminal.
        """

    async def postpone(self, keys: Collection[EcgKey], *, delay_s: float) -> None:
        """Leave these queued and let the relay offer them again after the delay."""


class RecordingStore(Protocol):
    """ECGs that are stored in parts, for their length; kept, they are ECGs like any other."""

    async def add(self, submission: RecordingSubmission) -> Receipt:
        """Keep the recording whole, or nothing of it; the same content makes the same ECG as in `EcgStore`.

        It is queued and due for the relay a while later, as with `EcgStore.add`.

        Raises:
            UnavailableError: The outcome is unknown. Adding the same again is safe.
        """
