"""What a gateway counts of requests and submissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from tests.support.builders import an_ecg_body
from tests.support.metrics import counting, metric_value

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker

_DURATIONS = "isoline_http_request_duration_seconds_count"
_SUBMISSIONS = "isoline_submissions_total"


def requests_to(route: str, *, method: str = "GET", status: int = 200) -> tuple[str, dict[str, str]]:
    return _DURATIONS, {"route": route, "method": method, "status": str(status)}


async def status_of(session: aiohttp.ClientSession, method: str, path: str) -> int:
    async with session.request(method, path) as response:
        return response.status


async def test_a_request_is_counted_by_its_route_method_and_status(ada: aiohttp.ClientSession) -> None:
    with counting(
        requests_to("/health/live"),
        requests_to("/health/live", method="HEAD"),
        requests_to("/ecg/{id}", status=404),
        requests_to("none", status=404),
    ) as counted:
        assert await status_of(ada, "GET", "/health/live") == 200
        assert await status_of(ada, "HEAD", "/health/live") == 200
        assert await status_of(ada, "GET", "/ecg/of-nobody") == 404
        assert await status_of(ada, "GET", "/nowhere/of-nobody") == 404

    assert counted == [1, 1, 1, 1]


async def test_what_a_client_makes_up_is_no_label(ada: aiohttp.ClientSession) -> None:
    with counting(requests_to("none", method="other", status=405)) as counted:
        assert await status_of(ada, "PROPFIND", "/ecg/secret-id") == 405

    labels = [sample.labels for family in REGISTRY.collect() for sample in family.samples]
    assert counted == [1]
    assert not any("PROPFIND" in value or "secret-id" in value for each in labels for value in each.values())


async def test_a_submission_is_counted_by_what_became_of_it(ada: aiohttp.ClientSession) -> None:
    outcomes = ("accepted", "repeated", "conflict", "refused", "unavailable")
    with counting(*((_SUBMISSIONS, {"outcome": outcome}) for outcome in outcomes)) as counted:
        for body in (
            an_ecg_body(),
            an_ecg_body(),
            an_ecg_body(),
            an_ecg_body(leads=[{"name": "V1", "signal": [1]}]),
            an_ecg_body(leads=[]),
            {"id": 1},
        ):
            await ada.post("/ecg/process", json=body)
        await ada.post("/ecg/process", data=b"no JSON")

    assert counted == [1, 2, 1, 3, 0]


async def test_published_events_are_counted_by_what_the_broker_said(
    ada: aiohttp.ClientSession, broker: InProcessBroker
) -> None:
    outcomes = ("confirmed", "unrouted", "unknown")
    with counting(*(("isoline_publishes_total", {"outcome": outcome}) for outcome in outcomes)) as counted:
        await ada.post("/ecg/process", json=an_ecg_body(id="1"))
        broker.disconnect()
        await ada.post("/ecg/process", json=an_ecg_body(id="2"))
        broker.reconnect()

    assert counted == [1, 0, 1]


@pytest.mark.usefixtures("processor")
async def test_a_result_is_a_miss_once_and_then_a_hit(ada: aiohttp.ClientSession) -> None:
    await ada.post("/ecg/process", json=an_ecg_body())
    assert await status_of(ada, "GET", "/ecg/10?wait=10") == 200
    outcomes = ("hit", "miss")
    with counting(
        *(("isoline_result_cache_lookups_total", {"outcome": outcome}) for outcome in outcomes)
    ) as counted:
        assert await status_of(ada, "GET", "/ecg/10") == 200

    assert counted == [1, 0]


async def test_open_connections_and_held_memory_are_gauges(ada: aiohttp.ClientSession) -> None:
    assert await status_of(ada, "GET", "/health/live") == 200

    assert metric_value("isoline_http_connections") >= 1
    assert metric_value("isoline_body_bytes", size="large") == 0
    assert metric_value("isoline_database_connections", state="most") >= metric_value(
        "isoline_database_connections", state="used"
    )
