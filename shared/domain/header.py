"""The header of an ECG: everything that its sender gives beside the samples."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from shared.domain.errors import InvalidEcgError, Problem
from shared.domain.lead_names import canonical_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Unit: TypeAlias = Literal["uV", "mV"]

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1
MAX_NAME_LENGTH: Final = 32
MIN_RATE_HZ: Final = 1
MAX_RATE_HZ: Final = 10_000

_UNITS: Final = (None, "uV", "mV")
_NO_RATE: Final = Problem("/sampling_rate_hz", f"expected {MIN_RATE_HZ} to {MAX_RATE_HZ}")
_REPEATED: Final = (
    "lead names are unique ignoring case, and this one or another name of the same lead stands twice; "
    "tell leads apart, as ECG 1 and ECG 2"
)


@dataclass(frozen=True, slots=True)
class LeadHeader:
    """A lead without its samples.

    The physical value of a sample is ``(sample - baseline) / adc_gain``, which is WFDB's rule.

    Attributes:
        name: 1-32 printable characters, kept as sent.
        num_samples: The length of its signal, >= 1.
        baseline: The ADC value that means 0 V.
        adc_gain: ADC units per physical unit, > 0.
        sampling_rate_hz: Samples per second, 1-10,000, if it differs from the ECG's.
        missing_value: Samples of this value were not measured.

    Raises:
        InvalidEcgError: An attribute breaks its rule; pointers are relative to the lead.
    """

    name: str
    num_samples: int
    baseline: int = 0
    adc_gain: float = 1.0
    sampling_rate_hz: float | None = None
    missing_value: int | None = None

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidEcgError(problems)

    def _problems(self) -> Iterator[Problem]:
        if not (0 < len(self.name) <= MAX_NAME_LENGTH and self.name.isprintable()):
            yield Problem("/name", f"expected 1 to {MAX_NAME_LENGTH} printable characters")
        if self.num_samples < 1:
            yield Problem("/num_samples", f"expected 1 or more, found {self.num_samples}")
        if not INT32_MIN <= self.baseline <= INT32_MAX:
            yield Problem("/baseline", "expected an integer of 32 bits")
        if not (math.isfinite(self.adc_gain) and self.adc_gain > 0):
            yield Problem("/adc_gain", "expected a number above 0")
        if not _is_rate(self.sampling_rate_hz):
            yield _NO_RATE
        if self.missing_value is not None and not INT32_MIN <= self.missing_value <= INT32_MAX:
            yield Problem("/missing_value", "expected an integer of 32 bits")


@dataclass(frozen=True, slots=True)
class Header:
    """An ECG without its samples.

    Attributes:
        id: The sender's name for it, unique per owner.
        date: When it was recorded, ISO 8601, as sent.
        leads: At least one; names unique ignoring case.
        sampling_rate_hz: Samples per second of each lead that has no rate of its own, 1-10,000, if known.
        unit: The physical unit that ``adc_gain`` refers to (UCUM), if known.
        num_samples: Samples in all leads together.

    Raises:
        InvalidEcgError: An attribute breaks its rule.
    """

    id: str
    date: str
    leads: tuple[LeadHeader, ...]
    sampling_rate_hz: float | None = None
    unit: Unit | None = None
    num_samples: int = field(init=False, repr=False, compare=False)  # each submission asks six times

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidEcgError(problems)
        object.__setattr__(self, "num_samples", sum([lead.num_samples for lead in self.leads]))

    def _problems(self) -> Iterator[Problem]:
        if not self.leads:
            yield Problem("/leads", "expected at least one lead, found none")
        if not _is_rate(self.sampling_rate_hz):
            yield _NO_RATE
        if self.unit not in _UNITS:
            yield Problem("/unit", "expected uV or mV")
        yield from repeated_names([lead.name for lead in self.leads])


def repeated_leads(names: Sequence[str | None]) -> list[Problem]:
    """`repeated_names`, with all names of one lead taken as equal: ``I`` and ``Lead I`` repeat each other.

    For new ECGs only: since an ECG was stored, the table of names may have grown.
    """
    return repeated_names([None if name is None else canonical_name(name) or name for name in names])


def repeated_names(names: Sequence[str | None]) -> list[Problem]:
    """One problem for each lead whose name, ignoring case, occurs more than once; None never repeats."""
    if len(names) == 1:
        return []
    folded = [name.casefold() for name in names if name is not None]
    if len(set(folded)) == len(folded):  # nearly always, and 3 us faster than counting
        return []
    counts = Counter(folded)
    return [
        Problem(f"/leads/{index}/name", _REPEATED)
        for index, name in enumerate(names)
        if name is not None and counts[name.casefold()] > 1
    ]


def _is_rate(rate_hz: float | None) -> bool:
    return rate_hz is None or MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ
