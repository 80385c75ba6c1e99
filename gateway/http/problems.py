"""Every error as RFC 9457 ``application/problem+json``: one format, built in one place."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from gateway.http.responses import Head, Response
from shared.domain.errors import (
    ConflictError,
    DeniedError,
    ForgottenError,
    InvalidEcgError,
    IsolineError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
)
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.domain.errors import Problem

CONTENT_TYPE: Final = "application/problem+json"
# Closes the connection: the unread rest of this body would be parsed as the next request.
CLOSE: Final = {"Connection": "close"}

_RETRY_AFTER_S: Final = "2"

_STATUS_OF: Final[Mapping[type[IsolineError], HTTPStatus]] = {
    ConflictError: HTTPStatus.CONFLICT,
    DeniedError: HTTPStatus.FORBIDDEN,
    ForgottenError: HTTPStatus.GONE,
    NotFoundError: HTTPStatus.NOT_FOUND,
}

# RFC 9110's names, which Python has from 3.13 on: a problem's type must not depend on the Python version.
_TITLES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}

# In orjson's messages for a number past the largest of 64 bits, for deep nesting, and for a lone surrogate.
_LIMITS_OF_JSON: Final = ("infinity", "depth limit", "surrogate in string")

_log = Logger(__name__)


class ProblemError(Exception):
    """An error response, raised in the HTTP layer.

    Attributes:
        status: The HTTP status.
        detail: What was found and what was expected, in a sentence for the client.
        errors: All that is wrong with the body, by JSON pointer.
        headers: Those that the status requires.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class NotJsonError(ProblemError):
    """The 400 for a body that is not JSON, or exceeds what a parser must accept (RFC 8259, 9).

    Attributes:
        reason: The parser's message.
        offset: The offset of the error in the body.
    """

    def __init__(self, reason: str, offset: int, *, location: str | None = None) -> None:
        what = "can't be read" if any(limit in reason for limit in _LIMITS_OF_JSON) else "is not JSON"
        detail = f"The body {what}: {reason}: {location or f'char {offset}'}."
        super().__init__(HTTPStatus.BAD_REQUEST, detail)
        self.reason: Final = reason
        self.offset: Final = offset


def unprocessable_body(problems: Sequence[Problem]) -> ProblemError:
    """The 422 with all problems of a body."""
    count = len(problems)
    detail = f"The body does not fit: {count} problem{'s' if count > 1 else ''}, see errors."
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=problems)


def unauthorized(detail: str) -> ProblemError:
    """The 401 with the scheme to authenticate by (RFC 9110, section 15.5.2)."""
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def error_response(error: Exception) -> Response:
    """Any exception as problem+json; an unexpected one is logged, and its response has no detail of it."""
    return problem_response(_problem(error))


def _problem(error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case IsolineError():
            return _isoline_problem(error)
        case _:
            _log.error("a request failed with an unexpected exception", exc_info=error)
            return _internal_server_error()


def _isoline_problem(error: IsolineError) -> ProblemError:
    match error:
        case InvalidEcgError():
            return unprocessable_body(error.problems)
        case UnavailableError():
            if not error.is_logged:
                _log.warning("a request could not be served", reason=str(error))
            return _unavailable(error)
        case RateLimitedError():
            return _too_often(error)
        case ConflictError() | DeniedError() | ForgottenError() | NotFoundError():
            return ProblemError(_STATUS_OF[type(error)], str(error))
        case _:
            _log.error("a request failed with an unexpected exception", exc_info=error)
            return _internal_server_error()


def _unavailable(error: UnavailableError) -> ProblemError:
    reason = error.for_sender or "The gateway can't use its database at the moment."
    advice = error.advice or "Send the same request again: nothing happens twice."
    detail = f"{reason} {advice}"
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": _RETRY_AFTER_S})


def _too_often(error: RateLimitedError) -> ProblemError:
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=headers)


def _internal_server_error() -> ProblemError:
    detail = "Something in Isoline failed; the request may be sent again."
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def problem_response(problem: ProblemError) -> Response:
    """The response for a problem; it closes the connection if the problem has the headers `CLOSE`."""
    headers = {"Content-Type": CONTENT_TYPE, **problem.headers}
    closes = headers.pop("Connection", "") == "close"
    response = Response(Head(problem.status, headers), orjson.dumps(problem_document(problem)))
    if closes:
        response.force_close()
    return response


def title_of(status: HTTPStatus) -> str:
    """The reason phrase of a status, by RFC 9110."""
    return _TITLES.get(status, status.phrase)


def problem_document(problem: ProblemError) -> dict[str, object]:
    """The JSON body of a problem."""
    title = title_of(problem.status)
    document: dict[str, object] = {
        "type": f"urn:isoline:problem:{title.lower().replace(' ', '-')}",
        "title": title,
        "status": problem.status.value,
        "detail": problem.detail,
    }
    if problem.errors:
        document["errors"] = [error._asdict() for error in problem.errors]
    return document
