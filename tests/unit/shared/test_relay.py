"""The relay's decisions, on a scripted outbox and publisher."""

from __future__ import annotations

import asyncio
import json
from itertools import chain
from typing import Any, Final

import pytest

from shared import relay
from shared.domain.errors import UnavailableError
from shared.events import EcgKey
from shared.ports.outbox import Backoff, DueEcg
from shared.relay import run_relay
from shared.runtime import outages
from tests.support.builders import AnEventSource
from tests.support.logs import capture_logs
from tests.support.metrics import counting
from tests.unit.shared.scripted_ports import ScriptedOutbox, ScriptedPublisher, an_event_batch

_LIMIT_S: Final = 20
_PAGE: Final = 512
_INTERVAL_S: Final = 2.0
_AWAY: Final = UnavailableError("the broker is away")
_KNOWN: Final = UnavailableError("the broker is away", is_logged=True)


def ecgs(count: int) -> list[DueEcg]:
    return [DueEcg(EcgKey("ada", str(number)), None) for number in range(count)]


def announced(publisher: ScriptedPublisher) -> list[list[str]]:
    """The ids of the ECGs that each event names."""
    return [[ecg["id"] for ecg in json.loads(event.body)["data"]["ecgs"]] for event in publisher.published]


class TestAnnouncing:
    async def test_each_announcement_names_64_ecgs_at_the_most(self, pauses: Pauses) -> None:
        publisher = ScriptedPublisher()

        await pauses.sweep(1, ScriptedOutbox(ecgs=[ecgs(130)]), publisher)

        assert list(map(len, announced(publisher))) == [64, 64, 2]
        assert list(chain.from_iterable(announced(publisher))) == [ecg.key.id for ecg in ecgs(130)]

    async def test_what_is_published_again_is_counted(self, pauses: Pauses) -> None:
        what = [("isoline_relay_republished_total", {"what": what}) for what in ("ecgs", "events")]
        outbox = ScriptedOutbox(ecgs=[ecgs(3)], batches=[[an_event_batch(), an_event_batch()]])

        with counting(*what) as counted:
            await pauses.sweep(1, outbox, ScriptedPublisher())

        assert counted == [3, 2]

    async def test_those_are_put_back_that_were_not_announced(self, pauses: Pauses) -> None:
        outbox = ScriptedOutbox(ecgs=[ecgs(129)])

        await pauses.sweep(1, outbox, ScriptedPublisher(None, _AWAY, None))

        assert outbox.put_back_keys == [ecg.key for ecg in ecgs(129)[64:128]]

    async def test_events_wait_while_ecgs_can_not_be_announced(self, pauses: Pauses) -> None:
        outbox = ScriptedOutbox(ecgs=[ecgs(1)], batches=[[an_event_batch()]])

        await pauses.sweep(1, outbox, ScriptedPublisher(_AWAY))

        assert outbox.asked_for == [_PAGE]

    async def test_while_the_intake_is_paused_only_events_are_published(self) -> None:
        outbox = ScriptedOutbox(ecgs=[ecgs(1)], batches=[[an_event_batch()]])
        publisher = ScriptedPublisher()

        await relay._sweep(outbox, publisher, AnEventSource(), announces=False)

        assert outbox.asked_for == [_PAGE]
        assert len(publisher.published) == 1
        assert len(outbox.cleared) == 1

    async def test_ecgs_don_t_wait_for_the_broker_of_events(self, pauses: Pauses) -> None:
        outbox = ScriptedOutbox(
            ecgs=[ecgs(1), ecgs(_PAGE), ecgs(1)], batches=[[an_event_batch()], [an_event_batch()]]
        )
        announcer, publisher = ScriptedPublisher(), ScriptedPublisher(checks=[None, _AWAY, _AWAY, None])

        await pauses.sweep(4, outbox, publisher, announcer)

        assert [len(ids) for ids in announced(announcer)] == [1, *[64] * 8, 1]
        assert len(publisher.published) == 2
        assert outbox.asked_for == [_PAGE] * (4 + 2)
        assert pauses.slept_s == [_INTERVAL_S, _INTERVAL_S / 10, _INTERVAL_S, _INTERVAL_S]

    async def test_nothing_is_asked_of_the_outbox_while_the_broker_is_unavailable(
        self, pauses: Pauses
    ) -> None:
        outbox = ScriptedOutbox(ecgs=[ecgs(1)])

        await pauses.sweep(1, outbox, ScriptedPublisher(checks=[_AWAY]))

        assert outbox.asked_for == []

    async def test_how_many_were_announced_is_logged_and_none_is_not(self, pauses: Pauses) -> None:
        with capture_logs() as records:
            await pauses.sweep(2, ScriptedOutbox(ecgs=[ecgs(3)]), ScriptedPublisher())

        assert [record["count"] for record in records] == [3]


