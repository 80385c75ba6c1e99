"""How samples lie in storage: as they are when they are few, packed when they are many.

Packed, in this order: each sample less the one before, the first less 0, modulo the width; plus 0x80 in every
byte, so that small steps to either side differ in their lowest byte alone; all lowest bytes, then all second
bytes, and so on; the whole as one zstd frame with its size and a checksum. See docs/decisions/0040.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import zstandard

from shared.domain.errors import InvalidEcgError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from shared.domain.ecg import Samples

# Stored beside the samples: a stored name is never given another meaning.
_PLAIN: Final[Mapping[str, np.dtype[Any]]] = {"int16le": np.dtype("<i2"), "int32le": np.dtype("<i4")}
_PACKED: Final[Mapping[str, np.dtype[Any]]] = {
    "int16-delta-planes-zstd": np.dtype("<u2"),
    "int32-delta-planes-zstd": np.dtype("<u4"),
}
_PLAIN_NAMES: Final = {dtype.itemsize: name for name, dtype in _PLAIN.items()}
_PACKED_NAMES: Final = {dtype.itemsize: name for name, dtype in _PACKED.items()}

# Packing and unpacking take 50 us at the least; with fewer bytes, PostgreSQL saves less by it.
_PACKED_FROM_BYTES: Final = 4096
_BIAS_OF_A_BYTE: Final = 0x80
# Level 3 changes the size of real ECGs by -6 to +7 % and takes up to 2.9 times as long.
_LEVEL: Final = 1


class EncodedSamples(NamedTuple):
    """Samples as they are stored.

    Attributes:
        encoding: Name of their form, which decoding needs.
        data: The samples in that form.
    """

    encoding: str
    data: bytes


def plain_encoding(samples: Samples) -> str:
    """The name of the form that holds these samples as they are."""
    return _PLAIN_NAMES[samples.itemsize]


def encode_samples(samples: Samples) -> EncodedSamples:
    """These samples exactly, in the smaller of their two forms where packing can pay.

    60,000 samples of 16 bits take 0.15 ms and need four times their size meanwhile.

    Args:
        samples: Shape ``(n,)``.
    """
    plain = samples.astype(_PLAIN[plain_encoding(samples)], copy=False)
    if plain.nbytes >= _PACKED_FROM_BYTES:
        packed = _packed(plain)
        if len(packed) < plain.nbytes:
            return EncodedSamples(_PACKED_NAMES[plain.itemsize], packed)
    return EncodedSamples(plain_encoding(samples), plain.tobytes())


def decode_samples(encoded: EncodedSamples, num_samples: int) -> Samples:
    """The samples as they were encoded, shape ``(num_samples,)``; 60,000 of 16 bits take 0.13 ms.

    Damaged data never makes it use more memory than so many samples need.

    Raises:
        InvalidEcgError: They are damaged, not so many, or of a form that this version does not know.
    """
    encoding, data = encoded
    if dtype := _PLAIN.get(encoding):
        size, decoded = len(data), _as_they_are
    elif dtype := _PACKED.get(encoding):
        size, decoded = _unpacked_size(data), _unpacked
    else:
        raise damaged(f"are {encoding}, which this version does not know")
    if num_samples < 1 or size != num_samples * dtype.itemsize:
        raise damaged(f"should be {num_samples} samples and are {size} bytes of {encoding}")
    return decoded(data, dtype)


def damaged(how: str) -> InvalidEcgError:
    """What to raise when stored signals can't be read; ``how`` completes a sentence about them."""
    return InvalidEcgError([Problem("", f"The stored signals {how}.")])


def _as_they_are(data: bytes, dtype: np.dtype[Any]) -> Samples:
    return cast("Samples", np.frombuffer(data, dtype))


class _Zstd(threading.local):
    """What packs and what unpacks; two threads may not use the same at once, and making one takes 7 us."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd: Final = _Zstd()


def _packed(samples: Samples) -> bytes:
    words: npt.NDArray[np.unsignedinteger] = samples.view(f"<u{samples.itemsize}")
    steps = np.empty_like(words)
    steps[0] = words[0]
    np.subtract(words[1:], words[:-1], out=steps[1:])
    steps += _bias(words.dtype)
    planes = np.empty((steps.itemsize, steps.size), np.uint8)
    for plane in planes:
        np.copyto(plane, steps, casting="unsafe")
        steps >>= 8
    return _zstd.compressor.compress(planes.data)


def _unpacked_size(data: bytes) -> int:
    """What unpacking would give, as the data say, which unpacking will hold them to; 0 when they don't."""
    try:
        return max(0, zstandard.frame_content_size(data))
    except zstandard.ZstdError:
        return 0


def _unpacked(data: bytes, dtype: np.dtype[Any]) -> Samples:
    try:
        unpacked = _zstd.decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise damaged("are packed and can't be unpacked") from error
    planes = np.frombuffer(unpacked, np.uint8).reshape(dtype.itemsize, -1)
    steps = planes[-1].astype(dtype)
    for plane in planes[-2::-1]:
        steps <<= 8
        steps |= plane
    steps -= _bias(dtype)
    # Adding up in 16 bits takes four times as long as in 32: each sum waits for the store of the one before.
    sums = np.add.accumulate(steps, dtype=np.uint32)
    return cast("Samples", sums.astype(dtype, copy=False).view(f"<i{dtype.itemsize}"))


def _bias(dtype: np.dtype[Any]) -> npt.NDArray[np.unsignedinteger]:
    return np.frombuffer(bytes([_BIAS_OF_A_BYTE] * dtype.itemsize), dtype)
