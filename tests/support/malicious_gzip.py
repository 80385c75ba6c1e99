"""Malicious compressed bodies, which cost much more to decompress than their content is worth."""

from __future__ import annotations

import struct
import zlib
from typing import Final

_GZIP_HEADER: Final = bytes.fromhex("1f8b08000000000000ff")
_LAST_BLOCK: Final = bytes.fromhex("0300")
_LITERAL: Final = b"a"
# The order of the lengths of the codes for lengths (RFC 1951, 3.2.7).
_ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)


def gzip_of_huffman_tables(size: int, *, literals_per_block: int) -> bytes:
    """A gzip stream of blocks that each have a Huffman table of their own, for hardly any content.

    A block is 99 bits, and one for each literal: its table has codes of one bit for the letter a and for the
    end of the block, and one distance code that nothing uses. To build such a table takes 1 us.

    Args:
        size: About how many bytes long the stream is.
        literals_per_block: How often each block has the letter a.
    """
    zeros, one = 1, 0  # the two codes for lengths: "11 to 138 zeros, as the next 7 bits say", and "1"
    head = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *[(int(symbol in {1, 18}), 3) for symbol in _ORDER]]
    literals = [
        (zeros, 1),
        (97 - 11, 7),
        (one, 1),
        (zeros, 1),
        (138 - 11, 7),
        (zeros, 1),
        (20 - 11, 7),
        (one, 1),
    ]
    block = [*head, *literals, (one, 1), *[(0, 1)] * literals_per_block, (1, 1)]
    bits = [value >> place & 1 for value, length in block for place in range(length)] * 8
    octets = [sum(bits[start + place] << place for place in range(8)) for start in range(0, len(bits), 8)]
    times = size // len(octets)
    content = _LITERAL * literals_per_block * 8 * times
    return (
        _GZIP_HEADER
        + bytes(octets) * times
        + _LAST_BLOCK
        + struct.pack("<II", zlib.crc32(content), len(content))
    )
