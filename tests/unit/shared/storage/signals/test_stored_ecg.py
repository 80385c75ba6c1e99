from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given

from shared.domain.errors import InvalidEcgError
from shared.storage.signals.samples import EncodedSamples, decode_samples
from shared.storage.signals.stored_ecg import (
    EncodedEcg,
    decode_ecg,
    encode_ecg,
    join_signals,
)
from tests.support.builders import a_lead, an_ecg
from tests.unit.shared.storage.signals.strategies import leads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.ecg import Lead
    from shared.domain.header import LeadHeader


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


def said(lead: Lead) -> tuple[LeadHeader, list[int]]:
    return lead.header, lead.signal.tolist()


def encoded(leads: Sequence[Lead]) -> EncodedEcg:
    ecg = an_ecg(leads=leads)
    return encode_ecg(ecg.header, join_signals(ecg))


def decoded(stored: EncodedEcg) -> tuple[Lead, ...]:
    return decode_ecg("10", stored.header, stored.samples).leads


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
