"""The JSON of an ECG, large or small: signals of a large one are read straight into arrays."""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from simdjson import Array, Object, Parser

from gateway.bodies import MAX_CONTAINERS, parse_json
from gateway.payloads import read_ecg
from gateway.usual_ecgs import UNUSUAL, usual_ecg
from gateway.validation import MAX_FIELDS
from shared.domain.ecg import narrowed

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.ecg import Ecg, Samples
    from shared.settings import SubmissionLimits

# Where the fast way overtakes the other: 21 us and 21 us for one lead; for 12 leads 112 and 132 at 5 kB.
_LARGE_BYTES: Final = 1024
# What simdjson, NumPy and the checks below raise.
_UNUSUAL_JSON: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


def read_ecg_json(body: bytes, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that a body describes.

    It is read without the models, and a large one into arrays, only if nothing about it is unusual. Else the
    models look at all of it, so that each refusal is worded in one place.

    Raises:
        ProblemError: 400 it is not JSON, or holds a key that stands twice; 422 with all that is wrong.
    """
    if len(body) >= _LARGE_BYTES:
        with suppress(*_UNUSUAL_JSON, *UNUSUAL):
            return usual_ecg(with_arrays(body, limits), limits=limits, now=now)
    document = parse_json(body)
    try:
        return usual_ecg(document, limits=limits, now=now)
    except UNUSUAL:
        return read_ecg(document, limits=limits, now=now)


def with_arrays(body: bytes, limits: SubmissionLimits) -> dict[str, Any]:
    """What `parse_json` makes of an ECG's body, but with each signal in an array of samples; or nothing.

    Memory is bounded by ``limits``: a copy of the body, 24 bytes for each sample that an ECG may have, and
    4 for each octet of what turns out to be no ECG.

    Raises:
        ValueError, TypeError, RuntimeError, LookupError, ArithmeticError: Something about it is unusual.
    """
    num_leads = _num_leads(body, limits)
    # Not one to be used again: it would keep 14 times the size of the largest body it met.
    ecg = _fields(Parser().parse(body))
    leads = [_fields(lead) for lead in ecg["leads"]]
    if len(leads) != num_leads:
        raise ValueError("an array within a signal, or a bracket within a text")
    for lead in leads:
        lead["signal"] = _samples(lead["signal"])
    return {**ecg, "leads": leads}


def _num_leads(body: bytes, limits: SubmissionLimits) -> int:
    """How many leads there are, if each array of the body is either a signal or the one of the leads."""
    if body.startswith(BOM_UTF8):
        raise ValueError("simdjson reads on behind it, orjson does not")
    most = min(1 + limits.max_leads, MAX_CONTAINERS // 2)
    most_commas = limits.max_ecg_samples + most * MAX_FIELDS
    # A sample takes two bytes at least: only in a body of megabytes are commas counted.
    if len(body) > 2 * most_commas and body.count(b",") > most_commas:
        raise ValueError("too many samples")
    num_leads = _count(body, b"[", most) - 1
    # None: simdjson would copy 16 MiB of white space that gzip made small.
    if not 0 < num_leads < most or _count(body, b"{", most) > most:
        raise ValueError("no signal, or too many arrays or objects")
    return num_leads


def _count(body: bytes, octet: bytes, most: int) -> int:
    """How often an octet occurs; past ``most`` it stops counting.

    Looking for the next of a few is 20 times faster than `bytes.count`, which looks at each octet.
    """
    count, place = 0, body.find(octet)
    while place >= 0 and count <= most:
        count, place = count + 1, body.find(octet, place + 1)
    return count


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, Object) or len(value) > MAX_FIELDS:  # each is looked up among all
        raise TypeError("no object, or one of very many fields")
    fields = {key: value[key] for key in value}
    if len(fields) < len(value):
        raise ValueError("a key stands twice")
    return fields


def _samples(signal: object) -> Samples:
    if not isinstance(signal, Array):
        raise TypeError("a signal is no array")
    return narrowed(np.frombuffer(signal.as_buffer(of_type="i"), np.int64))
