"""Errors, one class per kind of person or service that must act: one root, one level."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Problem(NamedTuple):
    """One error in a request.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the value; empty for the whole body.
        detail: One sentence: what was found and what was expected.
    """

    pointer: str
    detail: str


class IsolineError(Exception):
    """The root of every error that Isoline raises on purpose."""


class InvalidEcgError(IsolineError):
    """The sender must change the ECG; ``problems`` lists all errors in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "; ".join(f"{pointer}: {detail}" if pointer else detail for pointer, detail in problems)
        )
        self.problems = tuple(problems)


class ConflictError(IsolineError):
    """The sender must choose another name: this one is taken."""


class NotFoundError(IsolineError):
    """The sender asked for something that does not exist or belongs to another."""


class ForgottenError(IsolineError):
    """The sender asked for what was kept for a time only, and must begin anew."""


class DeniedError(IsolineError):
    """The sender must prove who they are, or lacks the role."""


class RateLimitedError(IsolineError):
    """The sender must wait ``retry_after_s`` seconds before asking again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreadableMessageError(IsolineError):
    """The publisher must change the message: it is not a known event."""


class UnroutableError(IsolineError):
    """The operator must act, or a subscriber: no queue is bound to the event's type."""


class AnalysisError(IsolineError):
    """The maintainer of an insight must act: the insight raised an exception."""


class UnavailableError(IsolineError):
    """A service is unavailable until later or until an operator acts; retrying is safe.

    The outcome of the call that raised it is unknown.

    Args:
        message: The service, and the reason.
        for_sender: A sentence for the sender of the request; empty for the usual one, about the database.
        needs_operator: Whether an operator must act.
        is_logged: Whether it was logged already, where the start of the outage is known.
        advice: What the sender should do; empty to send the same request again, which does nothing twice.
    """

    def __init__(
        self,
        message: str,
        *,
        for_sender: str = "",
        needs_operator: bool = False,
        is_logged: bool = False,
        advice: str = "",
    ) -> None:
        super().__init__(message)
        self.for_sender = for_sender
        self.needs_operator = needs_operator
        self.is_logged = is_logged
        self.advice = advice

    def copy(self, *, advice: str = "") -> UnavailableError:
        """A copy to raise to another caller: an exception that is raised twice collects both tracebacks."""
        return UnavailableError(
            str(self),
            for_sender=self.for_sender,
            needs_operator=self.needs_operator,
            is_logged=self.is_logged,
            advice=advice or self.advice,
        )


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Give this advice with an UnavailableError, where a second request would do something a second time."""
    try:
        yield
    except UnavailableError as error:
        raise error.copy(advice=advice) from error


class ConfigurationError(IsolineError):
    """The operator must change a setting before the process can start."""
