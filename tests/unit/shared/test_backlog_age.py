"""The health part of the backlog's age."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from shared import backlog_age
from shared.backlog_age import health_part_of_backlog_age
from shared.domain.errors import UnavailableError
from shared.ports.operators.backlog import BacklogState
from shared.runtime.health import Health, State, open_health
from tests.support.metrics import ScriptedBacklog

if TYPE_CHECKING:
    from shared.runtime.health import HealthPart


def a_backlog(oldest_ecg_s: float) -> BacklogState:
    return BacklogState(queued_ecgs=1, oldest_ecg_s=oldest_ecg_s, unpublished_batches=0, oldest_batch_s=0.0)


async def reason(part: HealthPart) -> str:
    """Why the check fails; empty if it passes."""
    try:
        await part.check()
    except UnavailableError as error:
        return str(error)
    return ""


@pytest.fixture
def read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reading serves a second check."""
    monkeypatch.setattr(backlog_age, "_READ_EVERY_S", 0.0)


@pytest.mark.usefixtures("read_each_time")
async def test_an_ecg_that_waits_for_too_long_is_told_with_the_setting_that_says_so() -> None:
    backlog = ScriptedBacklog(a_backlog(30))
    part = health_part_of_backlog_age(backlog, warning_s=30)

    at_the_limit = await reason(part)
    backlog.outcome = a_backlog(31.4)
    above = await reason(part)
    backlog.outcome = UnavailableError("PostgreSQL: no answer in time")
    unknown = await reason(part)
    backlog.outcome = a_backlog(0)

    assert (at_the_limit, await reason(part)) == ("", "")
    assert above == (
        "the oldest queued ECG has waited for 31 s, more than ISOLINE_BACKLOG_AGE_WARNING_S, 30 s"
    )
    assert unknown == "PostgreSQL: no answer in time"


async def test_the_backlog_is_read_every_five_seconds_and_judged_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    backlog = ScriptedBacklog(a_backlog(31))
    part = health_part_of_backlog_age(backlog, warning_s=30)

    first = await reason(part)
    backlog.outcome = a_backlog(0)
    now_s[0] += 4.9
    again = await reason(part)
    now_s[0] += 0.1

    assert first
    assert again == first
    assert await reason(part) == ""


async def test_a_service_with_an_old_backlog_is_ready_and_its_part_degraded() -> None:
    part = health_part_of_backlog_age(ScriptedBacklog(a_backlog(1e6)), warning_s=1)
    health: Health
    async with open_health({"backlog_age": part}) as health:
        readiness = await health.readiness()

    assert readiness.is_ready
    [document] = readiness.document["parts"].values()  # type: ignore[attr-defined]
    assert document["state"] is State.DEGRADED
    assert document["means"] == "Results come late; no ECG is lost."
