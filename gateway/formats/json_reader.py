"""The reader of JSON: signals of a large body are parsed directly into arrays.

The costs of parsing are limited beforehand: besides its signals an ECG has few bytes, and these are counted.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from simdjson import Array, Object, Parser

from gateway.formats.json_arrays import (
    FRACTION_SIGNS,
    MIN_EXTRACTED_BYTES,
    TooMuchOverheadError,
    extract_arrays,
)
from gateway.formats.json_fast_path import FALL_BACK_ERRORS, read_ecg_fast
from gateway.formats.models import read_ecg
from gateway.http.bodies.content_encoding import max_compressed_json_bytes
from gateway.http.bodies.json_body import MAX_CONTAINERS, parse_json, read_json
from gateway.http.problems import NotJsonError, ProblemError
from gateway.http.validation import MAX_FIELDS
from shared.domain.ecg import to_smallest_dtype

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from gateway.http.request import Request
    from shared.domain.ecg import Ecg, Samples
    from shared.domain.recording import Recording
    from shared.ports.ecgs import Receipt
    from shared.runtime.settings import GatewayOnlySettings, SubmissionLimits

# From this size on simdjson is faster than orjson: both 21 us for one lead; 112 and 132 for 12 leads, 5 kB.
_SIMDJSON_MIN_BYTES: Final = 1024
# Beyond this simdjson, which parses a body as a whole, would hold the GIL for over 1 ms.
_SIMDJSON_MAX_BYTES: Final = 512 * 1024
# Overhead is what a body has besides its signals. 32 leads with escaped names, each with an unknown field or
# two and a signal too short to be extracted, take 40 KiB, and 600 strings and arrays.
_OVERHEAD_BYTES: Final = 32 * 1024
_OVERHEAD_BYTES_PER_LEAD: Final = 1024
_OVERHEAD_PARTS: Final = 4096
_OVERHEAD_PARTS_PER_LEAD: Final = 32
# The keys and values of a lead have 4 to 8 of these, its signal none. simdjson takes up to 12 us for each.
_FRACTION_SIGNS_PER_LEAD: Final = 12
_FRACTION_SIGNS: Final = 1024
# Raised by simdjson, NumPy and the checks below: fall back to orjson and the models.
_FALL_BACK_JSON_ERRORS: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class JsonReader:
    """A `gateway.formats.registry.Reader` of JSON."""

    accepts_recordings = False

    def __init__(self, settings: GatewayOnlySettings) -> None:
        self._settings = settings

    def max_bytes(self, encoding: str | None) -> int:
        """The limit of `read_json`."""
        limit = self._settings.max_body_bytes
        return limit if encoding is None else max_compressed_json_bytes(limit)

    async def read(
        self, request: Request, submit: Callable[[Ecg | Recording], Awaitable[Receipt]], *, now: datetime
    ) -> Receipt:
        """Submit the ECG in the request's body."""
        read = partial(read_ecg_json, limits=self._settings, now=now)
        return await submit(await read_json(request, read, max_bytes=self._settings.max_body_bytes))


