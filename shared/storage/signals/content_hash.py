"""The hash of an ECG's whole content, by which two submissions under one id are told apart."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from shared.storage.signals.samples import plain_encoding

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from shared.domain.header import Header
    from shared.storage.signals.stored_ecg import JoinedSignals


def content_hash(header: Header, joined: JoinedSignals) -> bytes:
    """SHA-256 of the whole content: two submissions are equal if their hashes are.

    It is made of plain samples, so that their encoding may change.
    """
    digest = hash_of_header(header, joined.leads, plain_encoding(joined.samples))
    digest.update(joined.samples.data)
    return digest.digest()


def hash_of_header(header: Header, leads: bytes, encoding: str) -> Hash:
    """The hash of the header, to be updated with the samples of all leads, end to end.

    Args:
        header: Of the ECG.
        leads: Result of `encode_leads`.
        encoding: The plain encoding that all samples fit into.
    """
    digest = sha256(orjson.dumps((header.date, header.sampling_rate_hz, header.unit, encoding)))
    digest.update(leads)
    return digest
