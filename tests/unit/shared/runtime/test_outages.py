from __future__ import annotations

import pytest

from shared.runtime import outages
from shared.runtime.outages import Outages
from shared.storage.postgres.database import ACQUIRE_TIMEOUT_S, COMMAND_TIMEOUT_S
from tests.logs import capture_logs


def test_each_reason_is_told_once_however_often_it_is_met() -> None:
    away = Outages("PostgreSQL")

    with capture_logs() as records:
        for reason in ("refused", "silent", "refused", "silent"):
            away.begin(reason)

    assert [record["reason"] for record in records] == ["refused", "silent"]


def test_the_end_is_told_once_with_all_that_was_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    away = Outages("PostgreSQL")
    away.begin("refused")
    away.begin("silent")

    with capture_logs() as records:
        away.end_past()
        away.end_past()

    [record] = records
    assert record["reasons"] == ["refused", "silent"]
    assert not away.reasons


def test_what_fails_for_some_is_not_over_when_others_do_well() -> None:
    away = Outages("PostgreSQL")
    away.begin("one table")

    with capture_logs() as records:
        away.end_past()
        away.begin("one table")

    assert records == []


def test_an_outage_that_is_met_by_a_time_limit_began_when_the_wait_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    away = Outages("PostgreSQL")
    away.begin("no answer in time", waited_s=10)

    with capture_logs() as records:
        away.end_past()

    [record] = records
    assert record["lasted_s"] == pytest.approx(10, abs=1)


def test_one_who_asks_every_five_seconds_and_waits_for_a_time_limit_sees_one_outage() -> None:
    assert max(ACQUIRE_TIMEOUT_S, COMMAND_TIMEOUT_S) + 5 < outages.QUIET_S


def test_reasons_that_are_all_different_do_not_fill_the_log() -> None:
    away = Outages("PostgreSQL")

    with capture_logs() as records:
        for number in range(1000):
            away.begin(f"relation {number}")

    assert len(records) == 32
