from __future__ import annotations

import pytest

from shared.broker.rabbitmq.connection_state import ConnectionState
from shared.domain.errors import UnavailableError
from tests.support.clocks import stopped_clock
from tests.support.logs import capture_logs


def test_the_duration_of_an_outage_is_logged_however_many_attempts_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = stopped_clock(monkeypatch)
    state = ConnectionState("publisher")
    state.mark_connected()

    with capture_logs() as records:
        for clock.now_s in (200.0, 220.0):
            state.mark_lost("refused")
        clock.now_s = 240.0
        state.mark_connected()

    away, connected = records
    assert (away["message"], connected["message"]) == ("broker is away", "broker is connected")
    assert connected["was_away_s"] == 40


def test_a_broker_that_has_not_answered_for_three_seconds_is_not_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = stopped_clock(monkeypatch)
    state = ConnectionState("consumer")
    state.mark_connected()

    with state.asking():
        clock.now_s += 2.9
        state.check()
        clock.now_s += 0.2
        with pytest.raises(UnavailableError, match=r"^RabbitMQ: no answer within 3 s$"):
            state.check()
    state.check()
