"""All that became of an ECG is found by one grep of the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.builders import an_ecg_body
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    import aiohttp

_TRACE: str = "4bf92f3577b34da6a3ce929d0e0e4736"
_TRACEPARENT: str = f"00-{_TRACE}-00f067aa0ba902b7-01"


@pytest.mark.usefixtures("processor")
async def test_requests_and_analyses_name_the_ecg_and_its_trace(ada: aiohttp.ClientSession) -> None:
    with capture_logs() as records:
        await ada.post("/ecg/process", json=an_ecg_body(), headers={"traceparent": _TRACEPARENT})
        await ada.get("/ecg/10?wait=10")
        await ada.delete("/ecg/10")

    of_ecg = [record for record in records if record.get("ecg") == "ada/10"]
    assert [(record["message"], record.get("status")) for record in of_ecg] in (
        [("request", 202), ("an ECG was completed", None), ("request", 200), ("request", 204)],
        [("an ECG was completed", None), ("request", 202), ("request", 200), ("request", 204)],
    )
    [completed] = [record for record in of_ecg if record["message"] == "an ECG was completed"]
    assert completed["level"] == "debug"
    assert (completed["generation"], completed["attempt"], completed["trace_id"]) == (1, 1, _TRACE)
    assert 0 <= completed["latency_s"] < 10


@pytest.mark.parametrize(
    ("body", "ecg"),
    [(an_ecg_body(), "ada/10"), (an_ecg_body(leads=[]), None)],
    ids=["of another content", "that is none"],
)
async def test_a_refused_submission_names_the_ecg_once_it_is_known(
    ada: aiohttp.ClientSession, body: dict[str, object], ecg: str | None
) -> None:
    await ada.post("/ecg/process", json=an_ecg_body(leads=[{"name": "V1", "signal": [1, 2]}]))

    with capture_logs() as records:
        async with ada.post("/ecg/process", json=body) as response:
            assert response.status in {409, 422}

    [record] = [record for record in records if record["message"] == "request"]
    assert record.get("ecg") == ecg
