"""The stored form of an ECG: its header, and all leads joined end to end in the narrowest type, encoded."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from shared.domain.ecg import Ecg, fits_int16
from shared.storage.signals.headers import (
    decode_header,
    encode_header,
    encode_leads,
    encoding_marked_against_old_releases,
    encoding_without_mark,
)
from shared.storage.signals.samples import EncodedSamples, decode_samples, encode_samples

if TYPE_CHECKING:
    from shared.domain.ecg import Samples
    from shared.domain.header import Header


class JoinedSignals(NamedTuple):
    """An ECG's leads in canonical form: equal for equal content.

    Attributes:
        leads: Result of `encode_leads`.
        samples: The leads' signals, one after the other; int16 if all fit, else int32.
    """

    leads: bytes
    samples: Samples


class EncodedEcg(NamedTuple):
    """The stored form of an ECG.

    Attributes:
        header: The whole header, for this release and later ones.
        leads: The lead headers, for the previous release.
        samples: Of all leads, encoded.
    """

    header: bytes
    leads: bytes
    samples: EncodedSamples


def join_signals(ecg: Ecg) -> JoinedSignals:
    """The leads joined, in the narrowest type that holds every sample exactly."""
    signals = [lead.signal for lead in ecg.leads]
    width = "<i2" if all(map(fits_int16, signals)) else "<i4"
    return JoinedSignals(encode_leads(ecg.header), cast("Samples", np.concatenate(signals, dtype=width)))


def encode_ecg(header: Header, joined: JoinedSignals) -> EncodedEcg:
    """The stored form of an ECG."""
    encoding, data = encode_samples(joined.samples)
    return EncodedEcg(
        encode_header(header, joined.leads),
        joined.leads,
        EncodedSamples(encoding_marked_against_old_releases(header, encoding), data),
    )


def decode_ecg(ecg_id: str, header: bytes, samples: EncodedSamples) -> Ecg:
    """The ECG of its stored form; the leads' signals are views of one buffer.

    Raises:
        InvalidEcgError: The stored form is damaged or unknown to this version.
    """
    decoded = decode_header(ecg_id, header)
    encoded = EncodedSamples(encoding_without_mark(samples.encoding), samples.data)
    return ecg_of_joined_samples(decoded, decode_samples(encoded, decoded.num_samples))


def ecg_of_joined_samples(header: Header, samples: Samples) -> Ecg:
    """The ECG of joined samples; its leads' signals are views of them."""
    ends = accumulate(lead.num_samples for lead in header.leads)
    signals = [samples[end - lead.num_samples : end] for lead, end in zip(header.leads, ends, strict=True)]
    return Ecg(header, signals)
