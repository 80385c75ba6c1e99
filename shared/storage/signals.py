"""How an ECG's signals lie in storage: all leads end to end, as narrow as they fit, and encoded as one."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import orjson

from shared.domain.ecg import Lead, fits_int16
from shared.storage.samples import EncodedSamples, damaged, decode_samples, encode_samples, plain_encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.ecg import Ecg, Samples


class JoinedSignals(NamedTuple):
    """An ECG's leads in the one form that equal content has.

    Attributes:
        leads: JSON array of ``{name, baseline, adc_gain, num_samples}``.
        samples: The leads' signals, one after the other; int16 if all fit, else int32.
    """

    leads: bytes
    samples: Samples


class EncodedSignals(NamedTuple):
    """An ECG's leads as they are stored: `JoinedSignals` with its samples encoded."""

    leads: bytes
    samples: EncodedSamples


def join_signals(leads: Sequence[Lead]) -> JoinedSignals:
    """These leads in the narrowest width that holds every sample exactly."""
    narrow = all(fits_int16(lead.signal) for lead in leads)
    described = [
        {
            "name": lead.name,
            "baseline": lead.baseline,
            "adc_gain": lead.adc_gain,
            "num_samples": lead.signal.size,
        }
        for lead in leads
    ]
    samples = np.concatenate([lead.signal for lead in leads], dtype="<i2" if narrow else "<i4")
    return JoinedSignals(orjson.dumps(described), cast("Samples", samples))


def encode_signals(joined: JoinedSignals) -> EncodedSignals:
    """The leads as they are to be stored."""
    return EncodedSignals(joined.leads, encode_samples(joined.samples))


def decode_signals(encoded: EncodedSignals) -> tuple[Lead, ...]:
    """The leads as they were encoded; their signals are views of one buffer.

    Raises:
        InvalidEcgError: What is stored is damaged, or of a form that this version does not know.
    """
    try:
        return _decoded(encoded)
    except (LookupError, TypeError, ValueError) as error:
        raise damaged(f"can't be read: {type(error).__name__}") from error


def content_hash(ecg: Ecg, joined: JoinedSignals) -> bytes:
    """SHA-256 over all that the sender said: two submissions are the same when theirs is.

    It is taken of the samples as they are, so that how they are stored may change.
    """
    said = orjson.dumps([ecg.date, ecg.sampling_rate_hz, ecg.unit, plain_encoding(joined.samples)])
    digest = sha256(said)
    digest.update(joined.leads)
    digest.update(joined.samples.data)
    return digest.digest()


def _decoded(encoded: EncodedSignals) -> tuple[Lead, ...]:
    described: list[dict[str, Any]] = orjson.loads(encoded.leads)
    counts = [lead["num_samples"] for lead in described]
    if min(counts) < 1:
        raise damaged(f"have a lead of {min(counts)} samples")
    signals = np.split(decode_samples(encoded.samples, sum(counts)), np.cumsum(counts)[:-1])
    return tuple(
        Lead(lead["name"], cast("Samples", signal), lead["baseline"], lead["adc_gain"])
        for lead, signal in zip(described, signals, strict=True)
    )
