from __future__ import annotations

import gzip
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.encodings import MAX_ZSTD_WINDOW_BYTES, Unpacker, unpack, window_bytes
from gateway.problems import ProblemError

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
