"""The publisher of the embedded mode: ECGs stay in the process, events go to RabbitMQ."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from isoline.embedded.publisher import EmbeddedPublisher, open_embedded_publisher
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, Event, deleted_event, processed_event, submitted_event
from tests.support.builders import SOURCE
from tests.unit.shared.scripted_ports import ScriptedPublisher

_AWAY = UnavailableError("RabbitMQ is away")
_KEY = EcgKey("ada", "10")
_NOW = datetime(2026, 12, 1, tzinfo=UTC)


def submitted() -> Event:
    return submitted_event([_KEY], source=SOURCE, now=_NOW, traceparent="")


def processed() -> Event:
    return processed_event(_KEY, {}, source=SOURCE, now=_NOW, traceparent=None)


async def test_each_event_goes_to_the_broker_of_its_type_and_has_its_outcome() -> None:
    in_process, rabbitmq = ScriptedPublisher(None, None), ScriptedPublisher(_AWAY, None)
    deleted = deleted_event(_KEY._replace(generation=2), source=SOURCE, now=_NOW, traceparent="")
    first, second, third = submitted(), processed(), submitted()

    outcomes = await EmbeddedPublisher(in_process, rabbitmq).publish([first, second, third, deleted])

    assert in_process.published == [first, third]
    assert rabbitmq.published == [second, deleted]
    assert outcomes == [None, _AWAY, None, None]


async def test_it_can_publish_events_while_rabbitmq_can() -> None:
    in_process, rabbitmq = ScriptedPublisher(checks=[_AWAY]), ScriptedPublisher(checks=[None, _AWAY])
    publisher = EmbeddedPublisher(in_process, rabbitmq)

    await publisher.check()
    with pytest.raises(UnavailableError):
        await publisher.check()


async def test_without_a_rabbitmq_all_stays_in_the_process() -> None:
    in_process = ScriptedPublisher()

    async with open_embedded_publisher(in_process, "", namespace="") as (publisher, health_parts):
        await publisher.publish([processed()])

    assert health_parts == {}
    assert in_process.published
