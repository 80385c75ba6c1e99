"""How signals lie in storage: all leads of an ECG end to end, as narrow as they fit."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import orjson

from shared.domain.ecg import Lead, fits_int16
from shared.domain.errors import InvalidEcgError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.domain.ecg import Ecg, Samples

# Stored beside the samples: a stored name is never given another meaning.
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {"int16le": np.dtype("<i2"), "int32le": np.dtype("<i4")}


class EncodedSignals(NamedTuple):
    """An ECG's leads as they are stored.

    Attributes:
        leads: JSON array of ``{name, baseline, adc_gain, num_samples}``.
        encoding: Name of the samples' form, a key of the table above.
        samples: The leads' signals, one after the other.
    """

    leads: bytes
    encoding: str
    samples: bytes


def encode_signals(leads: Sequence[Lead]) -> EncodedSignals:
    """The narrowest form that holds every sample of these leads exactly."""
    narrow = all(fits_int16(lead.signal) for lead in leads)
    encoding = "int16le" if narrow else "int32le"
    described = [
        {
            "name": lead.name,
            "baseline": lead.baseline,
            "adc_gain": lead.adc_gain,
            "num_samples": lead.signal.size,
        }
        for lead in leads
    ]
    samples = b"".join(lead.signal.astype(_DTYPES[encoding], copy=False).tobytes() for lead in leads)
    return EncodedSignals(orjson.dumps(described), encoding, samples)


def decode_signals(encoded: EncodedSignals) -> tuple[Lead, ...]:
    """The leads as they were encoded; their signals are views of one buffer.

    Raises:
        InvalidEcgError: What is stored is damaged, or of a form that this version does not know.
    """
    try:
        return _decoded(encoded)
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(f"can't be read: {type(error).__name__}") from error


def count_samples(leads: bytes) -> int:
    """How many samples the leads of an ECG have together, by what is stored of them."""
    return sum(lead["num_samples"] for lead in orjson.loads(leads))


def leads_of(leads: bytes, samples: Samples) -> tuple[Lead, ...]:
    """The leads by what is stored of them; their signals are views of these samples."""
    described: list[dict[str, Any]] = orjson.loads(leads)
    ends = np.cumsum([lead["num_samples"] for lead in described])
    return tuple(
        Lead(lead["name"], cast("Samples", signal), lead["baseline"], lead["adc_gain"])
        for lead, signal in zip(described, np.split(samples, ends[:-1]), strict=True)
    )


def content_hash(ecg: Ecg, encoded: EncodedSignals) -> bytes:
    """SHA-256 over all that the sender said: two submissions are the same when theirs is."""
    said = orjson.dumps([ecg.date, ecg.sampling_rate_hz, ecg.unit, encoded.encoding])
    digest = sha256(said)
    digest.update(encoded.leads)
    digest.update(encoded.samples)
    return digest.digest()


def _decoded(encoded: EncodedSignals) -> tuple[Lead, ...]:
    total = count_samples(encoded.leads)
    dtype = _DTYPES.get(encoded.encoding)
    if dtype is None or len(encoded.samples) != total * dtype.itemsize:
        found = f"{len(encoded.samples)} bytes of {encoded.encoding}"
        raise _damaged(f"should be {total} samples and are {found}")
    return leads_of(encoded.leads, cast("Samples", np.frombuffer(encoded.samples, dtype)))


def _damaged(how: str) -> InvalidEcgError:
    return InvalidEcgError([Problem("", f"The stored signals {how}.")])
