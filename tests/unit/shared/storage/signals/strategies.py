"""Leads to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from shared.domain.header import INT32_MAX, INT32_MIN
from tests.support.builders import a_lead

if TYPE_CHECKING:
    from shared.domain.ecg import Lead


@st.composite
def leads(draw: st.DrawFn) -> list[Lead]:
    """One to four leads of either width."""
    names = draw(st.lists(st.sampled_from(["I", "II", "aVR", "µ"]), min_size=1, max_size=4, unique=True))
    return [draw(lead(name)) for name in names]


@st.composite
def lead(draw: st.DrawFn, name: str) -> Lead:
    narrow = draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=5))
    wide = draw(st.lists(st.integers(INT32_MIN, INT32_MAX), min_size=1, max_size=5))
    signal = np.array(narrow, np.int16) if draw(st.booleans()) else np.array(wide, np.int32)
    baseline = draw(st.integers(INT32_MIN, INT32_MAX))
    adc_gain = draw(st.floats(0, exclude_min=True, allow_infinity=False))
    rate_hz = draw(st.none() | st.floats(1, 10_000))
    missing_value = draw(st.none() | st.integers(INT32_MIN, INT32_MAX))
    return a_lead(
        name,
        signal,
        baseline=baseline,
        adc_gain=adc_gain,
        sampling_rate_hz=rate_hz,
        missing_value=missing_value,
    )
