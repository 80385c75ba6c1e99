from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from shared.domain.ecg import Ecg, Lead
from shared.domain.header import Header, LeadHeader
from shared.storage.signals.content_hash import content_hash
from shared.storage.signals.stored_ecg import join_signals
from tests.support.builders import a_lead, an_ecg
from tests.unit.shared.storage.signals.strategies import leads


def said(lead: Lead) -> tuple[LeadHeader, list[int]]:
    return lead.header, lead.signal.tolist()


def hash_of(ecg: Ecg) -> bytes:
    return content_hash(ecg.header, join_signals(ecg))


def with_signals(*signals: tuple[str, list[int]]) -> Ecg:
    return an_ecg(leads=[a_lead(name, signal) for name, signal in signals])


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
        of_ecgs = {field.name for field in fields(Header)} - {"id", "leads", "num_samples"}

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
