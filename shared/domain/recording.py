"""An ECG whose samples are read in blocks: a day of three leads is 64.8 million samples, 130 MB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.domain.ecg import Ecg, Samples, Unit


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


def recording_of(ecg: Ecg, *, block_samples: int) -> Recording:
    """The same ECG, to be read in blocks of at most so many samples, which are views of its signals."""

    def blocks() -> Iterator[Samples]:
        for lead in ecg.leads:
            for start in range(0, lead.signal.size, block_samples):
                yield lead.signal[start : start + block_samples]

    leads = tuple(
        RecordedLead(lead.name, lead.signal.size, lead.baseline, lead.adc_gain) for lead in ecg.leads
    )
    return Recording(ecg.id, ecg.date, leads, ecg.sampling_rate_hz, ecg.unit, blocks)
