from __future__ import annotations

from uuid import uuid4

import pytest

from shared.broker.rabbitmq import publisher_state
from shared.broker.rabbitmq.publisher_state import PublisherState
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType

_REFUSED = UnavailableError("the broker did not confirm ecg.submitted: it refused")
_UNROUTED = UnroutableError("no queue is bound to ecg.submitted")
_SUBMITTED = [Event(uuid4(), EventType.SUBMITTED, b"{}")]
_PROCESSED = [Event(uuid4(), EventType.PROCESSED, b"{}")]


def test_a_nack_is_a_failure_until_an_event_is_confirmed() -> None:
    state = PublisherState()
    state.check()

    state.keep_last_outcome(_SUBMITTED, [_REFUSED])
    with pytest.raises(UnavailableError, match=r"^RabbitMQ: the broker did not confirm .*: it refused$"):
        state.check()
    state.keep_last_outcome(_SUBMITTED, [None])

    state.check()
    assert not state.is_unrouted


def test_a_call_without_events_changes_nothing() -> None:
    state = PublisherState()
    state.keep_last_outcome(_SUBMITTED, [_REFUSED])

    state.keep_last_outcome([], [])

    with pytest.raises(UnavailableError):
        state.check()


def test_an_unrouted_submission_is_a_failure_and_an_unrouted_result_is_not() -> None:
    of_processors, of_subscribers = PublisherState(), PublisherState()

    of_processors.keep_last_outcome(_SUBMITTED, [_UNROUTED])
    of_subscribers.keep_last_outcome(_PROCESSED, [_UNROUTED])

    assert of_processors.is_unrouted
    with pytest.raises(UnavailableError, match=r"no queue is bound to ecg\.submitted"):
        of_processors.check()
    assert not of_subscribers.is_unrouted
    of_subscribers.check()


def test_a_failure_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    state = PublisherState()
    state.keep_last_outcome(_SUBMITTED, [_REFUSED])

    monkeypatch.setattr(publisher_state, "_FAILURE_EXPIRES_AFTER_S", 0)

    state.check()
