"""An ECG: a header, and leads of integer samples, checked on construction."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from shared.domain.errors import InvalidEcgError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.domain.header import Header, LeadHeader

Samples: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.int32]

_INT16: Final = np.iinfo(np.int16)
_DTYPES: Final = (np.dtype(np.int16), np.dtype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """One lead: its header and its signal.

    Attributes:
        header: Its name and the meaning of its samples.
        signal: Samples in ADC units, shape ``(n,)`` with n as in the header, int16 or int32, read-only.

    Raises:
        InvalidEcgError: The signal breaks its rule; pointers are relative to the lead.
    """

    header: LeadHeader
    signal: Samples

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise InvalidEcgError(problems)
        self.signal.setflags(write=False)

    @property
    def name(self) -> str:
        """Its name, as sent."""
        return self.header.name

    @property
    def baseline(self) -> int:
        """The ADC value that means 0 V."""
        return self.header.baseline

    @property
    def missing_value(self) -> int | None:
        """Samples of this value were not measured."""
        return self.header.missing_value

    def _problems(self) -> Iterator[Problem]:
        if self.signal.dtype not in _DTYPES:
            yield Problem("/signal", f"expected int16 or int32, found {self.signal.dtype}")
        if self.signal.shape != (self.header.num_samples,):
            yield Problem(
                "/signal", f"expected shape ({self.header.num_samples},), found {self.signal.shape}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Ecg:
    """An ECG: a header and simultaneous leads.

    Args:
        header: Date, rate, unit and lead headers.
        signals: One for each lead of the header, in its order.

    Attributes:
        leads: The lead headers with their signals.

    Raises:
        InvalidEcgError: A signal breaks its rule.
    """

    header: Header
    signals: InitVar[Iterable[Samples]]
    leads: tuple[Lead, ...] = field(init=False)

    def __post_init__(self, signals: Iterable[Samples]) -> None:
        leads = [Lead(header, signal) for header, signal in zip(self.header.leads, signals, strict=True)]
        object.__setattr__(self, "leads", tuple(leads))


def fits_int16(samples: npt.NDArray[np.integer]) -> bool:
    """Whether every value fits into 16 bits."""
    if samples.dtype == np.int16 or not samples.size:
        return True
    return bool(samples.min() >= _INT16.min and samples.max() <= _INT16.max)


def to_smallest_dtype(samples: npt.NDArray[np.integer]) -> Samples:
    """The same values as int16 if all fit, else as int32; no copy if they have that type.

    Args:
        samples: Shape ``(n,)``, any integers.

    Raises:
        OverflowError: A value does not fit into 32 bits.
    """
    # For 5,000 samples this takes 2.5 us; comparing the smallest and the largest first takes 4.4 us.
    try:
        return samples.astype(np.int16, casting="same_value", copy=False)
    except ValueError:
        pass
    try:
        return samples.astype(np.int32, casting="same_value", copy=False)
    except ValueError:
        detail = f"expected integers of 32 bits, found {samples.min()} to {samples.max()}"
        raise OverflowError(detail) from None
