"""What the services need of storage and broker, in the domain's words.

The promises are made here, once; `tests/contracts` holds every adapter to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from shared.domain.account import Account, Role
    from shared.domain.ecg import Ecg
    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.domain.findings import JsonValue, Series
    from shared.domain.recording import Recording
    from shared.events import Bundle, EcgKey, Event


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

    async def settle(self, settlements: Sequence[Settlement]) -> Bundle:
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


class EcgSummary(NamedTuple):
    """An ECG in its owner's list: what `EcgState` says of it, in short."""

    id: str
    status: Status
    submitted_at: datetime
    reanalysis: Status | None = None


class Place(NamedTuple):
    """Where a page of a list ended: what its last ECG is ordered by."""

    submitted_at: datetime
    id: str


class OwnedEcgs(Protocol):
    """ECGs as their owner asks for them. Every method raises UnavailableError."""

    async def page(
        self, owner: str, *, limit: int, after: Place | None = None, status: Status | None = None
    ) -> list[EcgSummary]:
        """The owner's ECGs, newest first, from the newest or from behind a place on; at most ``limit``.

        With a ``status``, those whose present generation stands so: what is analysed again counts as queued.
        Following the places gives each ECG that is there throughout exactly once, whatever comes and goes.
        """

    async def erase(self, owner: str, ecg_id: str, *, event_of: Callable[[EcgKey], Event]) -> Bundle | None:
        """Erase an ECG with its signals and insights and put its event into the outbox: both or neither.

        A processor that has it in hand settles nothing. The id may be submitted again; its generation goes
        on from where it was, so that no event of the one is taken for the other's.

        Returns:
            The event, as it is in the outbox; None when there is no such ECG.
        """


class AccountChanges(NamedTuple):
    """What became of accounts lately.

    Attributes:
        versions: Those of the accounts that changed or ended, by name.
        now_s: The store's time as it answered, in seconds since 1970: one clock for all who share the store.
    """

    versions: Mapping[str, int]
    now_s: float


class AccountStore(Protocol):
    """Accounts. Every method raises UnavailableError."""

    async def add(self, account: Account) -> bool:
        """Keep the account unless the name is taken or ever was; whether it was kept."""

    async def find(self, name: str) -> Account | None:
        """The account of that name; None also when it was deleted."""

    async def page(self, *, limit: int, after: str = "") -> list[Account]:
        """Accounts in the order of their names, those behind ``after``, at most ``limit``."""

    async def set_roles(self, name: str, roles: Collection[Role]) -> bool:
        """Give the account these roles and end its tokens and logins; whether there is such an account.

        Raises:
            ConflictError: It is the last administrator and would be none.
        """

    async def set_password(self, name: str, password_hash: str) -> bool:
        """Change the password and end the account's tokens and logins; whether there is such an account."""

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Keep a new hash of the same password, unless the password has changed meanwhile."""

    async def delete(self, name: str) -> bool:
        """End the account, its tokens and logins for ever; whether there was one. Its ECGs stay.

        Raises:
            ConflictError: It is the last administrator.
        """

    async def recent_changes(self) -> AccountChanges:
        """The accounts that changed or ended within the last three hours, and what time it is there.

        That is longer than a token lives, also where the clock was two hours wrong.
        """


@dataclass(frozen=True, slots=True)
class Login:
    """A login that a refresh token continues.

    Attributes:
        id: Stays the same while the refresh token changes.
        token_hash: Of the refresh token's secret that is good for one use.
        lifetime_s: How long the login can be continued, from its beginning.
    """

    id: UUID
    account: Account
    token_hash: bytes
    lifetime_s: int


class LoginStore(Protocol):
    """Logins and what continues them. Every method raises UnavailableError."""

    async def add(self, login: Login) -> None:
        """Keep a login; the account's oldest beyond a hundred end."""

    async def turn(self, login_id: UUID, *, spent: bytes, fresh: bytes) -> Account | None:
        """Spend one token hash for the next; of several who try at once, one succeeds.

        Whatever does not fit ends the login: a hash that was spent before, an account that has changed
        since, or time.

        Returns:
            The account as it is now; None when the login has ended.
        """

    async def end(self, login_id: UUID) -> None:
        """No token continues this login any more, if there ever was one."""


class Installation(Protocol):
    """All services and data that belong together, as others tell them from those of another installation."""

    async def source(self) -> str:
        """What its events name as their source: always the same, and no other installation's.

        Raises:
            UnavailableError: It is not known yet.
        """


