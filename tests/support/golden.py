"""Known results of the bundled recordings."""

from __future__ import annotations

from typing import Final

# The zero crossings that examples/data/README.md states beside the recording's source.
PTB_XL_06004: Final = {
    "I": 83,
    "II": 69,
    "III": 66,
    "aVR": 71,
    "aVL": 63,
    "aVF": 68,
    "V1": 41,
    "V2": 47,
    "V3": 48,
    "V4": 49,
    "V5": 53,
    "V6": 49,
}