class TestPace:
    async def test_what_it_takes_is_due_again_after_10_s_doubling_up_to_300_s(self, pauses: Pauses) -> None:
        outbox = ScriptedOutbox()

        await pauses.sweep(1, outbox, ScriptedPublisher())

        assert outbox.backoffs == [Backoff(first_s=10, longest_s=300)] * 2  # of ECGs and of events

    async def test_a_page_that_is_not_full_is_followed_by_a_whole_interval(self, pauses: Pauses) -> None:
        outbox = ScriptedOutbox(ecgs=[ecgs(_PAGE - 1)], batches=[[an_event_batch(_PAGE - 1)]])

        await pauses.sweep(1, outbox, ScriptedPublisher())

        assert pauses.slept_s == [_INTERVAL_S]

    @pytest.mark.parametrize(
        ("due_ecgs", "due_events"), [(_PAGE, 0), (0, _PAGE), (0, _PAGE + 1), (_PAGE, _PAGE)]
    )
    async def test_a_full_page_is_followed_by_a_tenth_of_it(
        self, pauses: Pauses, due_ecgs: int, due_events: int
    ) -> None:
        batches = [an_event_batch(due_events - 1), an_event_batch()] if due_events else []

        await pauses.sweep(2, ScriptedOutbox(ecgs=[ecgs(due_ecgs)], batches=[batches]), ScriptedPublisher())

        assert pauses.slept_s == [_INTERVAL_S / 10, _INTERVAL_S]

    async def test_its_backoff_doubles_up_to_ten_intervals_during_an_outage(self, pauses: Pauses) -> None:
        await pauses.sweep(6, ScriptedOutbox(), ScriptedPublisher(checks=[_AWAY] * 6))

        assert pauses.slept_s == [4, 8, 16, 20, 20, 20]

    async def test_after_an_outage_it_is_as_quick_as_before(self, pauses: Pauses) -> None:
        full = [ecgs(_PAGE), ecgs(1)]

        await pauses.sweep(
            6, ScriptedOutbox(ecgs=full), ScriptedPublisher(checks=[_AWAY, _AWAY, None, None, _AWAY, None])
        )

        assert pauses.slept_s == [4, 8, 0.2, 2, 4, 2]

    async def test_an_outage_after_a_full_page_is_no_reason_to_hurry(self, pauses: Pauses) -> None:
        await pauses.sweep(2, ScriptedOutbox(ecgs=[ecgs(_PAGE)]), ScriptedPublisher(checks=[None, _AWAY]))

        assert pauses.slept_s == [0.2, 4]

    async def test_an_outage_of_postgresql_while_events_are_cleared_is_like_any_other(
        self, pauses: Pauses
    ) -> None:
        outbox = ScriptedOutbox(batches=[[an_event_batch()]], is_away=True)

        await pauses.sweep(2, outbox, ScriptedPublisher())

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

    async def test_an_outage_began_when_what_failed_first_began(
        self, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shared.runtime.outages.QUIET_S", 0)
        clock = _SlowChecks(monkeypatch)

        with capture_logs() as records:
            await pauses.sweep(3, ScriptedOutbox(), clock.slow(ScriptedPublisher(checks=[None, _AWAY, None])))

        assert [record["lasted_at_least_s"] for record in records[1:]] == [clock.CHECK_S]

    async def test_a_failure_that_was_logged_elsewhere_is_not_logged_again(self, pauses: Pauses) -> None:
        assert await _logged(pauses, [_KNOWN, None]) == []


async def _logged(pauses: Pauses, checks: list[UnavailableError | None]) -> list[dict[str, Any]]:
    with capture_logs() as records:
        await pauses.sweep(len(checks), ScriptedOutbox(), ScriptedPublisher(checks=checks))
    return records


class Pauses:
    """Replaces sleeping: records the pauses, and ends the relay after some sweeps."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []
        self._left = 0

    async def sweep(
        self,
        times: int,
        outbox: ScriptedOutbox,
        publisher: ScriptedPublisher,
        announcer: ScriptedPublisher | None = None,
    ) -> None:
        """Run a relay for so many sweeps."""
        self._left = times
        with pytest.raises(_SweptError):
            async with asyncio.timeout(_LIMIT_S):
                await run_relay(
                    outbox=outbox,
                    publisher=publisher,
                    event_source=AnEventSource(),
                    interval_s=_INTERVAL_S,
                    announcer=announcer,
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


class _SlowChecks:
    """A clock that stands still but while a publisher is checked."""

    CHECK_S: Final = 30.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now_s = 1000.0
        monkeypatch.setattr(relay, "time", self)
        monkeypatch.setattr(outages, "time", self)

    def monotonic(self) -> float:
        return self._now_s

    def slow(self, publisher: ScriptedPublisher) -> ScriptedPublisher:
        """The same publisher; each check takes its time."""
        check = publisher.check

        async def slow_check() -> None:
            self._now_s += self.CHECK_S
            await check()

        publisher.check = slow_check  # type: ignore[method-assign]
        return publisher


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Pauses without jitter and without a wait."""
    pauses = Pauses()
    monkeypatch.setattr(relay, "asyncio", _Clock(pauses))
    monkeypatch.setattr("random.uniform", lambda _, longest: longest)
    return pauses
