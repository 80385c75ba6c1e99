from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from shared.domain.errors import InvalidEcgError
from shared.domain.header import INT32_MAX, INT32_MIN
from shared.storage.signals.samples import EncodedSamples, decode_samples, encode_samples

if TYPE_CHECKING:
    from shared.domain.ecg import Samples

# What this version's first packed form looked like: rows of it are in databases.
OLD_INT16 = EncodedSamples(
    "int16-delta-planes-zstd", bytes.fromhex("28b52ffd64b80a6d0000188081800200d8815f5cf7032ccdce40cf")
)
OLD_INT32 = EncodedSamples(
    "int32-delta-planes-zstd", bytes.fromhex("28b52ffd6470166d000018808180020090017a71dd0fb040e86774")
)


def some_samples(longest: int = 3000) -> st.SearchStrategy[Samples]:
    """Samples of either width, few or many, smooth or not."""
    return st.sampled_from(["int16", "int32"]).flatmap(
        lambda width: stn.arrays(width, st.integers(1, longest))
    )


def a_signal(count: int = 5000) -> Samples:
    """A smooth signal of 16 bits, which packs well."""
    return (1000 * np.sin(np.arange(count) / 20)).astype(np.int16)


class TestEncoding:
    @given(some_samples())
    def test_samples_come_back_exactly(self, samples: Samples) -> None:
        decoded = decode_samples(encode_samples(samples), samples.size)

        assert decoded.dtype == samples.dtype
        assert decoded.tolist() == samples.tolist()

    @given(st.integers(0, 2**32 - 1), st.integers(16, 32))
    def test_steps_that_do_not_fit_come_back_exactly(self, seed: int, bits: int) -> None:
        samples = np.random.default_rng(seed).integers(-(2**bits) // 2, 2**bits // 2, 2000).astype(np.int32)
        samples[::7] //= 2**16  # else nothing is gained, and nothing packed
        samples[1000:1004] = [INT32_MIN, INT32_MAX, INT32_MIN, 0]

        decoded = decode_samples(encode_samples(samples), samples.size)

        assert decoded.tolist() == samples.tolist()

    def test_the_widest_steps_are_packed_and_come_back_exactly(self) -> None:
        narrow = np.array([-(2**15), 2**15 - 1] * 2000, np.int16)
        wide = np.array([INT32_MIN, INT32_MAX] * 2000, np.int32)

        encoded = [encode_samples(narrow), encode_samples(wide)]

        assert [encoding for encoding, _ in encoded] == ["int16-delta-planes-zstd", "int32-delta-planes-zstd"]
        assert decode_samples(encoded[0], 4000).tolist() == narrow.tolist()
        assert decode_samples(encoded[1], 4000).tolist() == wide.tolist()

    def test_few_samples_are_left_as_they_are(self) -> None:
        assert encode_samples(a_signal(3)) == ("int16le", b"\x00\x00\x31\x00\x63\x00")
        assert encode_samples(a_signal(2047)).encoding == "int16le"
        assert encode_samples(a_signal(2048)).encoding == "int16-delta-planes-zstd"

    def test_samples_that_packing_would_not_make_smaller_are_left_as_they_are(self) -> None:
        noise = np.random.default_rng(1).integers(-(2**15), 2**15, 5000).astype(np.int16)

        assert encode_samples(noise) == ("int16le", noise.tobytes())


def test_threads_that_pack_and_unpack_at_once_do_not_meet() -> None:
    signals = [a_signal(50_000 + n) for n in range(64)]

    with ThreadPoolExecutor(4) as threads:
        encoded = list(threads.map(encode_samples, signals))
        decoded = list(threads.map(decode_samples, encoded, [signal.size for signal in signals]))

    assert all(map(np.array_equal, decoded, signals))


class TestOldRows:
    @pytest.mark.parametrize(
        ("stored", "width"),
        [
            (EncodedSamples("int16le", np.arange(1500, dtype="<i2").tobytes()), np.int16),
            (EncodedSamples("int32le", np.arange(1500, dtype="<i4").tobytes()), np.int32),
            (OLD_INT16, np.int16),
            (OLD_INT32, np.int32),
        ],
    )
    def test_they_stay_readable(self, stored: EncodedSamples, width: type[np.integer]) -> None:
        decoded = decode_samples(stored, 1500)

        assert decoded.dtype == width
        assert decoded.tolist() == list(range(1500))


class TestDamage:
    @given(st.data())
    def test_no_flipped_bit_gives_other_samples(self, data: st.DataObject) -> None:
        samples = a_signal()
        encoding, intact = encode_samples(samples)
        bit = data.draw(st.integers(0, 8 * len(intact) - 1))
        flipped = bytearray(intact)
        flipped[bit // 8] ^= 1 << bit % 8

        try:
            decoded = decode_samples(EncodedSamples(encoding, bytes(flipped)), samples.size)
        except InvalidEcgError as error:
            assert str(error).startswith("The stored signals ")  # noqa: PT017 - a few bits mean nothing
        else:
            assert decoded.tolist() == samples.tolist()

    @pytest.mark.parametrize("cut", [0, 1, 4, 10, -1])
    def test_a_part_is_refused(self, cut: int) -> None:
        encoding, intact = encode_samples(a_signal())

        with pytest.raises(InvalidEcgError):
            decode_samples(EncodedSamples(encoding, intact[:cut]), 5000)

    def test_what_comes_after_damage_is_read_as_if_there_had_been_none(self) -> None:
        encoded = encode_samples(a_signal())

        with pytest.raises(InvalidEcgError, match="can't be unpacked"):
            decode_samples(encoded._replace(data=encoded.data[:-100]), 5000)

        assert decode_samples(encoded, 5000).tolist() == a_signal().tolist()

    @pytest.mark.parametrize("num_samples", [-1, 0, 1, 4999, 5001, 2**62])
    def test_another_number_of_samples_is_refused(self, num_samples: int) -> None:
        for encoded in (encode_samples(a_signal()), EncodedSamples("int16le", bytes(10_000))):
            with pytest.raises(InvalidEcgError, match=f"should be {num_samples} samples"):
                decode_samples(encoded, num_samples)

    def test_more_behind_the_samples_is_refused(self) -> None:
        encoding, intact = encode_samples(a_signal())

        with pytest.raises(InvalidEcgError):
            decode_samples(EncodedSamples(encoding, intact + intact), 5000)

    def test_a_form_of_a_later_version_is_refused_by_name(self) -> None:
        with pytest.raises(InvalidEcgError, match="are int24le, which this version does not know"):
            decode_samples(EncodedSamples("int24le", b"abc"), 1)

    @pytest.mark.parametrize("says_its_size", [True, False])
    def test_a_bomb_is_refused_before_it_goes_off(self, says_its_size: bool) -> None:  # noqa: FBT001 - a case
        compressor = zstandard.ZstdCompressor(write_content_size=says_its_size)
        bomb = EncodedSamples("int16-delta-planes-zstd", compressor.compress(bytes(50_000_000)))

        tracemalloc.start()
        with pytest.raises(InvalidEcgError):
            decode_samples(bomb, 5000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert peak < 1_000_000
