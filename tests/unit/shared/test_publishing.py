"""Which events stay in the outbox, on a scripted outbox and publisher."""

from __future__ import annotations

from typing import Final

from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EventBatch
from shared.publishing import publish_batches
from tests.support.logs import capture_logs
from tests.support.metrics import counting
from tests.unit.shared.scripted_ports import ScriptedOutbox, ScriptedPublisher, an_event_batch

_AWAY: Final = UnavailableError("the broker is away")
_DROPPED: Final = "isoline_unrouted_events_dropped_total"
_NOBODY: Final = UnroutableError("no queue is bound")


class TestPublishing:
    async def test_batches_that_the_broker_confirmed_are_cleared(self) -> None:
        outbox, batches = ScriptedOutbox(), [an_event_batch(2), an_event_batch()]

        await publish_batches(batches, outbox=outbox, publisher=ScriptedPublisher())

        assert outbox.cleared == [batch.id for batch in batches]
        assert (outbox.kept, outbox.dropped) == ([], [])

    async def test_each_batch_has_the_outcomes_of_its_own_events(self) -> None:
        outbox, [published, refused, published_too] = (
            ScriptedOutbox(),
            [an_event_batch(2), an_event_batch(), an_event_batch()],
        )
        publisher = ScriptedPublisher(None, None, _AWAY, None)

        await publish_batches([published, refused, published_too], outbox=outbox, publisher=publisher)

        assert outbox.cleared == [published.id, published_too.id]
        assert (outbox.kept, outbox.dropped) == ([], [])

    async def test_of_a_batch_the_events_stay_that_the_broker_did_not_confirm(self) -> None:
        outbox, first, second = ScriptedOutbox(), an_event_batch(2), an_event_batch(3)
        publisher = ScriptedPublisher(None, None, _AWAY, None, _AWAY)

        await publish_batches([first, second], outbox=outbox, publisher=publisher)

        rest = EventBatch(second.id, [second.events[0], second.events[2]])
        assert (outbox.cleared, outbox.kept, outbox.dropped) == ([first.id], [rest], [])

    async def test_unrouted_events_may_be_dropped_and_nothing_else_may(self) -> None:
        outbox, unrouted, in_part, refused_too = (
            ScriptedOutbox(),
            an_event_batch(2),
            an_event_batch(2),
            an_event_batch(2),
        )
        publisher = ScriptedPublisher(_NOBODY, _NOBODY, None, _NOBODY, _NOBODY, _AWAY)

        await publish_batches([unrouted, in_part, refused_too], outbox=outbox, publisher=publisher)

        assert outbox.dropped == [unrouted.id, in_part.id]
        assert outbox.kept == [EventBatch(in_part.id, [in_part.events[1]])]
        assert outbox.cleared == []

    async def test_dropped_events_are_logged_with_their_ecgs_and_counted(self) -> None:
        batches = [an_event_batch(150), an_event_batch(1)]
        publisher = ScriptedPublisher(*[_NOBODY] * 150, None)

        with capture_logs() as records, counting((_DROPPED, {})) as counted:
            await publish_batches(batches, outbox=ScriptedOutbox(), publisher=publisher)

        [record] = records
        assert (record["count"], record["ecgs"]) == (150, [f"ada/{number}" for number in range(100)])
        assert counted == [150]
