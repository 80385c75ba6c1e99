"""What single fields of a posted ECG may hold, and how it is told what else they hold."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeGuard

import numpy as np
from pydantic_core import PydanticCustomError

from gateway.validation import json_type
from shared.domain.ecg import INT32_MAX, INT32_MIN, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not "." or "..", which clients resolve away from a path.
ECG_ID: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]{1,128}")

# In samples per second of every lead.
MIN_RATE_HZ: Final = 1
MAX_RATE_HZ: Final = 10_000

_ARRAYS: Final = (list, np.ndarray)


def ecg_id(value: object) -> str:
    """The id; an integer as its decimal string.

    Raises:
        PydanticCustomError: It is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not ECG_ID.fullmatch(value):
        expected = "expected 1 to 128 of A-Z a-z 0-9 . _ : - (and not . or .. alone) or an integer of 64 bits"
        raise PydanticCustomError("ecg_id", expected)
    return value


def signal_of(value: object, *, longest: int) -> Samples:
    """Samples of 32 bits in the narrowest array.

    Raises:
        PydanticCustomError: It is no array or too long, or holds something else; the first is pointed at.
    """
    if not is_signal(value):
        raise PydanticCustomError(
            "signal", "expected an array of integers, found {found}", {"found": json_type(value)}
        )
    if not 1 <= len(value) <= longest:
        context = {"longest": longest, "found": len(value)}
        raise PydanticCustomError("signal_length", "expected 1 to {longest} samples, found {found}", context)
    return _samples(value) if isinstance(value, list) else value


def is_signal(value: object) -> TypeGuard[list[object] | Samples]:
    """Whether it is an array: of JSON values, or of samples that whoever read them has checked."""
    return isinstance(value, _ARRAYS)


def _samples(values: list[object]) -> Samples:
    if set(map(type, values)) == {int}:
        try:
            return np.array(values, np.int16)
        except OverflowError:  # the first that does not fit ends it
            with suppress(OverflowError):
                return np.array(values, np.int32)
    raise _first_bad_sample(values)


def _first_bad_sample(values: Sequence[object]) -> PydanticCustomError:
    bad = [index for index, value in enumerate(values) if not _is_sample(value)]
    found = values[bad[0]]
    what = "an integer past 32 bits" if type(found) is int else json_type(found)
    context = {"what": what, "more": f" (and {len(bad) - 1} more)" if len(bad) > 1 else "", "index": bad[0]}
    return PydanticCustomError(
        "sample", "expected an integer from -2147483648 to 2147483647, found {what}{more}", context
    )


def _is_sample(value: object) -> bool:
    return type(value) is int and INT32_MIN <= value <= INT32_MAX
