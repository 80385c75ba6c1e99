"""Every error as RFC 9457 ``application/problem+json``: one shape, one place."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from gateway.http.responses import Head, Response
from shared.domain.errors import (
    ConflictError,
    DeniedError,
    InvalidEcgError,
    IsolineError,
    NotFoundError,
    TooOftenError,
    UnavailableError,
)
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.domain.errors import Problem

CONTENT_TYPE: Final = "application/problem+json"
# Headers of a problem after which the connection ends: the unread rest of a body would be the next request.
CLOSE: Final = {"Connection": "close"}

_RETRY_AFTER_S: Final = "2"

_STATUS_OF: Final[Mapping[type[IsolineError], HTTPStatus]] = {
    ConflictError: HTTPStatus.CONFLICT,
    DeniedError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
}

# RFC 9110's names, which Python knows from 3.13 on: a problem's type must not depend on who runs it.
_TITLES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}

# orjson's words for a number past the largest of 64 bits, for nesting, and for half a pair of surrogates.
_LIMITS_OF_JSON: Final = ("infinity", "depth limit", "surrogate in string")

_log = Logger(__name__)


class ProblemError(Exception):
    """An answer other than success, known where the request is read.

    Attributes:
        status: The HTTP status.
        detail: What was found and what was expected, in a sentence for a stranger.
        errors: All that is wrong with the body, by JSON pointer.
        headers: What the status obliges us to add.
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
    """The 400 of a body that is no JSON, or JSON past what any reader of it has to take (RFC 8259, 9).

    Attributes:
        reason: Why it is none.
        place: Which of its characters says so.
    """

    def __init__(self, reason: str, place: int, *, where: str | None = None) -> None:
        what = "can't be read" if any(limit in reason for limit in _LIMITS_OF_JSON) else "is not JSON"
        detail = f"The body {what}: {reason}: {where or f'char {place}'}."
        super().__init__(HTTPStatus.BAD_REQUEST, detail)
        self.reason: Final = reason
        self.place: Final = place


def body_does_not_fit(problems: Sequence[Problem]) -> ProblemError:
    """The 422 that lists all that is wrong with a body."""
    count = len(problems)
    detail = f"The body does not fit: {count} problem{'s' if count > 1 else ''}, see errors."
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=problems)


def unauthorized(detail: str) -> ProblemError:
    """The 401 that tells what to send (RFC 9110, section 15.5.2)."""
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})


def problem_answer(error: Exception) -> Response:
    """Any failure as problem+json; one that nobody foresaw is logged and says nothing of itself."""
    return problem_response(_problem(error))


def _problem(error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case IsolineError():
            return _of_ours(error)
        case _:
            _log.error("a request met a defect", exc_info=error)
            return _defect()


def _of_ours(error: IsolineError) -> ProblemError:
    match error:
        case InvalidEcgError():
            return body_does_not_fit(error.problems)
        case UnavailableError():
            if not error.is_logged:
                _log.warning("a request could not be served", reason=str(error))
            return _unavailable(error)
        case TooOftenError():
            return _too_often(error)
        case ConflictError() | DeniedError() | NotFoundError():
            return ProblemError(_STATUS_OF[type(error)], str(error))
        case _:
            _log.error("a request met a defect", exc_info=error)
            return _defect()


def _unavailable(error: UnavailableError) -> ProblemError:
    reason = error.for_sender or "The gateway can't use its database at the moment."
    detail = f"{reason} Send the same request again: nothing happens twice."
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": _RETRY_AFTER_S})


def _too_often(error: TooOftenError) -> ProblemError:
    headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=headers)


def _defect() -> ProblemError:
    detail = "Something in Isoline failed; the request may be sent again."
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def problem_response(problem: ProblemError) -> Response:
    """The answer that tells a problem; it closes the connection if it says so."""
    headers = {"Content-Type": CONTENT_TYPE, **problem.headers}
    closes = headers.pop("Connection", "") == "close"
    response = Response(Head(problem.status, headers), orjson.dumps(document_of(problem)))
    if closes:
        response.force_close()
    return response


def title_of(status: HTTPStatus) -> str:
    """A status in words."""
    return _TITLES.get(status, status.phrase)


def document_of(problem: ProblemError) -> dict[str, object]:
    """The body in which a problem is told."""
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
