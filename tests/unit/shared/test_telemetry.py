from __future__ import annotations

import re

import pytest

from shared.telemetry import continued_traceparent

_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_SPAN_ID = "00f067aa0ba902b7"
_WELL_FORMED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


def test_a_trace_goes_on_in_a_span_of_our_own() -> None:
    match = _WELL_FORMED.fullmatch(continued_traceparent(f"00-{_TRACE_ID}-{_SPAN_ID}-01"))

    assert match is not None
    assert match[1] == _TRACE_ID
    assert match[2] != _SPAN_ID


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        f"00-{_TRACE_ID}-{_SPAN_ID}",
        f"00-{_TRACE_ID}-{_SPAN_ID}-01\n",
        f"00-{_TRACE_ID}-{_SPAN_ID}-01-more",
        f"00-{_TRACE_ID.upper()}-{_SPAN_ID}-01",
        f"00-{'0' * 32}-{_SPAN_ID}-01",
        f"00-{_TRACE_ID}-{'0' * 16}-01",
        f"ff-{_TRACE_ID}-{_SPAN_ID}-01",
    ],
)
def test_a_header_that_is_not_well_formed_begins_a_new_trace(header: str | None) -> None:
    first, second = continued_traceparent(header), continued_traceparent(header)

    assert _WELL_FORMED.fullmatch(first)
    assert _TRACE_ID not in first
    assert first != second
