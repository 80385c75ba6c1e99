from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ecg import INT32_MAX, INT32_MIN, Ecg, Lead
from shared.domain.errors import InvalidEcgError
from shared.storage.signals import EncodedSignals, content_hash, decode_signals, encode_signals
from tests.builders import a_lead, an_ecg


@st.composite
def leads(draw: st.DrawFn) -> list[Lead]:
    """One to four leads of either width."""
    names = draw(st.lists(st.sampled_from(["I", "II", "aVR", "µ"]), min_size=1, max_size=4, unique=True))
    return [draw(lead(name)) for name in names]


@st.composite
def lead(draw: st.DrawFn, name: str) -> Lead:
    narrow = draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=5))
    wide = draw(st.lists(st.integers(INT32_MIN, INT32_MAX), min_size=1, max_size=5))
    signal = np.array(narrow, np.int16) if draw(st.booleans()) else np.array(wide, np.int32)
    baseline = draw(st.integers(INT32_MIN, INT32_MAX))
    adc_gain = draw(st.floats(0, exclude_min=True, allow_infinity=False))
    return Lead(name, signal, baseline, adc_gain)


def said(lead: Lead) -> tuple[str, list[int], int, float]:
    return lead.name, lead.signal.tolist(), lead.baseline, lead.adc_gain


def hash_of(ecg: Ecg) -> bytes:
    return content_hash(ecg, encode_signals(ecg.leads))


def with_signals(*signals: tuple[str, list[int]]) -> Ecg:
    return an_ecg(leads=[a_lead(name, signal) for name, signal in signals])


class TestEncoding:
    @given(leads())
    def test_leads_come_back_exactly(self, leads: list[Lead]) -> None:
        decoded = decode_signals(encode_signals(leads))

        assert [said(lead) for lead in decoded] == [said(lead) for lead in leads]

    @given(leads())
    def test_samples_take_two_bytes_each_exactly_when_all_fit(self, leads: list[Lead]) -> None:
        encoded = encode_signals(leads)

        values = [value for lead in leads for value in lead.signal.tolist()]
        fit = all(-(2**15) <= value < 2**15 for value in values)
        assert encoded.encoding == ("int16le" if fit else "int32le")
        assert len(encoded.samples) == len(values) * (2 if fit else 4)

    def test_samples_lie_end_to_end_with_the_lowest_byte_first(self) -> None:
        encoded = encode_signals([a_lead("I", [1, -2]), a_lead("II", [256])])

        assert encoded.samples == b"\x01\x00\xfe\xff\x00\x01"

    def test_decoded_signals_are_views_of_one_buffer(self) -> None:
        encoded = encode_signals([a_lead("I", [1, 2]), a_lead("II", [3])])

        first, second = decode_signals(encoded)

        buffer = np.frombuffer(encoded.samples, np.uint8)
        assert np.shares_memory(first.signal, buffer)
        assert np.shares_memory(second.signal, buffer)

    @pytest.mark.parametrize(
        "changes",
        [
            {"samples": b""},
            {"samples": b"\x01"},
            {"samples": b"\x01\x00" * 4},
            {"encoding": "int32le"},
            {"encoding": "int24le"},
            {"leads": b"[]"},
            {"leads": b"{}"},
            {"leads": b"null"},
            {"leads": b"[1]"},
            {"leads": b"[{}]"},
            {"leads": b"not JSON"},
        ],
    )
    def test_what_is_damaged_can_not_be_decoded(self, changes: dict[str, bytes]) -> None:
        encoded: EncodedSignals = encode_signals([a_lead()])._replace(**changes)  # type: ignore[arg-type]

        with pytest.raises(InvalidEcgError, match=r"^The stored signals "):
            decode_signals(encoded)


class TestContentHash:
    @given(leads())
    def test_the_same_content_has_the_same_hash(self, leads: list[Lead]) -> None:
        again = [Lead(lead.name, lead.signal.copy(), lead.baseline, lead.adc_gain) for lead in leads]

        assert hash_of(an_ecg(leads=leads)) == hash_of(an_ecg(leads=again))

    @given(leads(), leads())
    def test_different_leads_have_different_hashes(self, some: list[Lead], others: list[Lead]) -> None:
        is_same = [said(lead) for lead in some] == [said(lead) for lead in others]

        assert (hash_of(an_ecg(leads=some)) == hash_of(an_ecg(leads=others))) is is_same

    def test_the_width_of_the_array_is_not_content(self) -> None:
        narrow, wide = np.array([1, -1], np.int16), np.array([1, -1], np.int32)

        assert hash_of(an_ecg(leads=[Lead("I", narrow)])) == hash_of(an_ecg(leads=[Lead("I", wide)]))

    def test_whatever_the_sender_says_is_content(self) -> None:
        base = an_ecg()
        different = [
            base,
            Ecg("10", "2023-07-31", base.leads),
            Ecg("10", "2023-07-30", base.leads, 500),
            Ecg("10", "2023-07-30", base.leads, 500, "mV"),
            Ecg("10", "2023-07-30", base.leads, 500, "uV"),
            with_signals(("II", [1, -1, 1])),
            with_signals(("I", [1, -1]), ("II", [1])),
            with_signals(("I", [1]), ("II", [-1, 1])),
            with_signals(("II", [1, -1]), ("I", [1])),
        ]

        assert len({hash_of(ecg) for ecg in different}) == len(different)

    def test_the_id_is_not_content(self) -> None:
        assert hash_of(an_ecg("10")) == hash_of(an_ecg("11"))
