"""What a gateway publishes of an accepted or erased ECG."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shared.events import EventType, read_submitted
from tests.http.conftest import QUEUE
from tests.http.ecg_requests import submit
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


def traceparents(events: Sequence[bytes]) -> dict[str, str]:
    """The trace context of events, by what they are about."""
    documents = map(json.loads, events)
    return {document["subject"]: document["traceparent"] for document in documents}


class TestAnnouncements:
    async def test_an_announcement_names_the_ecg_and_holds_no_samples(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        await submit(ada, an_ecg_body(leads=[{"name": "I", "signal": [776655]}]))

        [body] = broker.waiting(QUEUE)
        assert read_submitted(body) == [("ada", "10", 1)]
        assert b"776655" not in body

    async def test_an_announcement_continues_the_clients_trace(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}

        await ada.post("/ecg/process", json=an_ecg_body(), headers=headers)

        assert trace_id.encode() in broker.waiting(QUEUE)[0]

    async def test_the_row_and_the_event_of_a_request_carry_its_span_and_no_others(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker, database: Database
    ) -> None:
        broker.bind("deletions", EventType.DELETED)
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        ada.headers["traceparent"] = f"00-{trace_id}-00f067aa0ba902b7-01"

        for ecg_id in ("10", "11"):
            await submit(ada, an_ecg_body(id=ecg_id))
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT owner || '/' || id AS subject, traceparent FROM ecg")
        announced = traceparents(broker.waiting(QUEUE))
        for ecg_id in ("10", "11"):
            await ada.delete(f"/ecg/{ecg_id}")
        erased = traceparents(broker.waiting("deletions"))

        assert announced == {row["subject"]: row["traceparent"] for row in rows}
        assert announced.keys() == erased.keys() == {"ada/10", "ada/11"}
        contexts = {*announced.values(), *erased.values()}
        assert len(contexts) == 4
        assert all(context.startswith(f"00-{trace_id}-") for context in contexts)
