"""The relay's decisions, on a scripted outbox and publisher."""

from __future__ import annotations

import asyncio
import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from shared import relay
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EcgKey, Event, EventBatch, EventType
from shared.relay import publish_batches, run_relay
from tests.support.builders import AnInstallation
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID


_LIMIT_S: Final = 20
_PAGE: Final = 512
_INTERVAL_S: Final = 2.0
_AWAY: Final = UnavailableError("the broker is away")
_KNOWN: Final = UnavailableError("the broker is away", is_logged=True)
_NOBODY: Final = UnroutableError("no queue is bound")


class Outbox:
    """A `shared.ports.outbox.Outbox` with these due ECGs and batches, a list of them for each sweep."""

    def __init__(
        self,
        *,
        ecgs: Sequence[list[EcgKey]] = (),
        batches: Sequence[list[EventBatch]] = (),
        is_away: bool = False,
    ) -> None:
        self._ecgs = iter(ecgs)
        self._batches = iter(batches)
        self._is_away = is_away
        self.asked_for: list[int] = []
        self.put_back_keys: list[EcgKey] = []
        self.cleared: list[UUID] = []
        self.narrowed: list[EventBatch] = []
        self.dropped: list[UUID] = []

    async def take_due_ecgs(self, limit: int) -> list[EcgKey]:
        self.asked_for.append(limit)
        return next(self._ecgs, [])

    async def put_back(self, keys: Collection[EcgKey]) -> None:
        self.put_back_keys += keys

    async def take_due_events(self, limit: int) -> list[EventBatch]:
        self.asked_for.append(limit)
        return next(self._batches, [])

    async def clear(self, batch_ids: Collection[UUID]) -> None:
        if self._is_away:
            raise UnavailableError("PostgreSQL is away")
        assert batch_ids, "nothing is asked for nothing"
        self.cleared += batch_ids

    async def narrow(self, batch: EventBatch) -> None:
        self.narrowed.append(batch)

    async def drop_unrouted(self, batch_ids: Collection[UUID]) -> int:
        assert batch_ids, "nothing is asked for nothing"
        self.dropped += batch_ids
        return len(batch_ids)


class Publisher:
    """A `shared.ports.broker.Publisher` with these outcomes, one after the other; all else succeeds."""

    def __init__(
        self,
        *outcomes: UnroutableError | UnavailableError | None,
        checks: Sequence[UnavailableError | None] = (),
    ) -> None:
        self._outcomes = iter(outcomes)
        self._checks = iter(checks)
        self.published: list[Event] = []

    async def check(self) -> None:
        if failure := next(self._checks, None):
            raise failure

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        assert events
        self.published += events
        return [next(self._outcomes, None) for _ in events]


def an_event_batch(events: int = 1) -> EventBatch:
    return EventBatch(uuid4(), [Event(uuid4(), EventType.PROCESSED, b"{}") for _ in range(events)])


def ecgs(count: int) -> list[EcgKey]:
    return [EcgKey("ada", str(number)) for number in range(count)]


def announced(publisher: Publisher) -> list[list[str]]:
    """The ids of the ECGs that each event names."""
    return [[ecg["id"] for ecg in json.loads(event.body)["data"]["ecgs"]] for event in publisher.published]


class TestPublishing:
    async def test_batches_that_the_broker_confirmed_are_cleared(self) -> None:
        outbox, batches = Outbox(), [an_event_batch(2), an_event_batch()]

        await publish_batches(batches, outbox=outbox, publisher=Publisher())

        assert outbox.cleared == [batch.id for batch in batches]
        assert (outbox.narrowed, outbox.dropped) == ([], [])

    async def test_each_batch_has_the_outcomes_of_its_own_events(self) -> None:
        outbox, [published, refused, published_too] = (
            Outbox(),
            [an_event_batch(2), an_event_batch(), an_event_batch()],
        )
        publisher = Publisher(None, None, _AWAY, None)

        await publish_batches([published, refused, published_too], outbox=outbox, publisher=publisher)

        assert outbox.cleared == [published.id, published_too.id]
        assert (outbox.narrowed, outbox.dropped) == ([], [])

    async def test_of_a_batch_the_events_stay_that_the_broker_did_not_confirm(self) -> None:
        outbox, first, second = Outbox(), an_event_batch(2), an_event_batch(3)
        publisher = Publisher(None, None, _AWAY, None, _AWAY)

        await publish_batches([first, second], outbox=outbox, publisher=publisher)

        rest = EventBatch(second.id, [second.events[0], second.events[2]])
        assert (outbox.cleared, outbox.narrowed, outbox.dropped) == ([first.id], [rest], [])

    async def test_unrouted_events_may_be_dropped_and_nothing_else_may(self) -> None:
        outbox, unrouted, in_part, refused_too = (
            Outbox(),
            an_event_batch(2),
            an_event_batch(2),
            an_event_batch(2),
        )
        publisher = Publisher(_NOBODY, _NOBODY, None, _NOBODY, _NOBODY, _AWAY)

        await publish_batches([unrouted, in_part, refused_too], outbox=outbox, publisher=publisher)

        assert outbox.dropped == [unrouted.id, in_part.id]
        assert outbox.narrowed == [EventBatch(in_part.id, [in_part.events[1]])]
        assert outbox.cleared == []

    async def test_the_number_of_dropped_events_is_logged(self) -> None:
        with capture_logs() as records:
            await publish_batches([an_event_batch()], outbox=Outbox(), publisher=Publisher(_NOBODY))

        assert [record["count"] for record in records] == [1]


