"""Validation of single fields of an ECG, shared by the fast path and the models."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeGuard, cast

import numpy as np
from pydantic_core import PydanticCustomError

from gateway.formats.json_arrays import UnparsedSignal
from gateway.http.validation import json_type
from shared.domain.header import INT32_MAX, INT32_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.domain.ecg import Samples

# Not "." or "..", which clients resolve away from a path.
ECG_ID: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]{1,128}")

_ARRAYS: Final = (list, np.ndarray, UnparsedSignal)


def ecg_id(value: object) -> str:
    """The id; an integer as its decimal string.

    Raises:
        PydanticCustomError: It is no valid id.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not ECG_ID.fullmatch(value):
        expected = "expected 1 to 128 of A-Z a-z 0-9 . _ : - (and not . or .. alone) or an integer of 64 bits"
        raise PydanticCustomError("ecg_id", expected)
    return value


def parse_signal(value: object, *, longest: int) -> Samples:
    """Samples of 32 bits in the narrowest array type.

    Raises:
        PydanticCustomError: It is no array, too long, or has an invalid sample; the first one is named.
        NotJsonError: It is an `UnparsedSignal`, and no JSON.
    """
    if not is_signal(value):
        raise PydanticCustomError(
            "signal", "expected an array of integers, found {found}", {"found": json_type(value)}
        )
    if not 1 <= len(value) <= longest:
        context = {"longest": longest, "found": len(value)}
        raise PydanticCustomError("signal_length", "expected 1 to {longest} samples, found {found}", context)
    if isinstance(value, np.ndarray):
        return value
    return _samples(value.parts() if isinstance(value, UnparsedSignal) else [value])


def is_signal(value: object) -> TypeGuard[list[object] | Samples | UnparsedSignal]:
    """Whether it is an array: of JSON values, an unparsed one, or of samples."""
    return isinstance(value, _ARRAYS)


def _samples(parts: Iterable[Samples | list[object]]) -> Samples:
    samples: list[Samples] = []
    bad: list[tuple[int, object]] = []  # the first of each part
    num_bad, offset = 0, 0
    for part in parts:
        if not isinstance(part, list):
            samples.append(part)
        elif (taken := _integers(part)) is not None:
            samples.append(taken)
        else:
            first = next(index for index, value in enumerate(part) if not _is_sample(value))
            bad.append((offset + first, part[first]))
            num_bad += len(part) - _num_samples(part)
        offset += len(part)
    if bad:
        raise _bad_sample(*bad[0], more=num_bad - 1)
    return samples[0] if len(samples) == 1 else cast("Samples", np.concatenate(samples))


def _integers(values: list[object]) -> Samples | None:
    """The samples of a list; None if one of its values is no sample."""
    if set(map(type, values)) == {int}:
        try:
            return np.array(values, np.int16)
        except OverflowError:  # raised at the first value that does not fit
            with suppress(OverflowError):
                return np.array(values, np.int32)
    return None


def _num_samples(values: list[object]) -> int:
    """How many values are samples; takes a fifth of the time if none is an integer."""
    return sum(map(_is_sample, values)) if int in set(map(type, values)) else 0


def _bad_sample(index: int, found: object, *, more: int) -> PydanticCustomError:
    what = "an integer past 32 bits" if type(found) is int else json_type(found)
    context = {"what": what, "more": f" (and {more} more)" if more else "", "index": index}
    return PydanticCustomError(
        "sample", "expected an integer from -2147483648 to 2147483647, found {what}{more}", context
    )


def _is_sample(value: object) -> bool:
    return type(value) is int and INT32_MIN <= value <= INT32_MAX
