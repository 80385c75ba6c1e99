"""Faults and their catalogue: each has a name and one function that injects it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

Harm = Callable[["Installation"], Awaitable[None]]


class Fault(NamedTuple):
    """A fault.

    Attributes:
        harm: Done while ECGs come in; it has been undone when this returns.
        spares_clients: Whether no client may see a failed request meanwhile.
        random: Whether the seeded mix may draw it: not what takes a minute, plants things, or needs root.
        prepare: What is done before ECGs come in.
        restore: What is done after the verdict.
        nodes: How many nodes the RabbitMQ has that it happens to.
        has_standby: Whether the PostgreSQL that it happens to has a synchronous standby.
    """

    name: str
    harm: Harm
    spares_clients: bool = False
    random: bool = True
    prepare: Harm | None = None
    restore: Harm | None = None
    nodes: int = 1
    has_standby: bool = False


CATALOGUE: Final[dict[str, Fault]] = {}


def fault(
    name: str,
    *,
    spares_clients: bool = False,
    random: bool = True,
    prepare: Harm | None = None,
    restore: Harm | None = None,
    nodes: int = 1,
    has_standby: bool = False,
) -> Callable[[Harm], Harm]:
    """Add the function to the catalogue."""

    def enter(harm: Harm) -> Harm:
        CATALOGUE[name] = Fault(name, harm, spares_clients, random, prepare, restore, nodes, has_standby)
        return harm

    return enter
