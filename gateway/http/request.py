"""Requests and what becomes known of them: who sends one, from where, which trace it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import hdrs, web

from gateway.http.bodies.body_memory import BodyMemory
from gateway.http.problems import CLOSE, ProblemError
from gateway.http.responses import Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.auth.access_tokens import Caller
    from gateway.http.bodies.body_memory import MemoryBudget


_JSON: Final = "application/json"
_MAX_TYPE_LENGTH: Final = 256
_NONE: Final[Mapping[str, str]] = {}


class Request(web.BaseRequest):
    """A request and all that becomes known of it.

    In attributes, because each look into the dictionary that aiohttp keeps beside a request is two calls.

    Attributes:
        refusal: Why it is answered with a problem before anything else of it is looked at.
        address: Where it comes from, as far as that can be believed.
        traceparent: The trace context of its span, which its row and its events carry on.
        route: Its path in the contract's words, once that is found.
        parameters: What stands in the place of the names in that path.
        begun: The beginning of its body, where that had to be looked at before somebody reads all of it.
        policies: The limits that it was counted against, and
        left: what is left of them, as draft-ietf-httpapi-ratelimit-headers-10 writes both.
    """

    refusal: ProblemError | None = None
    address = traceparent = ""
    route: str | None = None
    parameters: Mapping[str, str] = _NONE
    begun = b""
    policies = left = ""
    _caller: Caller | None = None
    _memory_budget: MemoryBudget | None = None
    _memory: BodyMemory | None = None
    _is_abandoned = False
    _waiting: asyncio.Task[Any] | None = None

    @property
    def content_type(self) -> str:
        """What the body is declared as; nearly all send the same, which need not be parsed.

        Raises:
            ProblemError: 415, it is longer than any type is: parsing takes time as the square of that.
        """
        declared = self.headers.get(hdrs.CONTENT_TYPE)
        if declared == _JSON:
            return _JSON
        if declared is not None and len(declared) > _MAX_TYPE_LENGTH:
            detail = f"The Content-Type may have {_MAX_TYPE_LENGTH} characters at most."
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
        return super().content_type

    @property
    def caller(self) -> Caller:
        """Who sends it to a route that asks for a role."""
        if self._caller is None:
            raise LookupError("the route asks nobody who they are")
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def memory(self) -> BodyMemory:
        """The memory that its body takes, in the name of its caller or, without one, of its address."""
        if self._memory is None:
            if self._memory_budget is None:
                raise LookupError("the route takes no body")
            # No account has a slash in its name.
            caller = self._caller.name if self._caller else f"/{self.address}"
            self._memory = BodyMemory(self._memory_budget, caller)
        return self._memory

    def may_take(self, budget: MemoryBudget) -> None:
        """Have its body take memory of this budget."""
        self._memory_budget = budget

    @property
    def takes_memory(self) -> bool:
        """Whether its body was large enough to be counted."""
        return self._memory is not None

    def let_go(self) -> None:
        """Take no memory any longer."""
        if self._memory is not None:
            self._memory.release()

    def abandon(self) -> None:
        """Note that its client has gone, and end what is done `while_connected`."""
        self._is_abandoned = True
        if self._waiting is not None:
            self._waiting.cancel()

    @contextmanager
    def while_connected(self) -> Iterator[None]:
        """Inside, wait or work for the answer only for as long as somebody is there to read it.

        Raises:
            ProblemError: 400, the client has gone, which nobody but the log will hear.
        """
        if self._is_abandoned or self.transport is None:  # it may have gone before this began
            raise _abandoned()
        task = self._waiting = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_abandoned or task is None or task.uncancel() > 0:
                raise  # somebody else asked for it too
            raise _abandoned() from None
        finally:
            self._waiting = None

    def note_rate_limit(self, policy: str, left: str) -> None:
        """Have the response name a rate limit that this was counted against, and what is left of it."""
        separator = ", " if self.policies else ""
        self.policies += separator + policy
        self.left += separator + left


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""What answers requests."""


def _abandoned() -> ProblemError:
    detail = "The connection was lost before the answer."
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)
