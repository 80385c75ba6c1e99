"""The timeline of one ECG, for operators: what became of it, without samples and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from datetime import datetime

UNFINISHED: Final = "no result when the next attempt began"
"""Why an attempt failed of which nobody said more: its process was killed, or lost what it needed."""


class Moment(NamedTuple):
    """Something that happened to an ECG, or is so at present.

    Attributes:
        at: None for what is so now, and where the time is not known.
        what: In a word: ``submitted``, ``attempt``, ``completed``, ``failed``, ``replayed``, ``erased``,
            ``queued``, ``unpublished``, ``webhook`` (an event that a webhook sent, or tried to).
        detail: More of it; empty if there is none.
        generation: To which it happened.
    """

    at: datetime | None
    what: str
    generation: int
    detail: str = ""


class Timeline(NamedTuple):
    """What became of an ECG.

    Attributes:
        moments: Oldest first; the last says how it stands now.
        trace_id: Of the request that submitted it, for logs and traces; None if there is none.
    """

    moments: list[Moment]
    trace_id: str | None


class Timelines(Protocol):
    """Reads timelines."""

    async def read(self, owner: str, ecg_id: str) -> Timeline | None:
        """The timeline of an ECG; None if its owner never submitted one of this id.

        Raises:
            UnavailableError: It can't be read.
        """
