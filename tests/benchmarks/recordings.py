"""The ECGs of the benchmark, as bodies in two parts with room for an id between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

_REAL: Final = Path(__file__).parents[2] / "examples" / "data" / "ptbxl_06004.json"
_ID: Final = "0123456789"
_NOISE: Final = 3  # ADC units: repeating the same ten seconds exactly would compress as nothing real does
_SEED: Final = 6004
_HOUR_AT_250_HZ: Final = 900_000


class Recording(NamedTuple):
    """A body that is whole once an id of ten digits stands between its parts."""

    content_type: str
    before_id: bytes
    after_id: bytes

    @property
    def num_bytes(self) -> int:
        """Of the whole body."""
        return len(self.before_id) + len(_ID) + len(self.after_id)


def small() -> Recording:
    """One lead of 3 samples."""
    lead = {"name": "I", "num_samples": 3, "signal": [1, -1, 1]}
    return _in_json({"id": _ID, "date": "2023-07-30", "leads": [lead]})


def standard() -> Recording:
    """12 leads of 5000 samples: PTB-XL 06004 as it is."""
    return _in_json({**_real(), "id": _ID})


def holter() -> Recording:
    """3 leads of one hour at 250 Hz."""
    return of_length(_HOUR_AT_250_HZ, leads=3)


def of_length(num_samples: int, *, leads: int = 1) -> Recording:
    """Leads of PTB-XL 06004, repeated with noise to so many samples each."""
    chance = np.random.default_rng(_SEED)
    real = _real()
    described = []
    for lead in real["leads"][:leads]:
        signal = np.resize(np.array(lead["signal"], np.int32), num_samples)
        noisy = signal + chance.integers(-_NOISE, _NOISE, num_samples, endpoint=True)
        described.append({"name": lead["name"], "num_samples": num_samples, "signal": noisy.tolist()})
    return _in_json(
        {"id": _ID, "date": real["date"], "sampling_rate_hz": 250, "unit": "uV", "leads": described}
    )


def _real() -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(_REAL.read_bytes())
    return document


def _in_json(document: dict[str, Any]) -> Recording:
    before, _, after = orjson.dumps(document).partition(_ID.encode())
    return Recording("application/json", before, after)
