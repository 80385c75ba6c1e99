"""Valid objects for tests: each states only what matters to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shared.domain.ecg import Ecg, Lead
from shared.domain.recording import RecordedLead, Recording
from shared.ports import Submission

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.domain.ecg import Samples


def a_lead(name: str = "I", signal: Sequence[int] = (1, -1, 1), *, baseline: int = 0) -> Lead:
    """A lead of int16 samples."""
    return Lead(name, np.array(signal, np.int16), baseline)


def an_ecg(ecg_id: str = "10", *, leads: Sequence[Lead] | None = None, date: str = "2023-07-30") -> Ecg:
    """An ECG of one lead that crosses zero twice."""
    return Ecg(ecg_id, date, tuple(leads) if leads is not None else (a_lead(),))


def a_submission(ecg_id: str = "10", *, owner: str = "ada", ecg: Ecg | None = None) -> Submission:
    """A submission of `an_ecg`."""
    return Submission(owner, ecg or an_ecg(ecg_id))


def a_recording(ecg: Ecg, *, block_samples: int = 4) -> Recording:
    """The same ECG as if it were too long to be held in memory."""

    def blocks() -> Iterator[Samples]:
        for lead in ecg.leads:
            for start in range(0, lead.signal.size, block_samples):
                yield lead.signal[start : start + block_samples]

    leads = tuple(
        RecordedLead(lead.name, lead.signal.size, lead.baseline, lead.adc_gain) for lead in ecg.leads
    )
    return Recording(ecg.id, ecg.date, leads, ecg.sampling_rate_hz, ecg.unit, blocks)


def an_ecg_body(**fields: Any) -> dict[str, Any]:
    """The JSON form of an ECG of one lead that crosses zero twice; ``fields`` win."""
    return {"id": "10", "date": "2023-07-30", "leads": [{"name": "I", "signal": [1, -1, 1]}], **fields}
