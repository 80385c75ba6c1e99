"""The stored form of a recording's samples: parts of a million or so, so that none needs much memory."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from shared.domain.ecg import to_smallest_dtype
from shared.runtime.threads import in_thread
from shared.storage.signals.samples import EncodedSamples, damaged, decode_samples, encode_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from shared.domain.ecg import Samples

    Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"  # subscriptable in the stubs only

# The encoding in the row that the parts belong to: a type that fits all samples.
DTYPES_OF_PARTS: Final[Mapping[str, np.dtype[Any]]] = {
    "int16-parts": np.dtype("<i2"),
    "int32-parts": np.dtype("<i4"),
}

_ADD: Final = """
INSERT INTO recording_part (recording, part, num_samples, encoding, samples) VALUES ($1, $2, $3, $4, $5)
"""

_PART: Final = """
SELECT num_samples, encoding, samples FROM recording_part
WHERE recording = (SELECT id FROM recording WHERE row = $1) AND part = $2
"""


async def write_parts(connection: Connection, recording: int, blocks: Iterator[Samples]) -> None:
    """Write each block as a part of a recording, in the narrowest type."""
    for part in count():
        encoded = await in_thread(_next_encoded, blocks)
        if encoded is None:
            return
        await connection.execute(_ADD, recording, part, *encoded)


async def read_parts(connection: Connection, row: int, dtype: np.dtype[Any], num_samples: int) -> Samples:
    """The samples of a row's recording, end to end; needs memory for them and for one part.

    Raises:
        InvalidEcgError: They are damaged, or their number is wrong.
    """
    samples, end = np.empty(num_samples, dtype), 0
    for part in count():
        found = await connection.fetchrow(_PART, row, part)
        if found is None:
            break
        start, end = end, end + found["num_samples"]
        if end <= num_samples:
            encoded = EncodedSamples(found["encoding"], found["samples"])
            await in_thread(_decode, encoded, samples[start:end])
    if end != num_samples:
        raise damaged(f"should be {num_samples} samples and are {end}")
    return cast("Samples", samples)


def _next_encoded(blocks: Iterator[Samples]) -> tuple[int, str, bytes] | None:
    block = next(blocks, None)
    return None if block is None else (block.size, *encode_samples(to_smallest_dtype(block)))


def _decode(encoded: EncodedSamples, into: Samples) -> None:
    into[:] = decode_samples(encoded, into.size)
