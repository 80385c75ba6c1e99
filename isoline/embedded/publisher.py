"""Publish in the embedded mode: ECGs to its own processor, their events to a RabbitMQ if there is one."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.events import EventType
from shared.runtime.health import HealthPart
from shared.runtime.process import process_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.events import Event
    from shared.ports.broker import Publisher


@asynccontextmanager
async def open_embedded_publisher(
    in_process: Publisher, amqp_url: str, *, namespace: str
) -> AsyncIterator[tuple[Publisher, dict[str, HealthPart]]]:
    """Yield the publisher and what health says of the RabbitMQ of subscribers, if there is one.

    Args:
        in_process: To the processor of this process.
        amqp_url: Of that RabbitMQ, whether or not it is up; none if empty.
        namespace: What the name of its exchange begins with.
    """
    if not amqp_url:
        yield in_process, {}
        return
    topology = Topology(namespace, is_for_subscribers_alone=True)
    async with open_rabbitmq_publisher(
        amqp_url, topology=topology, process=process_name("embedded")
    ) as rabbitmq:
        part = HealthPart(
            check=rabbitmq.check_last_publish,
            impact="ECGs are analysed and their events kept; these go out once RabbitMQ takes them.",
            fails_after_s=math.inf,
            is_in_memory=True,
        )
        yield EmbeddedPublisher(in_process, rabbitmq), {"broker": part}


class EmbeddedPublisher:
    """A `shared.ports.broker.Publisher` of two brokers.

    `ecg.submitted` stays in this process: at a RabbitMQ that several installations share, the processors of
    another would take it, find no such ECG and drop it.
    """

    def __init__(self, in_process: Publisher, rabbitmq: Publisher) -> None:
        self._in_process = in_process
        self._rabbitmq = rabbitmq

    async def check(self) -> None:
        """Return if RabbitMQ can take events; this process always takes ECGs."""
        await self._rabbitmq.check()

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        """Publish each event to the broker that is for its type; one outcome per event, in order."""
        submitted = [event for event in events if event.type is EventType.SUBMITTED]
        others = [event for event in events if event.type is not EventType.SUBMITTED]
        of_submitted = iter(await self._in_process.publish(submitted) if submitted else ())
        of_others = iter(await self._rabbitmq.publish(others) if others else ())
        return [next(of_submitted if event.type is EventType.SUBMITTED else of_others) for event in events]
