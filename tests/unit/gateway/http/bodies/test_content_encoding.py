from __future__ import annotations

import gzip
import json
import zlib
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.bodies.content_encoding import (
    MAX_ZSTD_WINDOW_BYTES,
    Decompressor,
    decompress_body,
    max_compressed_json_bytes,
    window_bytes,
)
from gateway.http.problems import ProblemError
from tests.support.malicious_gzip import gzip_of_huffman_tables

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {"gzip": gzip.compress, "zstd": zstandard.compress}
_ENCODINGS: Final = st.sampled_from(sorted(_COMPRESS))
_MIB: Final = 2**20


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body cut into the pieces in which it may arrive."""
    ends = sorted(cut % (len(body) + 1) for cut in cuts)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def decompressed_in_pieces(arriving: list[bytes], encoding: str) -> bytes:
    decompressor = Decompressor(encoding)
    found = b"".join(step for piece in arriving for step in decompressor.decompress(piece))
    decompressor.check_whole()
    return found


@given(st.binary(max_size=5000), _ENCODINGS, st.lists(st.integers(0, 10_000), max_size=5))
def test_decompression_restores_the_body_in_any_pieces(body: bytes, encoding: str, cuts: list[int]) -> None:
    compressed = _COMPRESS[encoding](body)

    assert decompressed_in_pieces(pieces(compressed, cuts), encoding) == body
    assert decompress_body(compressed, encoding, len(body)) == body


@given(st.binary(max_size=500), _ENCODINGS, st.data())
def test_a_truncated_body_is_refused(body: bytes, encoding: str, data: st.DataObject) -> None:
    compressed = _COMPRESS[encoding](body)
    cut = data.draw(st.integers(0, len(compressed) - 1))

    with pytest.raises(ProblemError, match="breaks off before its end"):
        decompress_body(compressed[:cut], encoding, _MIB)


@given(st.binary(max_size=500), _ENCODINGS, st.binary(min_size=1, max_size=200))
def test_trailing_data_is_refused_in_the_same_piece_and_in_the_next(
    body: bytes, encoding: str, more: bytes
) -> None:
    compressed = _COMPRESS[encoding](body)

    for arriving in ([compressed + more], [compressed, more]):
        with pytest.raises(ProblemError, match=f"follows the end of the {encoding} body"):
            decompressed_in_pieces(arriving, encoding)


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_a_decompression_bomb_takes_no_more_memory_than_a_step(encoding: str) -> None:
    compressed = _COMPRESS[encoding](bytes(64 * _MIB))

    assert max(map(len, Decompressor(encoding).decompress(compressed))) <= 2 * _MIB + 128 * 1024


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_a_body_past_its_limit_is_too_large(encoding: str) -> None:
    with pytest.raises(ProblemError, match="may have 1000 bytes") as caught:
        decompress_body(_COMPRESS[encoding](bytes(1001)), encoding, 1000)

    assert caught.value.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


_ZSTD_WITHOUT_SIZE: Final = bytes.fromhex("28b52ffd0058")
_OF_NO_USE: Final = {
    "gzip, tables of codes": gzip_of_huffman_tables(4 * _MIB, literals_per_block=0),
    "gzip, stored blocks": gzip.compress(b"")[:10] + bytes.fromhex("000000ffff") * _MIB,
    "zstd, empty blocks": _ZSTD_WITHOUT_SIZE + bytes(3) * _MIB,
    "zstd, blocks of one byte": _ZSTD_WITHOUT_SIZE + bytes([0x08, 0, 0, 0x20]) * _MIB,
}


@pytest.mark.parametrize("literals_per_block", [0, 13])
def test_code_tables_for_hardly_any_content_are_valid_gzip(literals_per_block: int) -> None:
    assert set(gzip.decompress(gzip_of_huffman_tables(1000, literals_per_block=literals_per_block))) == set(
        b"a" * literals_per_block
    )


@pytest.mark.parametrize("body", _OF_NO_USE.values(), ids=_OF_NO_USE)
def test_a_body_that_is_longer_compressed_is_refused_early(body: bytes) -> None:
    encoding = "gzip" if body.startswith(b"\x1f") else "zstd"

    with pytest.raises(ProblemError, match="gives less than it takes"):
        decompressed_in_pieces(pieces(body[: 512 * 1024], [1024]), encoding)


def gzip_that_flushes(parts: list[bytes]) -> bytes:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return (
        b"".join(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts) + packer.flush()
    )


def zstd_that_flushes(parts: list[bytes]) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return b"".join(packer.compress(part) + packer.flush(flush) for part in parts) + packer.flush()


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip_that_flushes), ("zstd", zstd_that_flushes)])
def test_incompressible_noise_is_accepted_though_its_sender_flushes_often(
    encoding: str, pack: Callable[[list[bytes]], bytes]
) -> None:
    noise = Random(1).randbytes(2 * _MIB)  # noqa: S311 - no secret
    compressed = pack([noise[start : start + 1024] for start in range(0, len(noise), 1024)])
    assert len(compressed) > len(noise)

    assert decompress_body(compressed, encoding, len(noise)) == noise


def test_compressed_json_may_have_half_of_the_limit_and_a_small_one_all_of_it() -> None:
    assert max_compressed_json_bytes(16 * _MIB) == 8 * _MIB
    assert max_compressed_json_bytes(100 * 1024) == 64 * 1024
    assert max_compressed_json_bytes(2000) == 2000


@pytest.mark.parametrize("encoding", _COMPRESS)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_random_samples_compress_to_less_than_a_half(encoding: str, bits: int) -> None:
    random = Random(bits)  # noqa: S311 - no secret
    samples = [random.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1)) for _ in range(100_000)]
    body = json.dumps(samples, separators=(",", ":")).encode()

    assert len(_COMPRESS[encoding](body)) < len(body) / 2


def test_a_zstd_frame_with_a_false_size_is_refused() -> None:
    compressed = bytearray(zstandard.compress(bytes(range(200))))
    assert zstandard.frame_content_size(bytes(compressed)) == 200
    compressed[5] = 255

    with pytest.raises(ProblemError, match="is declared as zstd and is not"):
        decompress_body(bytes(compressed), "zstd", _MIB)


def test_the_window_size_is_known_from_the_first_bytes() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=False)
    packer = zstandard.ZstdCompressor(
        compression_params=parameters
    ).compressobj()  # knows no size to narrow it
    wide = packer.compress(b"x") + packer.flush()

    assert window_bytes("zstd", wide[:18]) == MAX_ZSTD_WINDOW_BYTES
    assert window_bytes("zstd", zstandard.compress(bytes(100))[:18]) <= 1024
    assert window_bytes("gzip", b"") == 32 * 1024
    with pytest.raises(ProblemError, match="is declared as zstd and is not"):
        window_bytes("zstd", b"{}")


@pytest.mark.parametrize("window_log", [24, 31])
def test_too_large_a_window_is_a_400_before_memory_is_reserved(
    window_log: int,
) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    too_wide = packer.compress(b"x") + packer.flush()

    with pytest.raises(ProblemError, match="more than 8 MiB"):
        window_bytes("zstd", too_wide[:18])
