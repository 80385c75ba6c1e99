"""What a feature brings to the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.contract.route import Route
    from shared.runtime.health import Part


def _nothing_to_end() -> None:
    """Most features keep no request waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Routes, and the object that answers them.

    Attributes:
        routes: Their handlers are methods of the class of ``handlers``.
        parts: What of it may fail while the process runs, by name, for health.
        begin_drain: Called once when the gateway begins to drain: from now on no request waits for anything.
    """

    routes: Sequence[Route]
    handlers: object
    parts: Mapping[str, Part] = field(default_factory=dict)
    begin_drain: Callable[[], None] = _nothing_to_end
