"""What `/metrics` says of a worker beside what it counted."""

from __future__ import annotations

import asyncio
import math
import platform
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from shared.domain.errors import UnavailableError
from shared.ports.operators.backlog import BacklogState
from shared.release import RELEASE
from shared.runtime import scraped_metrics
from shared.runtime.health import Health, HealthPart
from shared.runtime.operations_port import open_operations_port
from shared.runtime.scraped_metrics import ScrapedMetrics
from tests.support.metrics import ScriptedBacklog, metrics_of

if TYPE_CHECKING:
    import pytest


async def values(metrics: ScrapedMetrics) -> dict[str, float]:
    """The values of a scrape, by the name of the series with its labels."""
    text = (await metrics.scrape()).body.decode()
    return {
        sample.name
        + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_it_names_the_release_and_says_how_far_the_backlog_goes() -> None:
    backlog = BacklogState(queued_ecgs=3, oldest_ecg_s=7.5, unpublished_batches=2, oldest_batch_s=0.5)

    found = await values(ScrapedMetrics(Health({}), ScriptedBacklog(backlog)))

    assert found[f"isoline_build_info python={platform.python_version()} version={RELEASE}"] == 1
    assert found["isoline_queued_ecgs"] == 3
    assert found["isoline_oldest_queued_ecg_age_seconds"] == 7.5
    assert found["isoline_outbox_batches"] == 2
    assert found["isoline_oldest_outbox_batch_age_seconds"] == 0.5


async def test_a_part_that_does_not_work_is_0_and_so_is_readiness_once_it_fails() -> None:
    troubles: list[Exception] = []

    async def check() -> None:
        if troubles:
            raise troubles[0]

    parts = {
        name: HealthPart(check=check, impact="Nothing is lost.", is_in_memory=True, fails_after_s=after_s)
        for name, after_s in (("needed", 0.0), ("useful", math.inf))
    }
    metrics = metrics_of(Health(parts))
    of_parts = ["isoline_health_part_ok part=needed", "isoline_health_part_ok part=useful", "isoline_ready"]

    well = await values(metrics)
    troubles.append(UnavailableError("away"))
    ill = await values(metrics)
    troubles.clear()
    well_again = await values(metrics)

    assert [[found[name] for name in of_parts] for found in (well, ill, well_again)] == [
        [1, 1, 1],
        [0, 0, 0],
        [1, 1, 1],
    ]


class NeverRead:
    """A backlog whose reading does not end."""

    async def read(self) -> BacklogState:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_backlog_that_can_not_be_read_is_no_number_and_hides_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scraped_metrics, "_READ_WITHIN_S", 0.01)
    backlog = ScriptedBacklog(BacklogState(5, 1.0, 0, 0.0))
    known = await values(ScrapedMetrics(Health({}), backlog))
    backlog.outcome = UnavailableError("PostgreSQL is away")
    away = await values(ScrapedMetrics(Health({}), backlog))
    slow = await values(ScrapedMetrics(Health({}), NeverRead()))

    assert known["isoline_queued_ecgs"] == 5
    for found in (away, slow):
        assert math.isnan(found["isoline_queued_ecgs"])
        assert math.isnan(found["isoline_oldest_queued_ecg_age_seconds"])
        assert found["isoline_ready"] == 1


async def test_the_operations_port_has_them_in_the_text_format() -> None:
    health = Health({})
    async with (
        open_operations_port("127.0.0.1", 0, health=health, metrics=metrics_of(health)) as address,
        aiohttp.ClientSession(address) as session,
        session.get("/metrics") as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert "# TYPE isoline_queued_ecgs gauge" in await response.text()
