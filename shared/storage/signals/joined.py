"""How an ECG lies in storage: its header, and all leads end to end, as narrow as they fit, encoded as one."""

from __future__ import annotations

from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import orjson

from shared.domain.ecg import Ecg, fits_int16
from shared.storage.signals.headers import (
    read_encoding,
    read_header,
    stored_encoding,
    stored_header,
    stored_leads,
)
from shared.storage.signals.samples import EncodedSamples, decode_samples, encode_samples, plain_encoding

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from shared.domain.ecg import Samples
    from shared.domain.header import Header


class JoinedSignals(NamedTuple):
    """An ECG's leads in the one form that equal content has.

    Attributes:
        leads: What `stored_leads` makes of their headers.
        samples: The leads' signals, one after the other; int16 if all fit, else int32.
    """

    leads: bytes
    samples: Samples


class EncodedSignals(NamedTuple):
    """An ECG as it is stored.

    Attributes:
        header: All that is said of it, its leads among it, for this release and later ones.
        leads: The headers of its leads, for the release before.
        samples: Of all leads, encoded.
    """

    header: bytes
    leads: bytes
    samples: EncodedSamples


def join_signals(ecg: Ecg) -> JoinedSignals:
    """The leads in the narrowest width that holds every sample exactly."""
    signals = [lead.signal for lead in ecg.leads]
    width = "<i2" if all(map(fits_int16, signals)) else "<i4"
    return JoinedSignals(stored_leads(ecg.header), cast("Samples", np.concatenate(signals, dtype=width)))


def encode_signals(header: Header, joined: JoinedSignals) -> EncodedSignals:
    """The ECG as it is to be stored."""
    encoding, data = encode_samples(joined.samples)
    return EncodedSignals(
        stored_header(header, joined.leads),
        joined.leads,
        EncodedSamples(stored_encoding(header, encoding), data),
    )


def decode_signals(ecg_id: str, header: bytes, samples: EncodedSamples) -> Ecg:
    """The ECG as it was encoded; its leads' signals are views of one buffer.

    Raises:
        InvalidEcgError: What is stored is damaged, or of a form that this version does not know.
    """
    said = read_header(ecg_id, header)
    encoded = EncodedSamples(read_encoding(samples.encoding), samples.data)
    return ecg_of(said, decode_samples(encoded, said.num_samples))


def ecg_of(header: Header, samples: Samples) -> Ecg:
    """The ECG of samples that stand end to end; its leads' signals are views of them."""
    ends = accumulate(lead.num_samples for lead in header.leads)
    signals = [samples[end - lead.num_samples : end] for lead, end in zip(header.leads, ends, strict=True)]
    return Ecg(header, signals)


def content_hash(header: Header, joined: JoinedSignals) -> bytes:
    """SHA-256 over all that the sender said: two submissions are the same when theirs is.

    It is taken of the samples as they are, so that how they are stored may change.
    """
    digest = header_hash(header, joined.leads, plain_encoding(joined.samples))
    digest.update(joined.samples.data)
    return digest.digest()


def header_hash(header: Header, leads: bytes, encoding: str) -> Hash:
    """The beginning of a content hash; the samples of all leads come behind it, end to end.

    Args:
        header: What is said of the ECG.
        leads: What `stored_leads` makes of it.
        encoding: The plain one that all samples fit into.
    """
    digest = sha256(orjson.dumps((header.date, header.sampling_rate_hz, header.unit, encoding)))
    digest.update(leads)
    return digest
