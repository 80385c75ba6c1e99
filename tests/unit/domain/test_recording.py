from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shared.domain.header import Header, LeadHeader
from shared.domain.recording import recording_of
from tests.support.builders import a_lead, an_ecg

if TYPE_CHECKING:
    from shared.domain.ecg import Samples


def test_an_ecg_becomes_a_recording_of_the_same_words() -> None:
    ecg = an_ecg(leads=[a_lead("I", [1, 2], baseline=3, adc_gain=0.5)], sampling_rate_hz=250.0, unit="mV")

    recording = recording_of(ecg, block_samples=4)

    assert recording.header == Header("10", "2023-07-30", (LeadHeader("I", 2, 3, 0.5),), 250.0, "mV")


def test_its_blocks_are_views_of_the_signals_none_of_which_spans_two_leads() -> None:
    signals: list[Samples] = [np.arange(5, dtype=np.int16), np.array([70_000, -70_000], np.int32)]
    leads = [a_lead(f"L{index}", signal) for index, signal in enumerate(signals)]
    recording = recording_of(an_ecg(leads=leads), block_samples=2)

    for _ in range(2):
        blocks = list(recording.blocks())

        assert [block.tolist() for block in blocks] == [[0, 1], [2, 3], [4], [70_000, -70_000]]
        assert all(np.shares_memory(block, signals[0]) for block in blocks[:3])
        assert np.shares_memory(blocks[3], signals[1])