class Outbox(Protocol):
    """What still has to be told. Every method raises UnavailableError."""

    async def take_due_ecgs(self, limit: int) -> list[EcgKey]:
        """Queued ECGs whose due time has passed; their due time moves out, doubling each time.

        A due time that lies further ahead than any that is given out has passed too: a clock was set back.
        """

    async def put_back(self, keys: Collection[EcgKey]) -> None:
        """Undo the taking of these: they could not be published and are due again shortly."""

    async def take_due_events(self, limit: int) -> list[Bundle]:
        """Events whose due time has passed, as `take_due_ecgs` understands it; it moves out likewise.

        The bundle that reaches the limit is the last.
        """

    async def clear(self, bundle_ids: Collection[UUID]) -> None:
        """Forget these bundles: the broker has their events."""

    async def narrow(self, bundle: Bundle) -> None:
        """Forget all of a bundle but these events, unless fewer are left: the broker has the others."""

    async def drop_unheard(self, bundle_ids: Collection[UUID]) -> int:
        """Forget those of these bundles that nobody was bound to for longer than the grace.

        Returns:
            How many events they had.
        """


class Publisher(Protocol):
    """A way to the broker."""

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        """Hand over each event; one outcome per event, in order, within a bounded time.

        None: the broker has taken responsibility. UnroutableError: no queue is bound to its type.
        UnavailableError: unknown; publishing it again is safe, readers deduplicate by its id.
        """

    async def check(self) -> None:
        """Return if publishing can succeed now, at once in any case.

        Raises:
            UnavailableError: It can't, for this reason; `publish` would say so without a wait.
        """


class Delivery(Protocol):
    """One handing-over of a message. Exactly one of the three methods ends it.

    A delivery that is not ended, or whose ending can't be told to the broker, comes again.
    """

    @property
    def body(self) -> bytes:
        """The message as it was published."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery, more after each return."""

    async def ack(self) -> None:
        """Done: it will not come again."""

    async def requeue(self) -> None:
        """Give it back for another delivery."""

    async def dead_letter(self) -> None:
        """Put it aside for an operator: no delivery of it can succeed."""


class Consumer(Protocol):
    """The receiving end of one queue; comes back by itself after the broker was away."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for a delivery, then take what is waiting: between 1 and ``limit``, oldest first."""

    async def pause(self) -> list[Delivery]:
        """Take nothing more until `resume`; what was received can still be ended.

        Returns:
            What had come and nobody received, for the caller to end.
        """

    async def resume(self) -> None:
        """Take messages again, once the broker is there."""


class Reason(NamedTuple):
    """Who does something to production, and why."""

    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which finished ECGs are meant: those that every given condition fits."""

    id: str | None = None
    owner: str | None = None
    failed: bool = False
    since: datetime | None = None


class Operations(Protocol):
    """What operators do to finished ECGs, and the record of it. Every method raises UnavailableError."""

    async def now(self) -> datetime:
        """What time it is by the clock that says when an ECG was finished."""

    async def count(self, selection: Selection) -> int:
        """How many finished ECGs a selection means."""

    async def replay(
        self, selection: Selection, reason: Reason, *, finished_before: datetime, limit: int
    ) -> list[EcgKey]:
        """Queue selected ECGs again, in their next generation and due at once, and record it, or neither.

        At most ``limit`` of those that were finished before that time. One that is queued is left alone.
        """

    async def record(self, what: str, subject: JsonValue, reason: Reason) -> None:
        """Keep that an operator is about to do this."""


class Fate(Enum):
    """What an operator decides about a dead letter."""

    KEEP = auto()
    REPLAY = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that the processors, or the broker for them, put aside.

    Attributes:
        name: What an operator calls it: the same each time it is looked at.
        reason: Why the broker put it here: ``rejected``, ``delivery_limit``.
    """

    name: str
    reason: str
    body: bytes


class DeadLetters(Protocol):
    """The messages that were put aside."""

    async def go_through(self, decide: Callable[[DeadLetter], Fate]) -> list[DeadLetter]:
        """Do with each letter that is there now what ``decide`` says; all of them, in their order.

        Raises:
            UnavailableError: The broker went away; what was not decided about is still there.
            UnroutableError: A letter can't be sent again, because no processor has declared its queue.
        """
