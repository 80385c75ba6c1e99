"""A feature of the gateway: its routes, handlers and health parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.contract.route import Route
    from shared.runtime.health import HealthPart


def _no_drain() -> None:
    """Do nothing: in most features no request waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Routes and the object whose methods handle them.

    Attributes:
        routes: Their handlers are methods of the class of ``handlers``.
        health_parts: Its parts that may fail while the process runs, by name, for health.
        begin_drain: Called once when the gateway starts draining: from then on no request may wait for long.
    """

    routes: Sequence[Route]
    handlers: object
    health_parts: Mapping[str, HealthPart] = field(default_factory=dict)
    begin_drain: Callable[[], None] = _no_drain
