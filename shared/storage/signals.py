"""How an ECG's signals lie in storage: all leads end to end, as narrow as they fit, and encoded as one."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import orjson

from shared.domain.ecg import Lead, fits_int16
from shared.storage.samples import EncodedSamples, damaged, decode_samples, encode_samples, plain_encoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from hashlib import _Hash as Hash

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
    samples = np.concatenate([lead.signal for lead in leads], dtype="<i2" if narrow else "<i4")
    return JoinedSignals(
        describe((lead.name, lead.baseline, lead.adc_gain, lead.signal.size) for lead in leads),
        cast("Samples", samples),
    )


def describe(leads: Iterable[tuple[str, int, float, int]]) -> bytes:
    """What is stored of leads beside their samples: name, baseline, gain and number of samples of each."""
    return orjson.dumps(
        [
            {"name": name, "baseline": baseline, "adc_gain": adc_gain, "num_samples": num_samples}
            for name, baseline, adc_gain, num_samples in leads
        ]
    )


def encode_signals(joined: JoinedSignals) -> EncodedSignals:
    """The leads as they are to be stored."""
    return EncodedSignals(joined.leads, encode_samples(joined.samples))


def decode_signals(encoded: EncodedSignals) -> tuple[Lead, ...]:
    """The leads as they were encoded; their signals are views of one buffer.

    Raises:
        InvalidEcgError: What is stored is damaged, or of a form that this version does not know.
    """
    described = _described(encoded.leads)
    return _cut(described, decode_samples(encoded.samples, sum(lead.num_samples for lead in described)))


def count_samples(leads: bytes) -> int:
    """How many samples the leads of an ECG have together, by what is stored of them.

    Raises:
        InvalidEcgError: That is damaged.
    """
    return sum(lead.num_samples for lead in _described(leads))


def leads_of(leads: bytes, samples: Samples) -> tuple[Lead, ...]:
    """The leads by what is stored of them; their signals are views of these samples.

    Raises:
        InvalidEcgError: What is stored is damaged.
    """
    return _cut(_described(leads), samples)


def content_hash(ecg: Ecg, joined: JoinedSignals) -> bytes:
    """SHA-256 over all that the sender said: two submissions are the same when theirs is.

    It is taken of the samples as they are, so that how they are stored may change.
    """
    digest = hash_of_said(
        (ecg.date, ecg.sampling_rate_hz, ecg.unit, plain_encoding(joined.samples)), joined.leads
    )
    digest.update(joined.samples.data)
    return digest.digest()


def hash_of_said(said: tuple[str, float | None, str | None, str], leads: bytes) -> Hash:
    """The beginning of a content hash; the samples of all leads come behind it, end to end.

    Args:
        said: Date, sampling rate, unit, and the plain encoding that all samples fit into.
        leads: What `describe` gives.
    """
    digest = sha256(orjson.dumps(said))
    digest.update(leads)
    return digest


class _Described(NamedTuple):
    """A lead by what is stored of it beside its samples."""

    name: str
    num_samples: int
    baseline: int
    adc_gain: float


def _described(leads: bytes) -> list[_Described]:
    try:
        described = [
            _Described(lead["name"], lead["num_samples"], lead["baseline"], lead["adc_gain"])
            for lead in orjson.loads(leads)
        ]
        fewest = min(lead.num_samples for lead in described)
        if fewest < 1:
            raise damaged(f"have a lead of {fewest} samples")
    except (LookupError, TypeError, ValueError) as error:
        raise damaged(f"can't be read: {type(error).__name__}") from error
    return described


def _cut(described: Sequence[_Described], samples: Samples) -> tuple[Lead, ...]:
    ends = accumulate(lead.num_samples for lead in described)
    try:
        return tuple(
            Lead(lead.name, samples[end - lead.num_samples : end], lead.baseline, lead.adc_gain)
            for lead, end in zip(described, ends, strict=True)
        )
    except (TypeError, ValueError) as error:
        raise damaged(f"can't be read: {type(error).__name__}") from error
