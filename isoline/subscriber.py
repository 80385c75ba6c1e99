"""Subscribe to Isoline's events over RabbitMQ from a Python service.

```python
async for event in subscribe(url, service="billing", types=["ecg.processed"]):
    await bill(event.data["owner"], event.data["id"])
```

An event is acknowledged when its body of the loop has ended and the next is asked for. A body that raises
ends the loop, as in any loop, and its event is given back. An event that was begun five times and never
finished goes to the dead-letter queue ``sub.billing.dead``, and so does at once what can't be read. Delivery
is at least once: `PostgresInbox` makes that exactly once for what a service keeps in PostgreSQL.

It needs aio-pika and nothing else of this project.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NotRequired, Protocol, TypeAlias, TypedDict
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed, InvalidFrameError
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping

    from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

EventType: TypeAlias = Literal["ecg.processed", "ecg.failed", "ecg.deleted"]

# More than this many returns, and RabbitMQ 4 drops a message by itself.
_MOST_TRIES: Final = 20
_SERVICE: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
_NODES: Final = re.compile(r",(?=amqps?://)")  # a comma in a password separates none: no scheme follows
_LONGEST_NAME: Final = 100
_MOST_PREFETCHED: Final = 10_000
_REMEMBERED: Final = 100_000  # ids of events: about 15 MB

_HEARTBEAT_S: Final = 15
_CONNECT_WITHIN_S: Final = 30.0
_PUBLISH_WITHIN_S: Final = 30.0
_CLOSE_WITHIN_S: Final = 3.0
_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 10.0
# A connection that lasted so long was none that fails again and again.
_STABLE_AFTER_S: Final = 10.0

_log = logging.getLogger(__name__)


class SubscriberError(Exception):
    """RabbitMQ refuses this subscriber: its account or rights, or a queue that was declared otherwise."""


class EcgReference(TypedDict):
    """An ECG, and which analysis of it."""

    owner: str
    id: str
    generation: int


class ProcessedData(EcgReference):
    """An ECG and what was found, as `GET /ecg/{id}` shows it."""

    status: Literal["completed"]
    leads: list[dict[str, dict[str, Any]]]
    insights: dict[str, int]
    ecg: NotRequired[dict[str, Any]]


class FailedData(EcgReference):
    """An ECG, and why it could not be analysed."""

    status: Literal["failed"]
    error: str


class DeletedData(EcgReference):
    """An ECG that was erased, with its last generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _EcgEvent:
    """What events of all types have.

    Attributes:
        id: The same whenever the same fact is published again.
        source: The installation in which it happened.
        subject: The ECG, as ``owner/id``.
        time: When it happened, with an offset.
        traceparent: The context of the trace that it belongs to, if there is one.
    """

    id: UUID
    source: str
    subject: str
    time: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessedEvent(_EcgEvent):
    """An ECG was analysed."""

    type: ClassVar[Literal["ecg.processed"]] = "ecg.processed"
    data: ProcessedData


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEvent(_EcgEvent):
    """An ECG could not be analysed, and will not be tried again unless an operator replays it."""

    type: ClassVar[Literal["ecg.failed"]] = "ecg.failed"
    data: FailedData


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedEvent(_EcgEvent):
    """An ECG was erased by its owner: erase what you keep of it."""

    type: ClassVar[Literal["ecg.deleted"]] = "ecg.deleted"
    data: DeletedData


Event: TypeAlias = ProcessedEvent | FailedEvent | DeletedEvent

_CLASSES: Final[Mapping[str, type[Event]]] = {
    it.type: it for it in (ProcessedEvent, FailedEvent, DeletedEvent)
}
_ATTRIBUTES: Final[Mapping[str, type]] = {
    "specversion": str, "id": str, "source": str, "type": str, "subject": str, "time": str, "data": dict,
}  # fmt: skip
_REFERENCE: Final[dict[str, type]] = {"owner": str, "id": str, "generation": int}
_DATA: Final[Mapping[str, Mapping[str, type]]] = {
    "ecg.processed": _REFERENCE | {"status": str, "leads": list, "insights": dict},
    "ecg.failed": _REFERENCE | {"status": str, "error": str},
    "ecg.deleted": _REFERENCE,
}


