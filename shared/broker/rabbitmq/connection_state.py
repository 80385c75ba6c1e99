"""State of a connection to RabbitMQ, and one log record per change of it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterator

# A probe begins every 5 s: a broker that is frozen is told within 8 s, and kept for as long as it may answer.
_SLOW_AFTER_S: Final = 3.0
_MOST_REASONS: Final = 32  # of several nodes each may have its own

_log = Logger(__name__)


class ConnectionState:
    """Whether a connection is open, and why not.

    Args:
        name: Of the connection, for the log.

    Attributes:
        reason: Why it is not open; empty if it is.
        failures: How often in a row it was lost or could not be opened.
    """

    def __init__(self, name: str) -> None:
        self.reason = "not connected yet"
        self.failures = 0
        self._name = name
        self._logged: set[str] = set()
        self._lost_s = time.monotonic()
        self._asked_s: float | None = None

    def check(self) -> None:
        """Return if the connection is open, and the broker answers on it.

        Raises:
            UnavailableError: Not so, for this reason.
        """
        if self.reason:
            raise UnavailableError(f"RabbitMQ: {self.reason}")
        if self._asked_s is not None and time.monotonic() - self._asked_s > _SLOW_AFTER_S:
            raise UnavailableError(f"RabbitMQ: no answer within {_SLOW_AFTER_S:g} s")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The broker is being asked something on the connection, and has answered at the end."""
        self._asked_s = time.monotonic()
        try:
            yield
        finally:
            self._asked_s = None

    def mark_lost(self, reason: str) -> None:
        """The connection is not open; logged once per reason."""
        if not self.reason:
            self._lost_s = time.monotonic()
        self.reason = reason
        self.failures += 1
        if reason not in self._logged and len(self._logged) < _MOST_REASONS:
            self._logged.add(reason)
            _log.warning("broker is away", connection=self._name, reason=reason)

    def mark_connected(self) -> None:
        """The connection is open and works."""
        if self.reason:
            was_away_s = round(time.monotonic() - self._lost_s, 1)
            _log.info("broker is connected", connection=self._name, was_away_s=was_away_s)
        self.reason = ""
        self.failures = 0
        self._logged.clear()
