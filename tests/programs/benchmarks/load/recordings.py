"""The ECGs of the benchmark, as bodies in two parts with room for an id between them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

_REAL: Final = Path(__file__).parents[4] / "examples" / "data" / "ptbxl_06004.json"
_ID: Final = "0123456789"
_NOISE: Final = 3  # ADC units: repeating the same ten seconds exactly would compress as nothing real does
_SEED: Final = 6004
_BINARY: Final = "application/vnd.isoline.ecg"
_PREAMBLE: Final = struct.Struct("<7sBI")  # magic, version, length of the header
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
    """3 leads of one hour at 250 Hz, as JSON."""
    return of_length(_HOUR_AT_250_HZ, leads=3)


def holter_binary() -> Recording:
    """The same in binary form: a JSON header, then int16 samples, lead after lead."""
    signals = _stretched(_HOUR_AT_250_HZ, leads=3)
    document = _document([{**lead, "sample_type": "int16"} for lead in _described(signals)])
    header = orjson.dumps(document)
    samples = b"".join(signal.astype("<i2").tobytes() for signal in signals.values())
    before, _, after = header.partition(_ID.encode())
    return Recording(_BINARY, _PREAMBLE.pack(b"ISOLINE", 1, len(header)) + before, after + samples)


def of_length(num_samples: int, *, leads: int = 1) -> Recording:
    """So many samples in each lead, as JSON."""
    signals = _stretched(num_samples, leads=leads)
    described = _described(signals)
    for lead, signal in zip(described, signals.values(), strict=True):
        lead["signal"] = signal.tolist()
    return _in_json(_document(described))


def _stretched(num_samples: int, *, leads: int) -> dict[str, npt.NDArray[np.int32]]:
    """Leads of PTB-XL 06004, repeated with noise."""
    chance = np.random.default_rng(_SEED)
    signals = {}
    for lead in _real()["leads"][:leads]:
        signal = np.resize(np.array(lead["signal"], np.int32), num_samples)
        noise = chance.integers(-_NOISE, _NOISE, num_samples, dtype=np.int32, endpoint=True)
        signals[lead["name"]] = signal + noise
    return signals


def _described(signals: Mapping[str, npt.NDArray[np.int32]]) -> list[dict[str, Any]]:
    return [{"name": name, "num_samples": signal.size} for name, signal in signals.items()]


def _document(leads: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": _ID, "date": "1990-01-01", "sampling_rate_hz": 250, "unit": "uV", "leads": leads}


def _real() -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(_REAL.read_bytes())
    return document


def _in_json(document: dict[str, Any]) -> Recording:
    before, _, after = orjson.dumps(document).partition(_ID.encode())
    return Recording("application/json", before, after)