def subscribe(
    url: str,
    *,
    service: str,
    types: Collection[EventType],
    namespace: str = "",
    prefetch: int = 100,
    tries: int = 5,
) -> AsyncGenerator[Event, None]:
    """Declare and bind the durable quorum queue ``sub.<service>``, and yield its events one after the other.

    It connects again by itself, for ever, after it was connected once; until then also while RabbitMQ is away
    or Isoline has not declared its exchange. Log records of ``isoline.subscriber`` say so. Every process of a
    service gets a part of its events. A type that is no longer listed stays bound until it is unbound.

    To end it, cancel its task or leave the loop; the event at hand is given back and comes again. In
    ``async with contextlib.aclosing(subscribe(...)) as events`` the connection is closed when the block ends.

    Args:
        url: Of RabbitMQ (``amqp://`` or ``amqps://``), or of each node of a cluster with commas between them.
        service: A name of the service's own: letters, digits, ``-``, ``_``, and single dots between them.
        types: Those to hear of.
        namespace: What the names of exchange and queues begin with: Isoline's ``ISOLINE_AMQP_NAMESPACE``.
        prefetch: Events that wait here for their turn; 1 to 10,000.
        tries: How often an event is begun, by all processes together, before it is given up; 1 to 20.

    Yields:
        Events. One whose body has ended is not yielded again while this process remembers it: the
        last 100,000.

    Raises:
        ValueError: An argument is out of its range.
        SubscriberError: RabbitMQ refuses the first connection for a reason that does not pass by itself.
    """
    if isinstance(types, str) or not types or not set(types) <= _CLASSES.keys():
        raise ValueError(f"types: expected some of {sorted(_CLASSES)}, found {types!r}")
    if not _SERVICE.fullmatch(service) or len(service) > _LONGEST_NAME or service.endswith("dead"):
        raise ValueError(
            f"service: expected a name like billing, that does not end with dead, found {service!r}"
        )
    if not 1 <= prefetch <= _MOST_PREFETCHED:
        raise ValueError(f"prefetch: expected 1 to {_MOST_PREFETCHED}, found {prefetch}")
    if not 1 <= tries <= _MOST_TRIES:
        raise ValueError(f"tries: expected 1 to {_MOST_TRIES}, found {tries}")
    nodes = [URL(node) for node in _NODES.split(url)]
    if any(node.scheme not in {"amqp", "amqps"} or not node.host for node in nodes):
        raise ValueError("url: expected amqp://user:password@host/ or amqps://...")
    names = _Names(f"{namespace}ecg.events", f"{namespace}sub.{service}")
    return _follow(nodes, _Subscription(names, frozenset(types), prefetch, tries))


class Connection(Protocol):
    """A connection to PostgreSQL, as asyncpg's."""

    async def execute(self, query: str, /, *args: Any) -> str:
        """Run a statement."""

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        """Run a statement, and return the first value of its first row, or None."""


class PostgresInbox:
    """The ids of the events that a service has handled, in a table of its own database.

    ```python
    async for event in subscribe(url, service="billing", types=["ecg.processed"]):
        async with pool.acquire() as connection, connection.transaction():
            if await inbox.add(event, connection):
                await connection.execute("INSERT INTO bill ...")
    ```
    """

    def __init__(self, table: str = "isoline_inbox") -> None:
        if not _TABLE.fullmatch(table):
            raise ValueError(f"table: expected a name like isoline_inbox or billing.inbox, found {table!r}")
        self._table = table

    async def create(self, connection: Connection) -> None:
        """Create the table if it does not exist."""
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table}"
            " (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )

    async def add(self, event: Event, connection: Connection) -> bool:
        """Add the event in the transaction of this connection; whether it is new.

        What the service does with a new event belongs into the same transaction: both are kept, or neither.
        A transaction of another process that adds the same event is waited for.
        """
        statement = (
            f"INSERT INTO {self._table} (id) VALUES ($1)"  # nosec B608 # noqa: S608 - a checked name
            " ON CONFLICT DO NOTHING RETURNING true"
        )
        return bool(await connection.fetchval(statement, event.id))

    async def forget(self, before: datetime, connection: Connection) -> None:
        """Forget the events that were added before this time; let weeks pass, a queue can be long."""
        statement = f"DELETE FROM {self._table} WHERE at < $1"  # nosec B608 # noqa: S608 - a checked name
        await connection.execute(statement, before)


class _LostError(Exception):
    """The connection was lost, or there is none."""


class _UnreadableError(Exception):
    """A message is no event of the types that were asked for."""


@dataclass(frozen=True, slots=True)
class _Names:
    exchange: str
    queue: str

    @property
    def dead(self) -> str:
        return f"{self.queue}.dead"


@dataclass(frozen=True, slots=True)
class _Subscription:
    names: _Names
    types: frozenset[str]
    prefetch: int
    tries: int
    finished: _RecentIds = field(default_factory=lambda: _RecentIds(_REMEMBERED))


