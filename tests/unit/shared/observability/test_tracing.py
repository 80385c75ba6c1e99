from __future__ import annotations

import re

import pytest

from shared.observability.tracing import new_id, span_of, trace_id_of

_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
_SPAN_ID = "00f067aa0ba902b7"


def test_a_trace_goes_on_in_a_span_of_our_own() -> None:
    trace_id = trace_id_of(f"00-{_TRACE_ID}-{_SPAN_ID}-01")
    spans = {span_of(_TRACE_ID, new_id()) for _ in range(3)}

    assert trace_id == _TRACE_ID
    assert len(spans) == 3
    for span in spans:
        assert re.fullmatch(rf"00-{_TRACE_ID}-(?!{_SPAN_ID})[0-9a-f]{{16}}-01", span)


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
def test_a_header_that_is_not_well_formed_is_in_no_trace(header: str | None) -> None:
    assert trace_id_of(header) is None


def test_each_id_is_another() -> None:
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
