"""`/health/live` and `/health/ready`, the same in every service.

Each part of a service is checked once a second, whether or not anybody asks: a request reads what was found
last, and the log and ``since`` tell when something began although no probe came by. Of an outage the log has
each reason once, from here or from what met it first, and once that the service is not ready and is again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from shared.domain.errors import IsolineError, UnavailableError
from shared.observability.logs import Logger
from shared.runtime import outages
from shared.runtime.process import check_not_stopping
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when what it checks is ready for work, else raises an IsolineError that says why not."""

_CHECK_EVERY_S: Final = 1.0
_CHECK_TIMEOUT_S: Final = 3.0

_log = Logger(__name__)


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that a service needs for its work.

    Attributes:
        check: Tells whether it works.
        means: What it means for users while it does not, in a sentence.
        fails_after_s: For so long after it stopped to work it is degraded, and the service is ready all the
            same; from then on it is failing. ``math.inf`` where the service can do without it.
        is_free: The check asks nobody else; each request has it asked besides.
        is_logged: Whether the log is told of each of its changes; else only of reasons that it was not told:
            what knows the connections logs why they fail, but not that a check had no answer.
    """

    check: Check
    means: str
    fails_after_s: float = 0.0
    is_free: bool = False
    is_logged: bool = True


def without_waiting(check: Callable[[], None]) -> Check:
    """The check of a part by what is known in memory."""

    async def run() -> None:
        check()

    return run


def part_of_process(stop_requested: asyncio.Event) -> Part:
    """The process itself, which takes no more work after a stop request."""
    return Part(
        check=partial(check_not_stopping, stop_requested),
        means="This process finishes what it has in hand; others take what is new.",
        is_free=True,
        is_logged=False,
    )


class Readiness(NamedTuple):
    """Whether a service is ready, and the document that says so of each of its parts."""

    is_ready: bool
    document: Mapping[str, object]

    @property
    def status(self) -> HTTPStatus:
        """The status that answers with the document."""
        return HTTPStatus.OK if self.is_ready else HTTPStatus.SERVICE_UNAVAILABLE


LIVE: Final = {"status": "live"}
"""The document of a service whose event loop turns."""


class Health:
    """Knows whether a service is ready.

    Args:
        parts: What it needs, by name.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = [_Watched(name, part, self._tell_readiness) for name, part in parts.items()]
        self._unready_since_s: float | None = None
        self._last_unready_s = 0.0
        self._ready_s = 0.0  # the first time after it

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Inside, each part is checked every second; one that takes long holds up no other."""
        async with AsyncExitStack() as stack:
            for part in self._parts:
                await stack.enter_async_context(background_task(part.watch, f"watching {part.name}"))
            yield

    def _tell_readiness(self) -> None:
        """Log that the service is not ready, and that it is again once it has been so for some seconds."""
        now_s = time.monotonic()
        failing = [part.name for part in self._parts if part.state is State.FAILING]
        if failing:
            if self._unready_since_s is None:
                self._unready_since_s = now_s
                _log.warning("not ready", parts=failing)
            self._last_unready_s = self._ready_s = now_s
        elif self._unready_since_s is not None:
            if self._ready_s == self._last_unready_s:
                self._ready_s = now_s
            if now_s - self._last_unready_s >= outages.QUIET_S:
                _log.info("ready again", lasted_s=round(self._ready_s - self._unready_since_s, 1))
                self._unready_since_s = None

    async def readiness(self) -> Readiness:
        """Ready if no part is failing; else the document has the reason of each that is."""
        for part in self._parts:
            await part.be_current()
        reasons = {part.name: part.reason for part in self._parts if part.state is State.FAILING}
        document: dict[str, object] = {"status": "not ready" if reasons else "ready"}
        if reasons:
            document["reasons"] = reasons
        document["parts"] = {part.name: part.document() for part in self._parts}
        return Readiness(not reasons, document)


@asynccontextmanager
async def open_health(parts: Mapping[str, Part]) -> AsyncIterator[Health]:
    """Yield the health of a service whose parts are watched for as long as the context is open."""
    health = Health(parts)
    async with health.watching():
        yield health


class _Watched:
    """A part, how it was found last, and since when it has been so."""

    def __init__(self, name: str, part: Part, tell: Callable[[], None]) -> None:
        self.name = name
        self.state = State.OK
        self.reason = ""
        self._part = part
        self._tell = tell
        self._is_told = False
        self._since = datetime.now(UTC)
        self._stopped_s: float | None = None  # when it stopped to work, by the monotonic clock
        self._was_checked = asyncio.Event()

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {"state": self.state, "since": self._since}
        if self.state is not State.OK:
            document |= {"reason": self.reason, "means": self._part.means}
        return document

    async def watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_CHECK_EVERY_S)

    async def be_current(self) -> None:
        """Return when what is known of it is at most a check and its time limit old."""
        if self._part.is_free:
            await self._look()
        else:
            await self._was_checked.wait()

    async def _look(self) -> None:
        before, (self.reason, is_logged) = self.state, await _reason(self._part.check)
        self.state = self._judge()
        if State.OK in {before, self.state} and before is not self.state:
            self._since = datetime.now(UTC)
        self._log_change(before, is_told_elsewhere=is_logged and not self._part.is_logged)
        self._tell()
        self._was_checked.set()

    def _judge(self) -> State:
        if not self.reason:
            self._stopped_s = None
            return State.OK
        now_s = time.monotonic()
        if self._stopped_s is None:
            self._stopped_s = now_s
        return State.FAILING if now_s - self._stopped_s >= self._part.fails_after_s else State.DEGRADED

    def _log_change(self, before: State, *, is_told_elsewhere: bool) -> None:
        if self.state is State.OK:
            if self._is_told:
                _log.info("a part of the service works again", part=self.name)
            self._is_told = False
        elif not is_told_elsewhere and not (self._is_told and before is self.state):
            self._is_told = True
            _log.warning(
                "a part of the service does not work",
                part=self.name,
                state=self.state,
                reason=self.reason,
                means=self._part.means,
            )


async def _reason(check: Check) -> tuple[str, bool]:
    """Why a check does not pass, nothing if it does; and whether the log was told of that elsewhere.

    A defect in a check is such a reason, and never the end of the process.
    """
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except IsolineError as error:
        return str(error) or type(error).__name__, isinstance(error, UnavailableError) and error.is_logged
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} s", False
    except Exception as error:  # noqa: BLE001 - whatever it is, the part can't be relied on
        return f"the check failed: {type(error).__name__}: {error}", False
    return "", False