class _RecentIds:
    def __init__(self, size: int) -> None:
        self._order = deque[UUID](maxlen=size)
        self._ids = set[UUID]()

    def __contains__(self, id_: UUID) -> bool:
        return id_ in self._ids

    def add(self, id_: UUID) -> None:
        if len(self._order) == self._order.maxlen:
            self._ids.discard(self._order[0])
        self._order.append(id_)
        self._ids.add(id_)


async def _follow(nodes: list[URL], subscription: _Subscription) -> AsyncGenerator[Event, None]:
    was_connected, failures = False, 0
    for node in cycle(nodes):
        began = time.monotonic()
        try:
            async with _open_session(node, subscription) as session:
                was_connected = True
                while True:
                    message = await session.receive()
                    event = await _event_to_handle(message, session, subscription)
                    if event is not None:
                        yield event
                        subscription.finished.add(event.id)
                    await session.acknowledge(message)
        except SubscriberError as error:
            if not was_connected:
                raise
            reason = str(error)
        except _LostError as error:
            reason = str(error)
        failures = 0 if time.monotonic() - began > _STABLE_AFTER_S else failures + 1
        _log.warning("%s: no connection to RabbitMQ: %s", subscription.names.queue, reason)
        await asyncio.sleep(_backoff_s(failures))


def _backoff_s(failures: int) -> float:
    longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures, 20))
    return random.uniform(longest / 2, longest)  # nosec B311 # noqa: S311 - no secret


async def _event_to_handle(
    message: AbstractIncomingMessage, session: _Session, subscription: _Subscription
) -> Event | None:
    """The event of a message; None if it was finished before, or is now in the dead-letter queue."""
    try:
        event = _read_event(message.body, subscription.types)
    except _UnreadableError as error:
        await session.dead_letter(message, str(error))
        return None
    if event.id in subscription.finished:
        return None
    if (begun := _deliveries_before(message)) >= subscription.tries:
        await session.dead_letter(message, f"it was begun {begun} times and never finished")
        return None
    return event


def _deliveries_before(message: AbstractIncomingMessage) -> int:
    """How often a message was delivered and not acknowledged, as a quorum queue counts.

    From RabbitMQ 4.3 on `x-delivery-count` counts a part of them, and `x-acquired-count` all.
    """
    counts = (message.headers.get(name) for name in ("x-delivery-count", "x-acquired-count"))
    return max((count for count in counts if isinstance(count, int)), default=0)


def _read_event(body: bytes, types: Collection[str]) -> Event:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _UnreadableError("it is no JSON") from None
    _check_keys(document, _ATTRIBUTES, "the event")
    if document["specversion"] != "1.0":
        raise _UnreadableError("it is no event of CloudEvents 1.0")
    if (type_ := document["type"]) not in types:
        raise _UnreadableError(f"it is none of the types that were asked for: {type_[:100]!r}")
    _check_keys(document["data"], _DATA[type_], "data")
    traceparent = document.get("traceparent")
    try:
        return _CLASSES[type_](
            id=UUID(document["id"]),
            source=document["source"],
            subject=document["subject"],
            time=_time_with_offset(document["time"]),
            traceparent=traceparent if isinstance(traceparent, str) else None,
            data=document["data"],
        )
    except ValueError as error:
        raise _UnreadableError(f"its id or time is malformed: {error}") from None


def _check_keys(document: object, kinds: Mapping[str, type], what: str) -> None:
    if not isinstance(document, dict):
        raise _UnreadableError(f"{what} is no object")
    for key, kind in kinds.items():
        value = document.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _UnreadableError(f"{what} has no {key}, or one that is no {kind.__name__}")


def _time_with_offset(text: str) -> datetime:
    time_ = datetime.fromisoformat(text)
    if time_.tzinfo is None:
        raise ValueError("the time has no offset")
    return time_


