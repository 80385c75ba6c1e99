"""The JSON of an ECG, large or small: signals of a large one are read straight into arrays.

What would cost much is bounded before it is parsed: beside its signals an ECG has little, and those are
counted.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from simdjson import Array, Object, Parser

from gateway.formats.json_arrays import CUT_FROM_BYTES, FRACTION_SIGNS, TooMuchBesideError, cut
from gateway.formats.json_fast_path import UNUSUAL, usual_ecg
from gateway.formats.models import read_ecg
from gateway.http.bodies.content_encoding import max_compressed_json_bytes
from gateway.http.bodies.json_body import MAX_CONTAINERS, parse_json, read_json
from gateway.http.problems import NotJsonError, ProblemError
from gateway.http.validation import MAX_FIELDS
from shared.domain.ecg import narrowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from gateway.http.request import Request
    from shared.domain.ecg import Ecg, Samples
    from shared.domain.recording import Recording
    from shared.ports.ecgs import Receipt
    from shared.runtime.settings import GatewayOnlySettings, SubmissionLimits

# Where the fast way overtakes the other: 21 us and 21 us for one lead; for 12 leads 112 and 132 at 5 kB.
_LARGE_BYTES: Final = 1024
# Past this the fast way, which takes a body as a whole, would hold the interpreter's lock for over 1 ms.
_WHOLE_BYTES: Final = 512 * 1024
# What may stand beside the signals of an ECG: 32 leads with names of escapes, each with a field or two that
# is not known and a signal that is too short to be cut out, take 40 KiB, and 600 texts and arrays.
_BESIDE_BYTES: Final = 32 * 1024
_BESIDE_BYTES_PER_LEAD: Final = 1024
_BESIDE_PARTS: Final = 4096
_BESIDE_PARTS_PER_LEAD: Final = 32
# Keys and values of a lead have 4 to 8 of these, its signal none. simdjson takes up to 12 us for each.
_FRACTION_SIGNS_PER_LEAD: Final = 12
_FRACTION_SIGNS: Final = 1024
# What simdjson, NumPy and the checks below raise.
_UNUSUAL_JSON: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class JsonReader:
    """A `gateway.formats.registry.Reader` of JSON."""

    takes_recordings = False

    def __init__(self, settings: GatewayOnlySettings) -> None:
        self._settings = settings

    def max_bytes(self, encoding: str | None) -> int:
        """As many as `read_json` takes."""
        most = self._settings.max_body_bytes
        return most if encoding is None else max_compressed_json_bytes(most)

    async def read(
        self, request: Request, take: Callable[[Ecg | Recording], Awaitable[Receipt]], *, now: datetime
    ) -> Receipt:
        """What ``take`` returns for the ECG in the request's body."""
        read = partial(read_ecg_json, limits=self._settings, now=now)
        return await take(await read_json(request, read, max_bytes=self._settings.max_body_bytes))


def read_ecg_json(body: bytes | bytearray, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that a body describes.

    It is read without the models, and one of some size into arrays as a whole, only if nothing about it is
    unusual. Else its long arrays are cut out and the models look at all the rest, so that each refusal is
    worded in one place.

    Raises:
        ProblemError: 400 it is not JSON, or holds a key that stands twice; 413 it has too much beside its
            signals; 422 with all that is wrong.
    """
    if _LARGE_BYTES <= len(body) <= _WHOLE_BYTES:
        with suppress(*_UNUSUAL_JSON, *UNUSUAL):
            return usual_ecg(with_arrays(body, limits), limits=limits, now=now)
        return read_ecg(with_written_signals(body, limits), limits=limits, now=now)
    document = parse_json(body) if len(body) < _LARGE_BYTES else with_written_signals(body, limits)
    with suppress(*UNUSUAL):
        return usual_ecg(document, limits=limits, now=now)
    return read_ecg(document, limits=limits, now=now)


def with_written_signals(
    body: bytes | bytearray, limits: SubmissionLimits, *, from_bytes: int = CUT_FROM_BYTES
) -> Any:
    """What `parse_json` makes of a body, but with its long arrays of numbers as they were written.

    Raises:
        ProblemError: 400 it is not JSON, or holds a key that stands twice; 413 it has too much beside them.
    """
    most_bytes = _max_bytes_beside(limits)
    most_parts = _BESIDE_PARTS + _BESIDE_PARTS_PER_LEAD * limits.max_leads
    try:
        found = cut(body, from_bytes=from_bytes, max_rest_bytes=most_bytes, max_rest_parts=most_parts)
    except TooMuchBesideError:
        detail = (
            f"Beside its signals the body may have {most_bytes} bytes, white space included, "
            f"and {most_parts} texts and arrays."
        )
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from None
    try:
        return found.whole(parse_json(found.rest))
    except NotJsonError as error:
        if not found.signals:
            raise
        raise NotJsonError(error.reason, found.offset(error.offset)) from None


def with_arrays(body: bytes | bytearray, limits: SubmissionLimits) -> dict[str, Any]:
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


def _num_leads(body: bytes | bytearray, limits: SubmissionLimits) -> int:
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
    most_signs = min(_FRACTION_SIGNS_PER_LEAD * (1 + num_leads), _FRACTION_SIGNS)
    if any(_count(body, sign, most_signs) > most_signs for sign in FRACTION_SIGNS):
        raise ValueError("too many fractions")
    most_beside = _max_bytes_beside(limits)
    if len(body) > most_beside and _bytes_beside(body, num_leads) > most_beside:
        raise ValueError("much beside the signals")
    return num_leads


def _bytes_beside(body: bytes | bytearray, num_leads: int) -> int:
    """How many bytes `cut` would leave of an ECG of so many leads."""
    size, place = len(body), body.find(b"[") + 1
    for _ in range(num_leads):
        start = body.find(b"[", place) + 1
        place = body.find(b"]", start)
        size -= place - start if place - start >= CUT_FROM_BYTES else 0
    return size


def _max_bytes_beside(limits: SubmissionLimits) -> int:
    return _BESIDE_BYTES + _BESIDE_BYTES_PER_LEAD * limits.max_leads


def _count(body: bytes | bytearray, octet: bytes, most: int) -> int:
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