class TestAnnouncing:
    async def test_each_announcement_names_64_ecgs_at_the_most(self, pauses: Pauses) -> None:
        publisher = Publisher()

        await pauses.sweep(1, Outbox(ecgs=[ecgs(130)]), publisher)

        assert list(map(len, announced(publisher))) == [64, 64, 2]
        assert list(chain.from_iterable(announced(publisher))) == [key.id for key in ecgs(130)]

    async def test_those_are_put_back_that_were_not_announced(self, pauses: Pauses) -> None:
        outbox = Outbox(ecgs=[ecgs(129)])

        await pauses.sweep(1, outbox, Publisher(None, _AWAY, None))

        assert outbox.put_back_keys == ecgs(129)[64:128]

    async def test_events_wait_while_ecgs_can_not_be_announced(self, pauses: Pauses) -> None:
        outbox = Outbox(ecgs=[ecgs(1)], batches=[[an_event_batch()]])

        await pauses.sweep(1, outbox, Publisher(_AWAY))

        assert outbox.asked_for == [_PAGE]

    async def test_nothing_is_asked_of_the_outbox_while_the_broker_is_unavailable(
        self, pauses: Pauses
    ) -> None:
        outbox = Outbox(ecgs=[ecgs(1)])

        await pauses.sweep(1, outbox, Publisher(checks=[_AWAY]))

        assert outbox.asked_for == []

    async def test_how_many_were_announced_is_logged_and_none_is_not(self, pauses: Pauses) -> None:
        with capture_logs() as records:
            await pauses.sweep(2, Outbox(ecgs=[ecgs(3)]), Publisher())

        assert [record["count"] for record in records] == [3]


class TestPace:
    async def test_a_page_that_is_not_full_is_followed_by_a_whole_interval(self, pauses: Pauses) -> None:
        outbox = Outbox(ecgs=[ecgs(_PAGE - 1)], batches=[[an_event_batch(_PAGE - 1)]])

        await pauses.sweep(1, outbox, Publisher())

        assert pauses.slept_s == [_INTERVAL_S]

    @pytest.mark.parametrize(
        ("due_ecgs", "due_events"), [(_PAGE, 0), (0, _PAGE), (0, _PAGE + 1), (_PAGE, _PAGE)]
    )
    async def test_a_full_page_is_followed_by_a_tenth_of_it(
        self, pauses: Pauses, due_ecgs: int, due_events: int
    ) -> None:
        batches = [an_event_batch(due_events - 1), an_event_batch()] if due_events else []

        await pauses.sweep(2, Outbox(ecgs=[ecgs(due_ecgs)], batches=[batches]), Publisher())

        assert pauses.slept_s == [_INTERVAL_S / 10, _INTERVAL_S]

    async def test_its_backoff_doubles_up_to_ten_intervals_during_an_outage(self, pauses: Pauses) -> None:
        await pauses.sweep(6, Outbox(), Publisher(checks=[_AWAY] * 6))

        assert pauses.slept_s == [4, 8, 16, 20, 20, 20]

    async def test_after_an_outage_it_is_as_quick_as_before(self, pauses: Pauses) -> None:
        full = [ecgs(_PAGE), ecgs(1)]

        await pauses.sweep(6, Outbox(ecgs=full), Publisher(checks=[_AWAY, _AWAY, None, None, _AWAY, None]))

        assert pauses.slept_s == [4, 8, 0.2, 2, 4, 2]

    async def test_an_outage_after_a_full_page_is_no_reason_to_hurry(self, pauses: Pauses) -> None:
        await pauses.sweep(2, Outbox(ecgs=[ecgs(_PAGE)]), Publisher(checks=[None, _AWAY]))

        assert pauses.slept_s == [0.2, 4]

    async def test_an_outage_of_postgresql_while_events_are_cleared_is_like_any_other(
        self, pauses: Pauses
    ) -> None:
        outbox = Outbox(batches=[[an_event_batch()]], is_away=True)

        await pauses.sweep(2, outbox, Publisher())

        assert pauses.slept_s == [4, 2]


class TestOutages:
    async def test_the_beginning_and_the_end_are_logged_once(
        self, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.runtime.outages.QUIET_S", 0)

        records = await _logged(pauses, [_AWAY, _AWAY, None, None])

        assert [(record["level"], record["what"]) for record in records] == [
            ("warning", "the relay"),
            ("info", "the relay"),
        ]
        assert records[0]["reason"] == "the broker is away"

    async def test_a_failure_that_was_logged_elsewhere_is_not_logged_again(self, pauses: Pauses) -> None:
        assert await _logged(pauses, [_KNOWN, None]) == []


async def _logged(pauses: Pauses, checks: list[UnavailableError | None]) -> list[dict[str, Any]]:
    with capture_logs() as records:
        await pauses.sweep(len(checks), Outbox(), Publisher(checks=checks))
    return records


class Pauses:
    """Replaces sleeping: records the pauses, and ends the relay after some sweeps."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._left = 0

    async def sweep(self, times: int, outbox: Outbox, publisher: Publisher) -> None:
        """Run a relay for so many sweeps."""
        self._left = times
        with pytest.raises(_SweptError):
            async with asyncio.timeout(_LIMIT_S):
                await run_relay(
                    outbox=outbox,
                    publisher=publisher,
                    installation=AnInstallation(),
                    interval_s=_INTERVAL_S,
                )

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self._left -= 1
        if not self._left:
            raise _SweptError


class _SweptError(Exception):
    """The relay has swept often enough."""


class _Clock:
    """`asyncio` with another `sleep`."""

    def __init__(self, pauses: Pauses) -> None:
        self.sleep = pauses.sleep


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Pauses without jitter and without a wait."""
    pauses = Pauses()
    monkeypatch.setattr(relay, "asyncio", _Clock(pauses))
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)
    return pauses
