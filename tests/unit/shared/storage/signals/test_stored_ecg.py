from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ecg import Ecg, Lead
from shared.domain.errors import InvalidEcgError
from shared.domain.header import INT32_MAX, INT32_MIN, Header, LeadHeader
from shared.storage.signals.content_hash import content_hash
from shared.storage.signals.samples import EncodedSamples, decode_samples
from shared.storage.signals.stored_ecg import (
    EncodedEcg,
    decode_ecg,
    encode_ecg,
    join_signals,
)
from tests.support.builders import a_lead, an_ecg

if TYPE_CHECKING:
    from collections.abc import Sequence


EXAMPLES = Path(__file__).parents[5] / "examples" / "data"


def described(*counts: int) -> bytes:
    """Leads of so many samples, as they are stored."""
    leads = [
        {"name": f"V{n}", "baseline": 0, "adc_gain": 1, "num_samples": count}
        for n, count in enumerate(counts)
    ]
    return with_leads(orjson.dumps(leads))


def with_leads(leads: bytes) -> bytes:
    """A header of these leads, as it is stored."""
    return b'{"date": "2023-07-30", "leads": %b}' % leads


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
    rate_hz = draw(st.none() | st.floats(1, 10_000))
    missing_value = draw(st.none() | st.integers(INT32_MIN, INT32_MAX))
    return a_lead(
        name,
        signal,
        baseline=baseline,
        adc_gain=adc_gain,
        sampling_rate_hz=rate_hz,
        missing_value=missing_value,
    )


def said(lead: Lead) -> tuple[LeadHeader, list[int]]:
    return lead.header, lead.signal.tolist()


def hash_of(ecg: Ecg) -> bytes:
    return content_hash(ecg.header, join_signals(ecg))


def encoded(leads: Sequence[Lead]) -> EncodedEcg:
    ecg = an_ecg(leads=leads)
    return encode_ecg(ecg.header, join_signals(ecg))


def decoded(stored: EncodedEcg) -> tuple[Lead, ...]:
    return decode_ecg("10", stored.header, stored.samples).leads


def with_signals(*signals: tuple[str, list[int]]) -> Ecg:
    return an_ecg(leads=[a_lead(name, signal) for name, signal in signals])


class TestEncoding:
    @given(leads())
    def test_leads_come_back_exactly(self, leads: list[Lead]) -> None:
        assert [said(lead) for lead in decoded(encoded(leads))] == [said(lead) for lead in leads]

    def test_a_real_ecg_comes_back_exactly_from_a_quarter_of_its_size(self) -> None:
        recording = orjson.loads((EXAMPLES / "ptbxl_06004.json").read_bytes())
        leads = [a_lead(lead["name"], lead["signal"]) for lead in recording["leads"]]

        stored = encoded(leads)

        assert [said(lead) for lead in decoded(stored)] == [said(lead) for lead in leads]
        assert len(stored.samples.data) < 12 * 5000 * 2 / 4

    @given(leads())
    def test_samples_take_two_bytes_each_exactly_when_all_fit(self, leads: list[Lead]) -> None:
        encoding, data = encoded(leads).samples

        values = [value for lead in leads for value in lead.signal.tolist()]
        fit = all(-(2**15) <= value < 2**15 for value in values)
        assert encoding.removeprefix("headed-") == ("int16le" if fit else "int32le")
        assert len(data) == len(values) * (2 if fit else 4)

    def test_samples_lie_end_to_end_with_the_lowest_byte_first(self) -> None:
        stored = encoded([a_lead("I", [1, -2]), a_lead("II", [256])])

        assert stored.samples.data == b"\x01\x00\xfe\xff\x00\x01"

    @pytest.mark.parametrize("length", [2, 5000])
    def test_decoded_signals_are_views_of_one_buffer(self, length: int) -> None:
        first, second = decoded(encoded([a_lead("I", [1] * length), a_lead("II", [3])]))

        beginning = np.lib.array_utils.byte_bounds(first.signal)[0]
        assert np.lib.array_utils.byte_bounds(second.signal)[0] == beginning + 2 * length

    @pytest.mark.parametrize(
        "changes",
        [
            {"samples": EncodedSamples("int16le", b"")},
            {"samples": EncodedSamples("int16le", b"\x01")},
            {"samples": EncodedSamples("int16le", b"\x01\x00" * 4)},
            {"samples": EncodedSamples("int32le", b"\x01\x00" * 3)},
            {"samples": EncodedSamples("int24le", b"\x01\x00" * 3)},
            {"header": with_leads(b"[]")},
            {"header": with_leads(b"{}")},
            {"header": with_leads(b"null")},
            {"header": with_leads(b"[1]")},
            {"header": with_leads(b"[{}]")},
            {"header": with_leads(b"not JSON")},
            {"header": b"null"},
            {"header": b"{}"},
            {"header": described(-1, 4)},
            {"header": described(0, 3)},
            {"header": described(2**63, -(2**63), 3)},
        ],
    )
    def test_what_is_damaged_can_not_be_decoded(self, changes: dict[str, Any]) -> None:
        stored = encoded([a_lead()])._replace(**changes)

        with pytest.raises(InvalidEcgError, match=r"^The stored signals "):
            decoded(stored)