class _Session:
    """One connection, on which the queue is consumed."""

    def __init__(self, channel: AbstractChannel, subscription: _Subscription) -> None:
        self._channel = channel
        self._subscription = subscription
        self._messages = asyncio.Queue[AbstractIncomingMessage | None]()
        self._lost: str | None = None
        self._queue: AbstractQueue
        self._dead: AbstractExchange
        self._one_at_a_time = True

    async def begin(self) -> None:
        """Declare, bind and consume: at first one event at a time.

        The events that a crash gives back come first. Were they prefetched together, each crash of one
        would count for those behind it too, until they went to the dead-letter queue untried.
        """
        names = self._subscription.names
        self._channel.close_callbacks.add(lambda _, error: self.lose(str(error or "the channel was closed")))
        underlay = await self._channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self.lose("the queue was deleted"))
        await self._channel.declare_exchange(names.exchange, aio_pika.ExchangeType.TOPIC, passive=True)
        self._dead = await self._channel.declare_exchange(
            names.dead, aio_pika.ExchangeType.FANOUT, durable=True
        )
        await (await self._declare_queue(names.dead)).bind(self._dead)
        self._queue = await self._declare_queue(names.queue)
        for type_ in sorted(self._subscription.types):
            await self._queue.bind(names.exchange, type_)
        await self._consume(prefetch=1)

    def lose(self, reason: str) -> None:
        """The connection was lost, or is of no use any more."""
        if self._lost is None:
            self._lost = reason
            self._messages.put_nowait(None)

    async def receive(self) -> AbstractIncomingMessage:
        """The next message.

        Raises:
            _LostError: There will be none on this connection.
        """
        message = await self._messages.get()
        if message is None or self._lost is not None:
            raise _LostError(self._lost)
        return message

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        with _lost_connections():
            await message.ack()
            if self._one_at_a_time and not message.redelivered:
                self._one_at_a_time = False
                await self._consume(self._subscription.prefetch)  # beside the first consumer

    async def dead_letter(self, message: AbstractIncomingMessage, reason: str) -> None:
        """Publish a copy of the message, with the reason, for the dead-letter queue."""
        _log.error("%s: message goes to the dead-letter queue: %s", self._queue.name, reason)
        copy = aio_pika.Message(
            message.body,
            headers={"isoline-reason": reason, "isoline-routing-key": message.routing_key or ""},
            content_type=message.content_type,
            type=message.type,
            message_id=str(uuid4()),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        with _lost_connections():
            async with asyncio.timeout(_PUBLISH_WITHIN_S):
                await self._dead.publish(copy, message.routing_key or "", mandatory=True)

    async def _declare_queue(self, name: str) -> AbstractQueue:
        return await self._channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})

    async def _consume(self, prefetch: int) -> None:
        await self._channel.set_qos(prefetch_count=prefetch)
        await self._queue.consume(self._messages.put)


@asynccontextmanager
async def _open_session(node: URL, subscription: _Subscription) -> AsyncIterator[_Session]:
    """Connect, and close the connection with the context, which gives back what was not acknowledged.

    The library's robust connection is not used: its consumer is deaf after its queue was deleted.

    Raises:
        SubscriberError: RabbitMQ refuses.
        _LostError: There is no connection.
    """
    options = {"heartbeat": str(_HEARTBEAT_S)} | dict(node.query)
    connection = aio_pika.Connection(
        node.with_query(options), client_properties={"connection_name": subscription.names.queue}
    )
    try:
        with _lost_connections():
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await _connect(connection, node)
                channel = await connection.channel(on_return_raises=True)
                session = _Session(channel, subscription)
                connection.close_callbacks.add(lambda _, error: session.lose(str(error or "it was closed")))
                await session.begin()
        yield session
    finally:
        await _close(connection)


async def _connect(connection: aio_pika.Connection, node: URL) -> None:
    """Connect.

    Raises:
        SubscriberError: RabbitMQ refuses the virtual host, of which the library tells an unexpected frame.
    """
    try:
        await connection.connect()
    except InvalidFrameError as error:
        if "Connection.OpenOk" in str(error) and "Connection.Close" in str(error):
            host = node.path.removeprefix("/") or "/"
            reason = f"there is no virtual host {host!r}, or this account has no rights there"
            raise SubscriberError(reason) from error
        raise


async def _close(connection: aio_pika.Connection) -> None:
    closing = asyncio.ensure_future(asyncio.gather(connection.close(), return_exceptions=True))
    await asyncio.wait([closing], timeout=_CLOSE_WITHIN_S)


@contextmanager
def _lost_connections() -> Iterator[None]:
    """Turn the library's exceptions into ours.

    A channel that closes ends calls on it with CancelledError, and may replace a real one: the task knows.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    failure: BaseException | None = None
    try:
        yield
    except (*CONNECTION_EXCEPTIONS, asyncio.CancelledError) as error:
        failure = error
    if task and task.cancelling() > cancelled_before:
        raise asyncio.CancelledError from failure
    if isinstance(failure, ChannelPreconditionFailed):
        raise SubscriberError(f"it is declared otherwise: {failure}") from failure
    if isinstance(failure, ChannelAccessRefused | ProbableAuthenticationError):
        raise SubscriberError(str(failure)) from failure
    if failure is not None:
        raise _LostError(str(failure) or type(failure).__name__) from failure
