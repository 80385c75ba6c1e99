"""An ECG too long to be held in memory: a day of three leads is 64.8 million samples, 130 MB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.domain.ecg import Samples, Unit


@dataclass(frozen=True, slots=True)
class RecordedLead:
    """A lead without its signal; the attributes are those of `shared.domain.ecg.Lead`."""

    name: str
    num_samples: int
    baseline: int = 0
    adc_gain: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """An ECG whose samples lie elsewhere and are read in blocks, as often as they are needed.

    Attributes:
        blocks: Reads every sample from the beginning, lead after lead: arrays of shape ``(n,)``, 1 <= n <= a
            million or so, none of which spans two leads. Reading blocks the thread.
    """

    id: str
    date: str
    leads: tuple[RecordedLead, ...]
    sampling_rate_hz: float | None
    unit: Unit | None
    blocks: Callable[[], Iterator[Samples]]

    @property
    def num_samples(self) -> int:
        """Samples in all leads together."""
        return sum(lead.num_samples for lead in self.leads)
