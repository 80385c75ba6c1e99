"""What PostgreSQL and RabbitMQ say of themselves to a diagnosis."""

from __future__ import annotations

from typing import NamedTuple


class DatabaseServer(NamedTuple):
    """A server of PostgreSQL, as a session of ours meets it.

    Attributes:
        version: Its release.
        takes_writes: Whether it is a primary and the session may write.
        is_crash_safe: Whether a commit is on its disk when it is confirmed, by fsync and full_page_writes.
        synchronous_commit: The setting, as for sessions of our services.
        synchronous_standbys: The setting synchronous_standby_names; empty if a commit waits for none.
        used_connections: Connections of clients to all of its databases.
        most_connections: Connections that it allows to those who are no superusers.
    """

    version: str
    takes_writes: bool
    is_crash_safe: bool
    synchronous_commit: str
    synchronous_standbys: str
    used_connections: int
    most_connections: int


class BrokerNode(NamedTuple):
    """A node of RabbitMQ, as the setting names it.

    Attributes:
        address: Its host and port.
        version: Its release; empty if it can't be used.
        refusal: Why it can't be used; empty if it can.
    """

    address: str
    version: str = ""
    refusal: str = ""


class QueueState(NamedTuple):
    """A queue of RabbitMQ: messages that are ready for a consumer, and its consumers."""

    messages: int
    consumers: int
