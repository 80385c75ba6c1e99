"""The dead-letter queue of RabbitMQ: list, replay or drop its messages.

A quorum queue counts how often a message is requeued, and from RabbitMQ 4.0 drops it at the 20th time:
listing them by requeueing would destroy them. So a letter that is kept is published to the queue once more,
confirmed, and only then acked. A crash between the two leaves it there twice, never not at all.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import aio_pika
from aio_pika.exceptions import PublishError

from shared.broker.rabbitmq.connection import open_connection_to_any
from shared.broker.rabbitmq.refusals import translated_failures
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EventType
from shared.ports.operators.dead_letters import DeadLetter, Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from shared.broker.topology import Topology

_NAME: Final = "isoline dlq"
_TIMEOUT_S: Final = 10.0
_COUNT_WITHIN_S: Final = 3.0
_COUNT_EVERY_S: Final = 10.0
_NAME_LENGTH: Final = 12


class RabbitmqDeadLetters:
    """`shared.ports.operators.dead_letters.DeadLetters` at RabbitMQ."""

    def __init__(self, channel: AbstractChannel, topology: Topology) -> None:
        self._channel = channel
        self._topology = topology

    async def settle_each(self, decide: Callable[[DeadLetter], Decision]) -> list[DeadLetter]:
        async with _translated_errors():
            queue = await self._channel.declare_queue(self._topology.dead_letter_queue, passive=True)
            letters: list[DeadLetter] = []
            for _ in range(queue.declaration_result.message_count or 0):
                message = await queue.get(fail=False, timeout=_TIMEOUT_S)
                if message is None:
                    break
                letters.append(_letter(message))
                await self._settle(decide(letters[-1]), message)
            return letters

    async def _settle(self, decision: Decision, message: AbstractIncomingMessage) -> None:
        # Through the dead-letter exchange: permission to publish to the default one would open every queue.
        name, key = self._topology.dead_letter_exchange, ""
        if decision is Decision.REPLAY:
            name, key = self._topology.exchange, EventType.SUBMITTED
        if decision is not Decision.DROP:
            exchange = await self._channel.get_exchange(name)
            await exchange.publish(_copy(message), key, mandatory=True, timeout=_TIMEOUT_S)
        await message.ack()


class RabbitmqDeadLetterCounter:
    """`shared.ports.operators.dead_letters.DeadLetterCounter` at RabbitMQ.

    It connects every ten seconds at the most, for a moment, and gives the last answer until then.
    """

    def __init__(self, url: str, *, topology: Topology) -> None:
        self._url = url
        self._topology = topology
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        self._answer: int | UnavailableError = 0

    async def count(self) -> int:
        async with self._asking:
            if time.monotonic() - self._asked_s >= _COUNT_EVERY_S:
                self._answer = await self._ask()
                self._asked_s = time.monotonic()
        if isinstance(self._answer, UnavailableError):
            raise self._answer.copy()
        return self._answer

    async def _ask(self) -> int | UnavailableError:
        try:
            async with (
                translated_failures(),
                open_connection_to_any(self._url, _NAME, within_s=_COUNT_WITHIN_S) as connection,
                asyncio.timeout(_COUNT_WITHIN_S),
            ):
                channel = await connection.channel()
                queue = await channel.declare_queue(self._topology.dead_letter_queue, passive=True)
        except UnavailableError as error:
            return error
        return queue.declaration_result.message_count or 0


@asynccontextmanager
async def open_dead_letters(url: str, *, topology: Topology) -> AsyncIterator[RabbitmqDeadLetters]:
    """Open the dead-letter queue of a broker, at the first of its nodes that answers.

    Raises:
        UnavailableError: No node answers, or the queue does not exist yet.
    """
    async with AsyncExitStack() as opened:
        async with translated_failures():
            connection = await opened.enter_async_context(
                open_connection_to_any(url, _NAME, within_s=_TIMEOUT_S)
            )
        yield RabbitmqDeadLetters(await connection.channel(on_return_raises=True), topology)


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    async with translated_failures():
        try:
            yield
        except PublishError:
            raise UnroutableError(f"no queue is bound to {EventType.SUBMITTED}") from None


def _letter(message: AbstractIncomingMessage) -> DeadLetter:
    named = sha256((message.message_id or "").encode() + message.body).hexdigest()
    deaths = message.headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else {}
    reason = death.get("reason", "unknown") if isinstance(death, dict) else "unknown"
    return DeadLetter(named[:_NAME_LENGTH], str(reason), message.body)


def _copy(message: AbstractIncomingMessage) -> aio_pika.Message:
    return aio_pika.Message(
        message.body,
        headers={name: value for name, value in message.headers.items() if name != "x-delivery-count"},
        message_id=message.message_id,
        content_type=message.content_type,
        type=message.type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
