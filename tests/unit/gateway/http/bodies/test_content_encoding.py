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
    Unpacker,
    max_packed_bytes,
    unpack,
    window_bytes,
)
from gateway.http.problems import ProblemError
from tests.support.packed import gzip_of_tables

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKING: Final[dict[str, Callable[[bytes], bytes]]] = {"gzip": gzip.compress, "zstd": zstandard.compress}
_ENCODINGS: Final = st.sampled_from(sorted(_PACKING))
_MIB: Final = 2**20


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body as it may arrive."""
    ends = sorted(cut % (len(body) + 1) for cut in cuts)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def unpacked_in_pieces(arriving: list[bytes], encoding: str) -> bytes:
    unpacker = Unpacker(encoding)
    found = b"".join(step for piece in arriving for step in unpacker.unpacked(piece))
    unpacker.check_whole()
    return found


@given(st.binary(max_size=5000), _ENCODINGS, st.lists(st.integers(0, 10_000), max_size=5))
def test_a_body_unpacks_to_what_was_packed_however_it_arrives(
    body: bytes, encoding: str, cuts: list[int]
) -> None:
    packed = _PACKING[encoding](body)

    assert unpacked_in_pieces(pieces(packed, cuts), encoding) == body
    assert unpack(packed, encoding, len(body)) == body


@given(st.binary(max_size=500), _ENCODINGS, st.data())
def test_a_body_that_breaks_off_anywhere_is_refused(body: bytes, encoding: str, data: st.DataObject) -> None:
    packed = _PACKING[encoding](body)
    cut = data.draw(st.integers(0, len(packed) - 1))

    with pytest.raises(ProblemError, match="breaks off before its end"):
        unpack(packed[:cut], encoding, _MIB)


@given(st.binary(max_size=500), _ENCODINGS, st.binary(min_size=1, max_size=200))
def test_what_follows_the_end_is_refused_in_the_same_piece_and_in_the_next(
    body: bytes, encoding: str, more: bytes
) -> None:
    packed = _PACKING[encoding](body)

    for arriving in ([packed + more], [packed, more]):
        with pytest.raises(ProblemError, match=f"follows the end of the {encoding} body"):
            unpacked_in_pieces(arriving, encoding)


@pytest.mark.parametrize("encoding", _PACKING)
def test_a_bomb_never_becomes_more_than_a_step_of_memory(encoding: str) -> None:
    packed = _PACKING[encoding](bytes(64 * _MIB))

    assert max(map(len, Unpacker(encoding).unpacked(packed))) <= 2 * _MIB + 128 * 1024


@pytest.mark.parametrize("encoding", _PACKING)
def test_a_body_larger_than_allowed_is_too_large(encoding: str) -> None:
    with pytest.raises(ProblemError, match="may have 1000 bytes") as caught:
        unpack(_PACKING[encoding](bytes(1001)), encoding, 1000)

    assert caught.value.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


_ZSTD_WITHOUT_SIZE: Final = bytes.fromhex("28b52ffd0058")
_OF_NO_USE: Final = {
    "gzip, tables of codes": gzip_of_tables(4 * _MIB, letters=0),
    "gzip, stored blocks": gzip.compress(b"")[:10] + bytes.fromhex("000000ffff") * _MIB,
    "zstd, empty blocks": _ZSTD_WITHOUT_SIZE + bytes(3) * _MIB,
    "zstd, blocks of one byte": _ZSTD_WITHOUT_SIZE + bytes([0x08, 0, 0, 0x20]) * _MIB,
}


@pytest.mark.parametrize("letters", [0, 13])
def test_tables_for_hardly_anything_are_gzip(letters: int) -> None:
    assert set(gzip.decompress(gzip_of_tables(1000, letters=letters))) == set(b"a" * letters)


@pytest.mark.parametrize("body", _OF_NO_USE.values(), ids=_OF_NO_USE)
def test_a_body_that_gives_less_than_it_takes_is_given_up_early(body: bytes) -> None:
    encoding = "gzip" if body.startswith(b"\x1f") else "zstd"

    with pytest.raises(ProblemError, match="gives less than it takes"):
        unpacked_in_pieces(pieces(body[: 512 * 1024], [1024]), encoding)


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
def test_noise_that_packing_makes_longer_is_taken_though_its_sender_flushes_often(
    encoding: str, pack: Callable[[list[bytes]], bytes]
) -> None:
    noise = Random(1).randbytes(2 * _MIB)  # noqa: S311 - no secret
    packed = pack([noise[start : start + 1024] for start in range(0, len(noise), 1024)])
    assert len(packed) > len(noise)

    assert unpack(packed, encoding, len(noise)) == noise


def test_json_may_be_half_as_long_before_it_is_unpacked_and_a_small_one_as_long() -> None:
    assert max_packed_bytes(16 * _MIB) == 8 * _MIB
    assert max_packed_bytes(100 * 1024) == 64 * 1024
    assert max_packed_bytes(2000) == 2000


@pytest.mark.parametrize("encoding", _PACKING)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_samples_without_any_pattern_pack_to_less_than_a_half(encoding: str, bits: int) -> None:
    random = Random(bits)  # noqa: S311 - no secret
    samples = [random.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1)) for _ in range(100_000)]
    body = json.dumps(samples, separators=(",", ":")).encode()

    assert len(_PACKING[encoding](body)) < len(body) / 2


def test_a_zstd_frame_that_lies_about_its_size_is_refused() -> None:
    packed = bytearray(zstandard.compress(bytes(range(200))))
    assert zstandard.frame_content_size(bytes(packed)) == 200
    packed[5] = 255

    with pytest.raises(ProblemError, match="is declared as zstd and is not"):
        unpack(bytes(packed), "zstd", _MIB)


def test_the_memory_that_unpacking_takes_is_known_by_its_first_bytes() -> None:
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
def test_a_window_that_is_never_taken_is_a_bad_request_before_any_memory_is_asked_for(
    window_log: int,
) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    too_wide = packer.compress(b"x") + packer.flush()

    with pytest.raises(ProblemError, match="more than 8 MiB"):
        window_bytes("zstd", too_wide[:18])
