"""``python -m tests.programs.benchmarks.scaling.waiting_processor MS``: a processor that waits for each ECG.

It has one insight more than ``python -m processor``, which waits so many milliseconds without using the CPU,
as an insight does that asks another service.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

import processor.__main__
from processor.insights import INSIGHTS
from shared.domain.findings import Finding
from shared.domain.insights import EcgInsight

if TYPE_CHECKING:
    from shared.domain.ecg import Ecg
    from shared.domain.insights import RequiredFindings

MODULE: Final = "tests.programs.benchmarks.scaling.waiting_processor"


def waiting_insight(wait_s: float) -> EcgInsight:
    """An insight that takes this long for each ECG."""

    def wait(_ecg: Ecg, _required: RequiredFindings) -> Finding:
        time.sleep(wait_s)
        return Finding(0)

    return EcgInsight(name="waiting", version=1, sentence="Waits.", schema={"const": 0}, measure=wait)


if __name__ == "__main__":
    insights = (*INSIGHTS, waiting_insight(float(sys.argv[1]) / 1000))
    with patch.object(processor.__main__, "INSIGHTS", insights):
        processor.__main__.main()
