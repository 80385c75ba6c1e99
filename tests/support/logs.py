"""Capture log records of our modules."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from shared.observability import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """Collect records of every level in the list, instead of writing them."""
    records: list[dict[str, Any]] = []

    def add(level: str, _logger: str, message: str, fields: Mapping[str, object]) -> None:
        records.append({"message": message, "level": level, **fields})

    with patch.multiple(logs._output, add=add, levels=frozenset(logs._LEVELS)):
        yield records