def read_ecg_json(body: bytes, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that a body describes.

    The fast path reads regular ECGs without the models, and those of medium size with simdjson. Otherwise
    long arrays are extracted and the models validate the rest, so that only they report problems.

    Raises:
        ProblemError: 400 it is not JSON, or has a repeated key; 413 it has too much besides its signals; 422
            with all problems.
    """
    if _SIMDJSON_MIN_BYTES <= len(body) <= _SIMDJSON_MAX_BYTES:
        with suppress(*_FALL_BACK_JSON_ERRORS, *FALL_BACK_ERRORS):
            return read_ecg_fast(parse_into_arrays(body, limits), limits=limits, now=now)
        return read_ecg(parse_with_unparsed_signals(body, limits), limits=limits, now=now)
    document = (
        parse_json(body) if len(body) < _SIMDJSON_MIN_BYTES else parse_with_unparsed_signals(body, limits)
    )
    with suppress(*FALL_BACK_ERRORS):
        return read_ecg_fast(document, limits=limits, now=now)
    return read_ecg(document, limits=limits, now=now)


def parse_with_unparsed_signals(
    body: bytes, limits: SubmissionLimits, *, min_bytes: int = MIN_EXTRACTED_BYTES
) -> Any:
    """As `parse_json`, but with long arrays of numbers as `UnparsedSignal`.

    Raises:
        ProblemError: 400 it is not JSON, or has a repeated key; 413 it has too much besides these arrays.
    """
    max_bytes = _max_overhead_bytes(limits)
    max_parts = _OVERHEAD_PARTS + _OVERHEAD_PARTS_PER_LEAD * limits.max_leads
    try:
        found = extract_arrays(
            body, min_bytes=min_bytes, max_remainder_bytes=max_bytes, max_remainder_parts=max_parts
        )
    except TooMuchOverheadError:
        detail = (
            f"Beside its signals the body may have {max_bytes} bytes, white space included, "
            f"and {max_parts} texts and arrays."
        )
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from None
    try:
        return found.restore_signals(parse_json(found.remainder))
    except NotJsonError as error:
        if not found.signals:
            raise
        raise NotJsonError(error.reason, found.original_offset(error.offset)) from None


def parse_into_arrays(body: bytes, limits: SubmissionLimits) -> dict[str, Any]:
    """As `parse_json`, but with each signal in an array of samples; for regular ECGs only.

    Memory is limited by ``limits``: a copy of the body, 24 bytes for each sample that an ECG may have, and
    4 for each octet of a body that turns out to be no ECG.

    Raises:
        ValueError, TypeError, RuntimeError, LookupError, ArithmeticError: The body is irregular.
    """
    num_leads = _num_leads(body, limits)
    # A new parser each time: a reused one would keep 14 times the size of its largest body.
    ecg = _fields(Parser().parse(body))
    leads = [_fields(lead) for lead in ecg["leads"]]
    if len(leads) != num_leads:
        raise ValueError("an array within a signal, or a bracket within a text")
    for lead in leads:
        lead["signal"] = _samples(lead["signal"])
    return {**ecg, "leads": leads}


def _num_leads(body: bytes, limits: SubmissionLimits) -> int:
    """The number of leads, provided that each array of the body is a signal or the array of leads."""
    if body.startswith(BOM_UTF8):
        raise ValueError("simdjson accepts a byte order mark, orjson does not")
    max_arrays = min(1 + limits.max_leads, MAX_CONTAINERS // 2)
    max_commas = limits.max_ecg_samples + max_arrays * MAX_FIELDS
    # A sample takes at least two bytes: commas are counted in bodies of megabytes only.
    if len(body) > 2 * max_commas and body.count(b",") > max_commas:
        raise ValueError("too many samples")
    num_leads = _count(body, b"[", max_arrays) - 1
    # Not even 0 leads: simdjson would copy 16 MiB of white space that gzip made small.
    if not 0 < num_leads < max_arrays or _count(body, b"{", max_arrays) > max_arrays:
        raise ValueError("no signal, or too many arrays or objects")
    max_signs = min(_FRACTION_SIGNS_PER_LEAD * (1 + num_leads), _FRACTION_SIGNS)
    if any(_count(body, sign, max_signs) > max_signs for sign in FRACTION_SIGNS):
        raise ValueError("too many fractions")
    max_overhead = _max_overhead_bytes(limits)
    if len(body) > max_overhead and _overhead_bytes(body, num_leads) > max_overhead:
        raise ValueError("much beside the signals")
    return num_leads


def _overhead_bytes(body: bytes, num_leads: int) -> int:
    """How many bytes `extract_arrays` would leave in the remainder of an ECG with so many leads."""
    size, offset = len(body), body.find(b"[") + 1
    for _ in range(num_leads):
        start = body.find(b"[", offset) + 1
        offset = body.find(b"]", start)
        size -= offset - start if offset - start >= MIN_EXTRACTED_BYTES else 0
    return size


def _max_overhead_bytes(limits: SubmissionLimits) -> int:
    return _OVERHEAD_BYTES + _OVERHEAD_BYTES_PER_LEAD * limits.max_leads


def _count(body: bytes, octet: bytes, limit: int) -> int:
    """How often an octet occurs; stops counting past ``limit``.

    For rare octets `bytes.find` is 20 times faster than `bytes.count`.
    """
    count, offset = 0, body.find(octet)
    while offset >= 0 and count <= limit:
        count, offset = count + 1, body.find(octet, offset + 1)
    return count


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, Object) or len(value) > MAX_FIELDS:  # looking up all fields takes quadratic time
        raise TypeError("no object, or one of very many fields")
    fields = {key: value[key] for key in value}
    if len(fields) < len(value):
        raise ValueError("a repeated key")
    return fields


def _samples(signal: object) -> Samples:
    if not isinstance(signal, Array):
        raise TypeError("a signal is no array")
    return to_smallest_dtype(np.frombuffer(signal.as_buffer(of_type="i"), np.int64))
