from __future__ import annotations

import pytest

from shared.runtime import outages
from shared.runtime.outages import Outages
from shared.storage.pool.database import ACQUIRE_TIMEOUT_S, COMMAND_TIMEOUT_S
from tests.support.clocks import stopped_clock
from tests.support.logs import capture_logs


def test_each_reason_is_logged_once_however_often_it_occurs() -> None:
    away = Outages("PostgreSQL")

    with capture_logs() as records:
        for reason in ("refused", "silent", "refused", "silent"):
            away.record_failure(reason)

    assert [record["reason"] for record in records] == ["refused", "silent"]


def test_the_end_is_logged_once_with_all_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    away = Outages("PostgreSQL")
    away.record_failure("refused")
    away.record_failure("silent")

    with capture_logs() as records:
        away.record_success()
        away.record_success()

    [record] = records
    assert record["reasons"] == ["refused", "silent"]
    assert not away.reasons


def test_a_success_elsewhere_does_not_end_a_partial_outage() -> None:
    away = Outages("PostgreSQL")
    away.record_failure("one table")

    with capture_logs() as records:
        away.record_success()
        away.record_failure("one table")

    assert records == []


def test_an_outage_that_is_met_by_a_time_limit_began_when_the_wait_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    away = Outages("PostgreSQL")
    away.record_failure("no answer in time", waited_s=10)

    with capture_logs() as records:
        away.record_success()

    [record] = records
    assert record["lasted_at_least_s"] == pytest.approx(10, abs=1)
    assert record["lasted_at_most_s"] == pytest.approx(10, abs=1)


def test_an_outage_that_was_met_once_lasted_until_the_first_success_at_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = stopped_clock(monkeypatch)
    away = Outages("announcing")
    away.record_failure("refused")

    with capture_logs() as records:
        for clock.now_s in (140.0, 150.0, 160.0):
            away.record_success()

    [record] = records
    assert (record["lasted_at_least_s"], record["lasted_at_most_s"]) == (0, 40)


def test_a_success_before_the_last_failure_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = stopped_clock(monkeypatch)
    away = Outages("PostgreSQL")
    away.record_failure("one table")

    with capture_logs() as records:
        clock.now_s = 101.0
        away.record_success()
        clock.now_s = 110.0
        away.record_failure("one table")
        for clock.now_s in (112.0, 130.0):
            away.record_success()

    bounds = [(record["lasted_at_least_s"], record["lasted_at_most_s"]) for record in records[-1:]]
    assert bounds == [(10, 12)]


def test_a_reason_beyond_the_limit_keeps_the_outage_going(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = stopped_clock(monkeypatch)
    away = Outages("PostgreSQL")
    for number in range(32):
        away.record_failure(f"relation {number}")

    with capture_logs() as records:
        clock.now_s = 120.0
        away.record_failure("one more")
        away.record_success()

    assert records == []


def test_one_who_asks_every_five_seconds_and_waits_for_a_time_limit_sees_one_outage() -> None:
    assert max(ACQUIRE_TIMEOUT_S, COMMAND_TIMEOUT_S) + 5 < outages.QUIET_S


def test_reasons_that_are_all_different_do_not_fill_the_log() -> None:
    away = Outages("PostgreSQL")

    with capture_logs() as records:
        for number in range(1000):
            away.record_failure(f"relation {number}")

    assert len(records) == 32
