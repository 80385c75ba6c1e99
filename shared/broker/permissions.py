"""The permissions that each service needs at RabbitMQ: patterns of the names that it may act on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.service import Service

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from shared.broker.topology import Topology

_NOTHING: Final = "^$"


class Permissions(NamedTuple):
    """Of a user in a virtual host, as regular expressions of names of exchanges and queues.

    Attributes:
        configure: What it may declare and delete.
        write: What it may publish to.
        read: What it may consume, and purge.
    """

    configure: str = _NOTHING
    write: str = _NOTHING
    read: str = _NOTHING

    def __str__(self) -> str:
        return f"configure {self.configure}, write {self.write}, read {self.read}"


def permissions_of(services: Collection[Service], topology: Topology) -> Permissions:
    """What these services need of a topology that an administrator has declared.

    To declare it they would need more: that is `isoline topology apply`.
    """
    written, consumed = set(), set()
    if not {*services} <= {Service.SCALER}:
        written.add(topology.exchange)
    if Service.PROCESSOR in services:
        consumed.add(topology.submitted_queue)
    if Service.OPERATOR in services:
        # A letter that is looked at goes back by the exchange.
        written.add(topology.dead_letter_exchange)
        consumed.add(topology.dead_letter_queue)
    return Permissions(write=_pattern(written), read=_pattern(consumed))


def control_command(user: str, permissions: Permissions, *, virtual_host: str) -> str:
    """The command of RabbitMQ's own tool that sets these permissions."""
    return shlex.join(["rabbitmqctl", "set_permissions", "--vhost", virtual_host, user, *permissions])


def _pattern(names: Iterable[str]) -> str:
    # Of what names consist of, only the dot has a meaning in a pattern.
    alternatives = "|".join(sorted(name.replace(".", "[.]") for name in names))
    return f"^({alternatives})$" if alternatives else _NOTHING
