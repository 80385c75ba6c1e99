"""What can go wrong, sorted by who acts on it: one root, one level."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(NamedTuple):
    """One thing that is wrong with what somebody sent.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the value; empty for the whole body.
        detail: One sentence: what was found and what was expected.
    """

    pointer: str
    detail: str


class IsolineError(Exception):
    """The root of every error that Isoline raises on purpose."""


class InvalidEcgError(IsolineError):
    """The sender must change the ECG; ``problems`` lists all that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "; ".join(f"{pointer}: {detail}" if pointer else detail for pointer, detail in problems)
        )
        self.problems = tuple(problems)


class ConflictError(IsolineError):
    """The sender must choose another name: this one holds something else."""


class NotFoundError(IsolineError):
    """The sender asked for what does not exist, or is another's."""


class DeniedError(IsolineError):
    """The sender must prove who they are, or lacks the role."""


class TooOftenError(IsolineError):
    """The sender must wait ``retry_after_s`` seconds before asking again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreadableMessageError(IsolineError):
    """The publisher must change the message: it is not an event that we know."""


class UnroutableError(IsolineError):
    """The operator must act, or a subscriber: no queue is bound to the event's type."""


class AnalysisError(IsolineError):
    """Whoever maintains an insight must act: it raised where it should have measured."""


class UnavailableError(IsolineError):
    """Time will mend it, or an operator: the outcome is unknown, and doing the same again is safe.

    Args:
        message: What is not available, and why.
        for_sender: The same as a sentence for strangers; nothing where it is the database, as nearly always.
        needs_operator: Whether time alone won't mend it.
        is_logged: Whether the log was told already, by what knows since when it is so.
    """

    def __init__(
        self, message: str, *, for_sender: str = "", needs_operator: bool = False, is_logged: bool = False
    ) -> None:
        super().__init__(message)
        self.for_sender = for_sender
        self.needs_operator = needs_operator
        self.is_logged = is_logged

    def again(self) -> UnavailableError:
        """The same for somebody else who meets it: what is raised more than once collects every traceback."""
        return UnavailableError(
            str(self),
            for_sender=self.for_sender,
            needs_operator=self.needs_operator,
            is_logged=self.is_logged,
        )


class ConfigurationError(IsolineError):
    """The operator must change a setting before the process can start."""
