"""Zero crossings: how often a lead's signal passes from one side of its baseline to the other."""

from __future__ import annotations

from operator import ne
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from processor.insights.signal_warnings import MISSING_SAMPLES, SampleCounts, warnings_of
from shared.domain.findings import Finding
from shared.domain.insights import LeadInsight

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    import numpy.typing as npt

    from shared.domain.ecg import Samples
    from shared.domain.insights import Signal

    _Mask: TypeAlias = npt.NDArray[np.bool_]

# The temporary arrays of the comparisons take at most 3 x 64 KiB, 7 if samples are missing, for a signal of
# any length, and stay in the L2 cache.
_CHUNK: Final = 1 << 16
# Up to here Python's own integers are faster than NumPy's fixed cost of 8 us: 3 samples take 0.6 us.
_FEW: Final = 64


class Crossings(NamedTuple):
    """How often a signal crosses its baseline, and the numbers of samples on either side."""

    number: int
    counts: SampleCounts


def count_zero_crossings(samples: Samples, baseline: int = 0, missing_value: int | None = None) -> int:
    """Count how often a signal passes from one side of its baseline to the other.

    A sample that equals the baseline lies on neither side: ``+ 0 -`` is one crossing, ``+ 0 +`` is none. No
    crossing is counted across samples that were not measured: ``+ M -`` is none.
    Samples are compared, never multiplied or subtracted, so that the count is exact for every int32.

    Args:
        samples: Amplitudes in ADC units, shape ``(n,)``.
        baseline: The ADC value that means zero.
        missing_value: Samples of this value were not measured, be it the baseline or not.

    Returns:
        Number of crossings, at most n - 1; 0 for an empty signal.
    """
    return find_zero_crossings(samples, baseline, missing_value).number


def find_zero_crossings(samples: Samples, baseline: int = 0, missing_value: int | None = None) -> Crossings:
    """`count_zero_crossings`, and the numbers of samples on either side."""
    if samples.size <= _FEW:
        return _find_few(samples.tolist(), baseline, missing_value)
    return _find_many(samples, baseline, missing_value)


def _find_few(samples: list[int], baseline: int, missing_value: int | None) -> Crossings:
    if missing_value is not None and missing_value in samples:
        return _find_around_gaps(samples, baseline, missing_value)
    above = [sample > baseline for sample in samples if sample != baseline]
    num_above = above.count(True)
    return Crossings(sum(map(ne, above, above[1:])), SampleCounts(num_above, len(above) - num_above))


def _find_around_gaps(samples: list[int], baseline: int, missing_value: int) -> Crossings:
    counts = {True: 0, False: 0}
    crossings, was_above = 0, None
    for sample in samples:
        if sample == missing_value:
            was_above = None
        elif sample != baseline:
            is_above = sample > baseline
            counts[is_above] += 1
            crossings += was_above is not None and was_above is not is_above
            was_above = is_above
    return Crossings(crossings, SampleCounts(counts[True], counts[False], samples.count(missing_value)))


def _find_many(samples: Samples, baseline: int, missing_value: int | None) -> Crossings:
    crossings = num_above = num_off = num_missing = 0
    was_above: bool | None = None
    for start in range(0, samples.size, _CHUNK):
        chunk = samples[start : start + _CHUNK]
        above = chunk > baseline
        off_baseline = chunk != baseline
        gaps = _gaps(chunk, missing_value)
        if gaps is not None:  # each stays as a sample on no side and separates its neighbours
            above &= ~gaps
            off_baseline |= gaps
            num_missing += int(np.count_nonzero(gaps))
        num_kept = int(np.count_nonzero(off_baseline))
        if num_kept < chunk.size:
            above = above[off_baseline]
            gaps = None if gaps is None else gaps[off_baseline]
        if num_kept:
            num_off += num_kept
            num_above += int(np.count_nonzero(above))
            crossings += _changes(above, gaps)
            is_above = _side(above, gaps, 0)
            crossings += None not in {was_above, is_above} and was_above is not is_above
            was_above = _side(above, gaps, -1)
    return Crossings(crossings, SampleCounts(num_above, num_off - num_above - num_missing, num_missing))


def _gaps(chunk: Samples, missing_value: int | None) -> _Mask | None:
    """A mask of the missing samples of a chunk; None if none is missing."""
    if missing_value is None:
        return None
    gaps = chunk == missing_value
    return gaps if gaps.any() else None


def _changes(above: _Mask, gaps: _Mask | None) -> int:
    changed = above[1:] != above[:-1]
    if gaps is not None:
        changed &= ~(gaps[1:] | gaps[:-1])
    return int(np.count_nonzero(changed))


def _side(above: _Mask, gaps: _Mask | None, index: int) -> bool | None:
    return None if gaps is not None and gaps[index] else bool(above[index])


def _measure(signal: Signal, _required: Mapping[str, Finding]) -> Finding:
    lead = signal.lead
    found = find_zero_crossings(lead.signal, lead.baseline, lead.missing_value)
    words = warnings_of(lead.signal, found.counts, lead.baseline, lead.missing_value)
    counts = {MISSING_SAMPLES: found.counts.missing} if found.counts.missing else {}
    return Finding(found.number, words, counts=counts)


ZERO_CROSSINGS: Final = LeadInsight(
    name="zero_crossings",
    version=1,
    sentence="Sign changes between consecutive non-zero samples of signal - baseline.",
    schema={"type": "integer", "minimum": 0},
    measure=_measure,
)
