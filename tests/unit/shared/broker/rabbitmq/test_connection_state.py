from __future__ import annotations

from typing import TYPE_CHECKING

from shared.broker.rabbitmq.connection_state import ConnectionState
from tests.support.clocks import stopped_clock
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    import pytest


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
