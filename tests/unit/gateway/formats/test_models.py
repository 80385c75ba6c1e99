"""The header of a submission in the binary format."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.formats.models import BinaryHeader, read_header
from gateway.http.problems import ProblemError
from shared.runtime.settings import SubmissionLimits

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LIMITS = SubmissionLimits(max_lead_samples=6, max_ecg_samples=10, max_recording_samples=20)


def a_header(*lengths: int) -> BinaryHeader:
    """The header of leads with so many samples."""
    leads = [
        {"name": str(number), "num_samples": length, "sample_type": "int16"}
        for number, length in enumerate(lengths)
    ]
    document = {"id": "10", "date": "2023-07-30", "leads": leads}
    return read_header(document, limits=_LIMITS, now=_NOW)


@pytest.mark.parametrize(
    ("lengths", "is_long"),
    [((6,), False), ((6, 4), False), ((7,), True), ((1, 7), True), ((6, 5), True), ((4, 4, 4), True)],
)
def test_an_ecg_is_long_by_one_lead_or_by_all_together(lengths: tuple[int, ...], *, is_long: bool) -> None:
    assert a_header(*lengths).is_long(_LIMITS) is is_long


def test_a_recording_may_be_exactly_as_long_as_its_limit() -> None:
    assert a_header(15, 5).num_bytes == 40
    with pytest.raises(ProblemError):
        a_header(15, 6)
