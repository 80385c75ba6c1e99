"""How often a lead's signal passes from one side of its baseline to the other."""

from __future__ import annotations

from operator import ne
from typing import TYPE_CHECKING, Final

import numpy as np

from shared.domain.findings import Finding
from shared.domain.insights import LeadInsight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.domain.ecg import Samples
    from shared.domain.insights import Signal

SIGNAL_NEVER_NEAR_ZERO: Final = "signal_never_near_zero"

# The comparison's temporaries are 3 x 64 KiB at the most, however long the signal, and stay in the L2 cache.
_CHUNK: Final = 1 << 16
# Up to here Python's own integers are faster than NumPy's fixed cost of 8 us: 3 samples take 0.6 us.
_FEW: Final = 64


def count_zero_crossings(samples: Samples, baseline: int = 0) -> int:
    """Count how often a signal passes from one side of its baseline to the other.

    A sample that equals the baseline lies on neither side: ``+ 0 -`` is one crossing, ``+ 0 +`` is none.
    Samples are compared, never multiplied or subtracted, so that the count is exact for every int32.

    Args:
        samples: Amplitudes in ADC units, shape ``(n,)``.
        baseline: The ADC value that means zero.

    Returns:
        Number of crossings, at most n - 1; 0 for an empty signal.
    """
    if samples.size <= _FEW:
        return _count_few(samples.tolist(), baseline)
    return _count_many(samples, baseline)


def never_near_zero(samples: Samples, baseline: int = 0) -> bool:
    """Whether a signal lies so far to one side of its baseline that a count of 0 says nothing.

    True when all samples lie on one side and even the nearest is farther from the baseline than the
    signal's own peak-to-peak range: raw ADC counts near 1024 sent without their baseline, say.

    Args:
        samples: Amplitudes in ADC units, shape ``(n,)`` with n >= 1.
        baseline: The ADC value that means zero.
    """
    lowest, highest = int(samples.min()), int(samples.max())
    nearest = max(lowest - baseline, baseline - highest)
    return nearest > highest - lowest


def _count_few(samples: list[int], baseline: int) -> int:
    above = [sample > baseline for sample in samples if sample != baseline]
    return sum(map(ne, above, above[1:]))


def _count_many(samples: Samples, baseline: int) -> int:
    crossings = 0
    was_above: bool | None = None
    for start in range(0, samples.size, _CHUNK):
        chunk = samples[start : start + _CHUNK]
        above = chunk > baseline
        off_baseline = chunk != baseline
        if np.count_nonzero(off_baseline) < chunk.size:
            above = above[off_baseline]
        if above.size:
            crossings += int(np.count_nonzero(above[1:] != above[:-1]))
            crossings += was_above is not None and was_above is not bool(above[0])
            was_above = bool(above[-1])
    return crossings


def _measure(signal: Signal, _earlier: Mapping[str, Finding]) -> Finding:
    lead = signal.lead
    crossings = count_zero_crossings(lead.signal, lead.baseline)
    suspicious = crossings == 0 and never_near_zero(lead.signal, lead.baseline)
    return Finding(crossings, (SIGNAL_NEVER_NEAR_ZERO,) if suspicious else ())


ZERO_CROSSINGS: Final = LeadInsight(
    name="zero_crossings",
    version=1,
    sentence="Sign changes between consecutive non-zero samples of signal - baseline.",
    schema={"type": "integer", "minimum": 0},
    measure=_measure,
)
