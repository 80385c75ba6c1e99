"""Requests with the state that middleware and guards add: client address, caller, trace, route, memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import hdrs, web

from gateway.http.memory.body_memory import BodyMemory
from gateway.http.problems import CLOSE, ProblemError
from gateway.http.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.caller import Caller
    from gateway.http.memory.body_memory import BodyMemoryBudget


_JSON: Final = "application/json"
_MAX_TYPE_LENGTH: Final = 256
_NO_PARAMETERS: Final[Mapping[str, str]] = {}


async def _allow(_: Request) -> None:
    pass


class Request(web.BaseRequest):
    """A request and its state.

    The state is in attributes: aiohttp's dictionary beside a request costs two calls for each access.

    Attributes:
        refusal: The problem to answer with instead of calling a handler.
        address: The client address, see `gateway.http.client_address`.
        traceparent: The trace context of its span, which its row and its events carry on.
        route: The path template of its route, once that is found.
        parameters: The values of the path's parameters.
        peeked: The beginning of its body, if that was read to detect the format.
        rate_limit_policies: The limits that it was counted against, and
        rate_limits_left: what is left of them, both as in draft-ietf-httpapi-ratelimit-headers-10.
        log_fields: Fields of its log record that its handler knows.
        is_disconnected: Whether its client has closed the connection.
        cancellable: What is cancelled when it does.
        authorize: Returns if the caller of the given request may still do this, else raises; for responses
            that last. It holds no request: a cycle would keep each one until the next collection.
    """

    refusal: ProblemError | None = None
    address = traceparent = ""
    route: str | None = None
    parameters: Mapping[str, str] = _NO_PARAMETERS
    peeked = b""
    rate_limit_policies = rate_limits_left = ""
    log_fields: Mapping[str, Any] = _NO_PARAMETERS
    authorize: Callable[[Request], Awaitable[None]] = staticmethod(_allow)
    is_disconnected = False
    cancellable: asyncio.Task[Any] | None = None
    _caller: Caller | None = None
    _memory_budget: BodyMemoryBudget | None = None
    _memory: BodyMemory | None = None

    @property
    def content_type(self) -> str:
        """The media type of the body; the most frequent one is not parsed.

        Raises:
            ProblemError: 415, it is too long: the time to parse it grows with the square of its length.
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
        """The authenticated caller, on a route that requires a role."""
        if self._caller is None:
            raise LookupError("the route requires no role")
        return self._caller

    @caller.setter
    def caller(self, caller: Caller) -> None:
        self._caller = caller

    @property
    def memory(self) -> BodyMemory:
        """The memory of its body, counted for its caller or, without one, for its address."""
        if self._memory is None:
            if self._memory_budget is None:
                raise LookupError("the route takes no body")
            # The slash tells addresses from accounts, whose names have none.
            caller = self._caller.name if self._caller else f"/{self.address}"
            self._memory = BodyMemory(self._memory_budget, caller)
        return self._memory

    def use_memory_budget(self, budget: BodyMemoryBudget) -> None:
        """Count the memory of its body in this budget."""
        self._memory_budget = budget

    @property
    def has_body_memory(self) -> bool:
        """Whether memory was counted for its body, which small ones don't need."""
        return self._memory is not None

    def release_memory(self) -> None:
        """Release the memory of its body."""
        if self._memory is not None:
            self._memory.release()

    def disconnect(self) -> None:
        """Note that the client has disconnected, and cancel work in `while_connected`."""
        self.is_disconnected = True
        if self.cancellable is not None:
            self.cancellable.cancel()

    def while_connected(self) -> WhileConnected:
        """Cancel the work inside as soon as the client disconnects.

        Raises:
            ProblemError: 400, the client has disconnected; it appears in the log only.
        """
        return WhileConnected(self)

    def add_rate_limit(self, policy: str, left: str) -> None:
        """Add a rate limit to the response's headers: its policy and what is left of it."""
        separator = ", " if self.rate_limit_policies else ""
        self.rate_limit_policies += separator + policy
        self.rate_limits_left += separator + left


class WhileConnected:
    """The context of `Request.while_connected`; a generator would take three times as long."""

    __slots__ = ("_request", "_task")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        request = self._request
        if request.is_disconnected or request.transport is None:
            raise _client_disconnected()
        self._task = request.cancellable = asyncio.current_task()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._request.cancellable = None
        if not (isinstance(error, asyncio.CancelledError) and self._request.is_disconnected):
            return
        # One that is still being cancelled is so for another reason too.
        if self._task is not None and self._task.uncancel() == 0:
            raise _client_disconnected() from None


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Responds to a request."""


def _client_disconnected() -> ProblemError:
    detail = "The connection was lost before the response."
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)
