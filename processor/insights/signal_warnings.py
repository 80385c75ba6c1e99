"""Warnings about a signal: codes beside a measurement that may be wrong.

The thresholds were tested with real recordings: see docs/decisions/0117.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.ecg import Samples

MISSING_SAMPLES: Final = "missing_samples"
SIGNAL_NEVER_NEAR_ZERO: Final = "signal_never_near_zero"
SIGNAL_ONE_SIDED: Final = "signal_one_sided"
FLAT: Final = "flat"
FEW_LEVELS: Final = "few_levels"

# Fewer samples say little about a signal's position: half a second at 500 Hz.
_REAL_LENGTH: Final = 250
# Of the samples on one side of the baseline.
_ONE_SIDED_BELOW: Final = 0.01
# The 49 leads of real recordings have 252 levels or more; cast to integers from mV they have at most 11.
_FEW_LEVELS_BELOW: Final = 16
# In such casts 88 % or more of the samples equal the one before; in a square wave of period 2 none do.
_MUST_STAY: Final = 0.1

_CHUNK: Final = 1 << 16
# So many samples, spread evenly, already have enough levels in nearly every signal.
_PROBE: Final = 48


class SampleCounts(NamedTuple):
    """Numbers of samples above and below a signal's baseline, and of samples that were not measured."""

    above: int
    below: int
    missing: int = 0


def warnings_of(
    samples: Samples, counts: SampleCounts, baseline: int = 0, missing_value: int | None = None
) -> tuple[str, ...]:
    """The warnings that a reader of a measurement of this signal must see.

    * ``missing_samples``: some were not measured.
    * ``signal_never_near_zero``: see `never_near_zero`.
    * ``flat``: two samples or more, all of one value.
    * ``signal_one_sided``: fewer than 1 % lie on one side, and the baseline is 0: it was probably forgotten.
    * ``few_levels``: fewer than 16 values, often repeated: it was probably cast from physical units.

    The last two need 250 samples or more. Samples that were not measured are ignored.

    Args:
        samples: Amplitudes in ADC units, shape ``(n,)``.
        counts: How many of them lie above and below the baseline, and how many were not measured.
        baseline: The ADC value that means zero.
        missing_value: Samples of this value were not measured.
    """
    if counts.above and counts.below and not counts.missing and samples.size < _REAL_LENGTH:
        return ()
    return tuple(_warnings(samples, counts, baseline, missing_value))


def _warnings(
    samples: Samples, counts: SampleCounts, baseline: int, missing_value: int | None
) -> Iterator[str]:
    num_measured = samples.size - counts.missing
    if counts.missing:
        yield MISSING_SAMPLES
    if not num_measured:
        return
    is_far = is_flat = False
    if not (counts.above and counts.below):  # real signals have both: this is rarely needed
        lowest, highest = _extremes(samples, missing_value)
        is_far = _is_far(lowest, highest, baseline)
        is_flat = lowest == highest and num_measured > 1
    if is_far:
        yield SIGNAL_NEVER_NEAR_ZERO
    if is_flat:
        yield FLAT
    if num_measured < _REAL_LENGTH:
        return
    # A given baseline was not forgotten: 6 of 48 leads of the MIT-BIH database stay below theirs.
    is_explained = is_far or is_flat or baseline
    if not is_explained and min(counts.above, counts.below) < _ONE_SIDED_BELOW * num_measured:
        yield SIGNAL_ONE_SIDED
    if _has_few_levels(samples, missing_value):
        yield FEW_LEVELS


def never_near_zero(samples: Samples, baseline: int = 0) -> bool:
    """Whether a signal lies so far to one side of its baseline that a count of 0 says nothing.

    True when all samples lie on one side and even the nearest is farther from the baseline than the
    signal's own peak-to-peak range: raw ADC counts near 1024 sent without their baseline, say.

    Args:
        samples: Amplitudes in ADC units, shape ``(n,)`` with n >= 1.
        baseline: The ADC value that means zero.
    """
    return _is_far(*_extremes(samples, None), baseline)


def _is_far(lowest: int, highest: int, baseline: int) -> bool:
    return max(lowest - baseline, baseline - highest) > highest - lowest


def _has_few_levels(samples: Samples, missing_value: int | None) -> bool:
    probe = set(samples[:: samples.size // _PROBE].tolist())
    if len(probe) > _FEW_LEVELS_BELOW:  # one of them may be the missing value
        return False
    levels: set[int] = set()
    num_measured = num_staying = 0
    for chunk in _measured(samples, missing_value):
        # `np.unique` would import 10 MB of masked arrays when it is first called.
        in_order = np.sort(chunk)
        next_levels = in_order[1:][in_order[1:] != in_order[:-1]]
        levels.update(in_order[:1].tolist(), next_levels[:_FEW_LEVELS_BELOW].tolist())
        if len(levels) >= _FEW_LEVELS_BELOW:
            return False
        num_measured += chunk.size
        num_staying += int(np.count_nonzero(chunk[1:] == chunk[:-1]))
    return num_staying >= _MUST_STAY * num_measured


def _extremes(samples: Samples, missing_value: int | None) -> tuple[int, int]:
    extremes = [(int(chunk.min()), int(chunk.max())) for chunk in _measured(samples, missing_value)]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def _measured(samples: Samples, missing_value: int | None) -> Iterator[Samples]:
    """The samples that were measured, 65,536 or fewer at a time."""
    for start in range(0, samples.size, _CHUNK):
        chunk = samples[start : start + _CHUNK]
        if missing_value is not None:
            chunk = chunk[chunk != missing_value]
        if chunk.size:
            yield chunk
