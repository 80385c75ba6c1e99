"""Cursors of the event log: a position as an opaque text."""

from __future__ import annotations

from gateway.http.query_parameters import decode_opaque, encode_opaque
from shared.ports.event_log import LogPosition

MAX_LENGTH = 64
_MOST_TRANSACTION = 2**63
_MOST_PLACE = 2**31


def encode_cursor(position: LogPosition) -> str:
    """An opaque cursor for a position."""
    return encode_opaque(position)


def decode_cursor(cursor: str) -> LogPosition | None:
    """The position that `encode_cursor` encoded; None if this is no such cursor."""
    try:
        transaction, place = decode_opaque(cursor)
    except (ValueError, TypeError):
        return None
    if type(transaction) is not int or type(place) is not int:
        return None
    is_position = 0 <= transaction < _MOST_TRANSACTION and 0 <= place < _MOST_PLACE
    return LogPosition(transaction, place) if is_position else None
