# ruff: noqa: E501 - lines of a page
"""What the suite found, for the terminal and for docs/faults.md."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.faults.run import Outcome

_FILE: Final = Path(__file__).parents[2] / "docs" / "faults.md"
_HEAD: Final = """\
| fault | accepted | lost | retries | duplicates | longest stall | drained in |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""
_PAGE: Final = """\
# What happens when things break

Written by `{command}` ({minutes:.0f} minutes on {cores} cores). Two gateways behind a balancer, two processors and a
subscriber run on a PostgreSQL and a RabbitMQ of the suite's own; every leg between service and server is a proxy.
Clients send real ECGs and retry as the README tells them. During each fault some hundred ECGs come in; then
the suite waits until nothing is left to do and checks: every 202 is in the table and terminal (I1), has one event by
id, equal to the row (I2), and the reference's result (I3); no ECG is half there (I4); queues and outbox are
empty and dead letters hold what was planted (I5).

{table}

Accepted: **{accepted}**; lost: **{lost}**; broken invariants: **{breaches}**; duplicate event deliveries:
**{duplicates}** of {events} ({share:.2%}), each with the event id of the first. *Retries* are requests that
clients had to send again; *longest stall* is the longest time in which the subscriber heard nothing between two
events; *drained in* is the time from the fault's end, and the last 202, until nothing was left to do.

{resources}

{versions}.

## Not there yet

* A jump of the host's clock by two hours: it needs a clock of its own for each process. What Isoline measures itself
  is measured by monotonic clocks; due times are PostgreSQL's alone.
* A RabbitMQ cluster of three nodes whose queue leader is killed or frozen.
"""


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    return "\n".join([_HEAD, *map(row, outcomes)])


def row(outcome: Outcome) -> str:
    """One outcome as a row."""
    return (
        f"| {outcome.name} | {outcome.accepted:,} | {outcome.lost} | {outcome.retries} | {outcome.duplicates} "
        f"| {outcome.stall_s:.1f} s | {outcome.drain_s:.1f} s |"
    )


def write_page(
    outcomes: Sequence[Outcome],
    *,
    command: str,
    minutes: float,
    cores: int,
    resources: str,
    servers: Mapping[str, str],
) -> None:
    """Write docs/faults.md."""
    events, duplicates = sum(it.events for it in outcomes), sum(it.duplicates for it in outcomes)
    ours = {name: version(name) for name in ("aiohttp", "aio-pika", "asyncpg")}
    versions = {"Python": platform.python_version(), **servers, **ours}
    _FILE.write_text(
        _PAGE.format(
            command=command,
            minutes=minutes,
            cores=cores,
            table=table(outcomes),
            accepted=f"{sum(it.accepted for it in outcomes):,}",
            lost=sum(it.lost for it in outcomes),
            breaches=sum(len(it.breaches) for it in outcomes),
            duplicates=duplicates,
            events=f"{events:,}",
            share=duplicates / max(events, 1),
            resources=resources,
            versions="Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()),
        )
    )
