"""An ECG whose samples are read in blocks: a day of three leads is 64.8 million samples, 130 MB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.domain.ecg import Ecg, Samples
    from shared.domain.header import Header


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """An ECG whose samples are stored elsewhere and can be read in blocks, any number of times.

    Attributes:
        header: Date, rate, unit and lead headers.
        blocks: Reads every sample from the beginning, lead after lead: arrays of shape ``(n,)``, 1 <= n <= a
            million or so, none of which spans two leads. Reading blocks the thread.
    """

    header: Header
    blocks: Callable[[], Iterator[Samples]]


def recording_of(ecg: Ecg, *, block_samples: int) -> Recording:
    """The same ECG, to be read in blocks of at most so many samples, which are views of its signals."""

    def blocks() -> Iterator[Samples]:
        for lead in ecg.leads:
            for start in range(0, lead.signal.size, block_samples):
                yield lead.signal[start : start + block_samples]

    return Recording(ecg.header, blocks)
