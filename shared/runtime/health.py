"""`/health/live` and `/health/ready`, the same in every service.

Each part of a service is checked once a second, with or without requests: a request gets the last result, and
the log and ``since`` give the time of a change even without a probe. An outage is logged once per reason,
here or where it was noticed first; so are the loss and the return of readiness.
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
from shared.runtime.supervision import background_task, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Check: TypeAlias = Callable[[], Awaitable[None]]
"""Returns if its part is ready for work, else raises an IsolineError that says why not."""

_CHECK_EVERY_S: Final = 1.0
_CHECK_TIMEOUT_S: Final = 3.0

_log = Logger(__name__)


class State(StrEnum):
    """The state of a part."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPart:
    """A dependency or capability of a service.

    Attributes:
        check: Raises while it does not work.
        impact: The consequence for users while it does not work, in a sentence.
        fails_after_s: Time for which it is degraded, with the service still ready, before it is failing;
            ``math.inf`` if the service can do without it.
        is_in_memory: The check does no I/O, so that each request runs it too.
        is_logged: Whether every change is logged here; else only reasons that were not logged elsewhere. The
            owner of a connection logs why it fails, but not that a check had no answer.
    """

    check: Check
    impact: str
    fails_after_s: float = 0.0
    is_in_memory: bool = False
    is_logged: bool = True


def sync_check(check: Callable[[], None]) -> Check:
    """A check made of a function that does no I/O."""

    async def run() -> None:
        check()

    return run


def health_part_of_process(stop_requested: asyncio.Event) -> HealthPart:
    """The process itself, which takes no more work after a stop request."""
    return HealthPart(
        check=partial(check_not_stopping, stop_requested),
        impact="This process finishes what it has in hand; others take what is new.",
        is_in_memory=True,
        is_logged=False,
    )


class Readiness(NamedTuple):
    """Whether a service is ready, the document with the state of each part, and which parts work."""

    is_ready: bool
    document: Mapping[str, object]
    parts_ok: Mapping[str, bool]

    @property
    def status(self) -> HTTPStatus:
        """The status of the response."""
        return HTTPStatus.OK if self.is_ready else HTTPStatus.SERVICE_UNAVAILABLE


LIVE: Final = {"status": "live"}
"""The document of a service whose event loop runs."""


class Health:
    """The health of a service.

    Args:
        parts: Of the service, by name.
    """

    def __init__(self, parts: Mapping[str, HealthPart]) -> None:
        self._parts = [_WatchedHealthPart(name, part, self._log_readiness) for name, part in parts.items()]
        self._unready_since_s: float | None = None
        self._last_unready_s = 0.0
        self._ready_s = 0.0  # the first check after it that found it ready

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Check each part every second while the context is open; a slow check delays no other."""
        async with AsyncExitStack() as stack:
            for part in self._parts:
                await stack.enter_async_context(background_task(part.watch, f"watching {part.name}"))
            yield

    def _log_readiness(self) -> None:
        """Log that the service is not ready, and that it is ready again after 16 s without a failing part."""
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
        """Ready if no part is failing; else the document has the reason of each failing part."""
        for part in self._parts:
            await part.refresh()
        reasons = {part.name: part.reason for part in self._parts if part.state is State.FAILING}
        document: dict[str, object] = {"status": "not ready" if reasons else "ready"}
        if reasons:
            document["reasons"] = reasons
        document["parts"] = {part.name: part.document() for part in self._parts}
        return Readiness(not reasons, document, {part.name: part.state is State.OK for part in self._parts})


@asynccontextmanager
async def open_health(parts: Mapping[str, HealthPart]) -> AsyncIterator[Health]:
    """Yield the health of a service whose parts are checked while the context is open."""
    health = Health(parts)
    async with health.watching():
        yield health


class _WatchedHealthPart:
    """A part, the result of its last check, and since when that has been so."""

    def __init__(self, name: str, part: HealthPart, on_check: Callable[[], None]) -> None:
        self.name = name
        self.state = State.OK
        self.reason = ""
        self._part = part
        self._on_check = on_check
        self._is_logged_now = False
        self._since = datetime.now(UTC)
        self._failed_since_s: float | None = None  # by the monotonic clock
        self._was_checked = asyncio.Event()

    def document(self) -> dict[str, object]:
        document: dict[str, object] = {"state": self.state, "since": self._since}
        if self.state is not State.OK:
            document |= {"reason": self.reason, "means": self._part.impact}
        return document

    async def watch(self) -> None:
        while True:
            await self._check()
            await asyncio.sleep(_CHECK_EVERY_S)

    async def refresh(self) -> None:
        """Return when its last result is at most a second and a check's time limit old."""
        if self._part.is_in_memory:
            await self._check()
        else:
            await self._was_checked.wait()

    async def _check(self) -> None:
        before, (self.reason, is_logged) = self.state, await _reason(self._part)
        self.state = self._next_state()
        if State.OK in {before, self.state} and before is not self.state:
            self._since = datetime.now(UTC)
        self._log_change(before, is_logged_elsewhere=is_logged and not self._part.is_logged)
        self._on_check()
        self._was_checked.set()

    def _next_state(self) -> State:
        if not self.reason:
            self._failed_since_s = None
            return State.OK
        now_s = time.monotonic()
        if self._failed_since_s is None:
            self._failed_since_s = now_s
        return State.FAILING if now_s - self._failed_since_s >= self._part.fails_after_s else State.DEGRADED

    def _log_change(self, before: State, *, is_logged_elsewhere: bool) -> None:
        if self.state is State.OK:
            if self._is_logged_now:
                _log.info("a part of the service works again", part=self.name)
            self._is_logged_now = False
        elif not is_logged_elsewhere and not (self._is_logged_now and before is self.state):
            self._is_logged_now = True
            _log.warning(
                "a part of the service does not work",
                part=self.name,
                state=self.state,
                reason=self.reason,
                means=self._part.impact,
            )


async def _reason(part: HealthPart) -> tuple[str, bool]:
    """Why a check fails, empty if it passes; and whether that was logged elsewhere.

    A defect in a check is such a reason too; it never ends the process.
    """
    try:
        if part.is_in_memory:
            await part.check()
        else:
            await within(_CHECK_TIMEOUT_S, part.check())
    except IsolineError as error:
        return str(error) or type(error).__name__, isinstance(error, UnavailableError) and error.is_logged
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} s", False
    except Exception as error:  # noqa: BLE001 - after any error the part can't be relied on
        return f"the check failed: {type(error).__name__}: {error}", False
    return "", False