class TestContentHash:
    @given(leads())
    def test_the_same_content_has_the_same_hash(self, leads: list[Lead]) -> None:
        again = [Lead(lead.header, lead.signal.copy()) for lead in leads]

        assert hash_of(an_ecg(leads=leads)) == hash_of(an_ecg(leads=again))

    @given(leads(), leads())
    def test_different_leads_have_different_hashes(self, some: list[Lead], others: list[Lead]) -> None:
        is_same = [said(lead) for lead in some] == [said(lead) for lead in others]

        assert (hash_of(an_ecg(leads=some)) == hash_of(an_ecg(leads=others))) is is_same

    def test_the_width_of_the_array_is_not_content(self) -> None:
        narrow, wide = np.array([1, -1], np.int16), np.array([1, -1], np.int32)

        assert hash_of(an_ecg(leads=[a_lead("I", narrow)])) == hash_of(an_ecg(leads=[a_lead("I", wide)]))

    def test_whatever_the_sender_says_is_content(self) -> None:
        base = an_ecg()
        different = [
            base,
            an_ecg(date="2023-07-31"),
            an_ecg(sampling_rate_hz=500),
            an_ecg(sampling_rate_hz=500, unit="mV"),
            an_ecg(sampling_rate_hz=500, unit="uV"),
            with_signals(("II", [1, -1, 1])),
            with_signals(("I", [1, -1]), ("II", [1])),
            with_signals(("I", [1]), ("II", [-1, 1])),
            with_signals(("II", [1, -1]), ("I", [1])),
        ]

        assert len({hash_of(ecg) for ecg in different}) == len(different)

    @pytest.mark.parametrize(
        ("signal", "expected"),
        [
            ([1, -1, 1], "5fe41372fadf5b3e9e714f9d8451f36cfc9b31513966293fba98f7f161ddba83"),
            ([1, -1, 40_000] * 2000, "c62dba399d9b972fd2e5ac8b0a63a3b050a39880485c080e2de7b97933a0ec6f"),
        ],
    )
    def test_it_is_what_it_was_when_samples_were_stored_as_they_are(
        self, signal: list[int], expected: str
    ) -> None:
        ecg = an_ecg(leads=[a_lead("I", np.array(signal, np.int32))], sampling_rate_hz=500, unit="uV")

        assert hash_of(ecg).hex() == expected

    def test_each_field_of_a_header_but_the_id_is_content(self) -> None:
        ecg = an_ecg()
        others: dict[str, Any] = {
            "name": "II",
            "baseline": 1,
            "adc_gain": 2.0,
            "sampling_rate_hz": 62.5,
            "missing_value": -32768,
            "date": "2023-07-31",
            "unit": "mV",
        }
        of_leads = {field.name for field in fields(LeadHeader)} - {"num_samples"}
        of_ecgs = {field.name for field in fields(Header)} - {"id", "leads"}

        [lead] = ecg.header.leads
        headers = [replace(ecg.header, leads=(replace(lead, **{name: others[name]}),)) for name in of_leads]
        headers += [replace(ecg.header, **{name: others[name]}) for name in of_ecgs]

        hashes = {hash_of(Ecg(header, [ecg.leads[0].signal])) for header in [ecg.header, *headers]}
        assert len(hashes) == 1 + len(of_leads) + len(of_ecgs)

    def test_it_is_what_release_0_1_0_takes_where_nothing_is_said_that_this_does_not_know(self) -> None:
        leads = [
            a_lead("I", [1019, 1030], baseline=1024, adc_gain=200.0),
            a_lead("aVR µ", np.array([40_000], np.int32)),
        ]
        ecg = an_ecg(leads=leads, date="2023-07-30T09:15:00+02:00", sampling_rate_hz=360.5, unit="mV")

        expected = "a6a5b7d09512fd643a93f0cc2cb91cb69172bae6480ec7d0482f0259433809bc"
        assert hash_of(ecg).hex() == expected

    def test_the_id_is_not_content(self) -> None:
        assert hash_of(an_ecg("10")) == hash_of(an_ecg("11"))


class TestWhatReleaseZeroOneWouldOverlook:
    @pytest.mark.parametrize("said", [{"missing_value": 5}, {"sampling_rate_hz": 62.5}])
    def test_is_stored_with_an_encoding_that_it_does_not_know(self, said: dict[str, Any]) -> None:
        assert encoded([a_lead("I", **said), a_lead("II")]).samples.encoding == "headed-int16le"

    def test_so_that_it_says_that_it_can_not_read_it(self) -> None:
        with pytest.raises(InvalidEcgError, match="which this version does not know"):
            decode_samples(encoded([a_lead(missing_value=5)]).samples, 3)

    def test_and_nothing_else_is(self) -> None:
        assert encoded([a_lead("I", baseline=1, adc_gain=2.0)]).samples.encoding == "int16le"

    def test_nor_does_it_change_what_that_release_reads(self) -> None:
        stored = encoded([a_lead("I", missing_value=5)])

        [lead] = orjson.loads(stored.leads)
        assert lead == {"name": "I", "baseline": 0, "adc_gain": 1.0, "num_samples": 3, "missing_value": 5}
