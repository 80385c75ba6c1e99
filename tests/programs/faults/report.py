# ruff: noqa: E501 - lines of a page
"""The report of the suite, for the terminal and for docs/faults.md."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.programs.faults.installation.footprint import Footprint
    from tests.programs.faults.run import Outcome

_FILE: Final = Path(__file__).parents[3] / "docs" / "faults.md"
_BEFORE_HEADING: Final = re.compile(r"^(?=## )", re.MULTILINE)
_LIBRARIES: Final = ("aio-pika", "aiormq", "asyncpg", "aiohttp", "uvloop")
_HEAD: Final = """\
| fault | accepted | lost | wrong | missing events | stuck | duplicates | retries | longest stall | drained in |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""
_PAGE: Final = """\
# What happens when things break

Two gateways behind a balancer, two processors and a subscriber run on a PostgreSQL and a RabbitMQ of the suite's own;
each connection between a service and a server goes through a proxy. Clients send real ECGs and retry as docs/http.md tells them.
During each fault some hundred ECGs come in; then the suite waits until nothing is left to do and checks: every 202 is
in the table and terminal (I1), has one event by id, equal to the row, for everybody who follows (I2), and the reference's
result (I3); no ECG is half there (I4); queues and outbox are empty and dead letters hold what was injected (I5); each service's
resident memory is within 1.5 times what it was after the first load, its open files (sockets are files) and threads
within a dozen and six more (I6).

Four follow in each row: the subscriber over AMQP, an owner who asks `GET /events` for page after page, a service that
follows all owners by server-sent events and goes on in another stream every few seconds, and a receiver of webhooks with an inbox. *Duplicates* and *longest stall* below are
the subscriber's; what any of the four misses, or hears otherwise, is counted.

A table for each RabbitMQ that is supported: `make faults` writes that of the one on this machine, `RABBITMQ=4 make faults`
that of the one from `make rabbitmq4`, which keeps its metadata in Khepri and refuses what is deprecated. Each is written by a
run in which no promise was broken, and by no other.

* *lost*: accepted and no longer in the table; *wrong*: another result, state or event than it should have, or two;
  *missing events*: terminal without an event; *stuck*: not done within five minutes.
* *duplicates* are event deliveries beyond the first; *retries* are requests that clients had to send again.
* *longest stall* is the longest time in which the subscriber received nothing between two events; *drained in* is the
  time from the fault's end, and the last 202, until nothing was left to do.
* *Killed at* a place is SIGKILL at that instruction. *Frozen past the heartbeat* is SIGSTOP until the broker has closed
  the process's connections, which takes it 30 to 45 s.
* *Clock*: the clock of both gateways, both processors and PostgreSQL jumps while they run (libfaketime); their monotonic
  clocks go on, as they do when a host's clock is set. RabbitMQ's stays: it measures by its monotonic clock.
* *Two gateways apart*: one gateway alone lives by another clock, 2 s behind, 2 s ahead, then two hours. Each has to take
  what tokens the other has just made, and none of a deleted account after 5 s.
* *PgBouncer*: in transaction mode, between every service and PostgreSQL, with three sessions for all of them.
* *Its synchronous standby promoted*: made by `pg_basebackup`; no commit is acknowledged before the standby has it. The
  services' URL names both hosts. The standby is promoted two seconds after the primary was killed, and stays primary.
* *Lost, a base backup restored*: the backup is made by `pg_basebackup` while ECGs come in; a second later PostgreSQL is killed, and
  starts with the backup in the place of its data. ECGs that were accepted in between are gone and not counted as accepted;
  each other one has to be terminal within a minute after the services are ready.
* *RabbitMQ cluster*: three nodes on one host, every queue a quorum queue; services and subscriber know all three and
  begin at different ones. The node comes back and rejoins before the verdict.
* *Rolling upgrade*: two gateways and two processors of the release before are replaced by this one's, one after the
  other, and back; the schema changes before or after them. No service may say meanwhile that the schema is not for it.
  The release before keeps no event log: readers of it are held to what comes afterwards.
* *Subscriber with an inbox*: a process of `isoline.subscriber` that keeps each event in the transaction of a `PostgresInbox` is
  killed at random times for a minute, while ECGs come in. Its table has to have every event, and each once.
* *Receiver of webhooks*: for a minute it answers 500, hangs, resets connections, takes seconds or is not there, each for up to
  three seconds, in half of these requests once it has kept the event; processors are killed meanwhile. Its inbox has to have every
  event, and each once.
"""
_PART: Final = """\
{heading}

Written by `{command}` ({minutes:.0f} minutes on {cores} cores).

{table}
{notes}
Accepted: **{accepted}**; lost: **{lost}**; wrong: **{wrong}**; missing events: **{missing}**; stuck: **{stuck}**;
duplicate event deliveries: **{duplicates}** of {events} ({share:.2%}), each with the event id of the first.

At the end: {resources}.

{versions}.
"""


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    return "\n".join([_HEAD, *map(row, outcomes)])


def row(outcome: Outcome) -> str:
    """One outcome as a row."""
    counts = (outcome.count(kind) for kind in ("lost", "wrong", "missing event", "stuck"))
    return (
        f"| {outcome.name} | {outcome.accepted:,} | {' | '.join(map(str, counts))} "
        f"| {outcome.duplicates} | {outcome.retries} | {outcome.stall_s:.1f} s | {outcome.drain_s:.1f} s |"
    )


def duplicate_share(outcomes: Sequence[Outcome]) -> float:
    """Event deliveries beyond the first, of all."""
    return sum(it.duplicates for it in outcomes) / max(sum(it.events for it in outcomes), 1)


def write_page(
    outcomes: Sequence[Outcome],
    *,
    command: str,
    minutes: float,
    cores: int,
    footprints: Mapping[str, Footprint],
    servers: Mapping[str, str],
) -> None:
    """Write docs/faults.md, and in it the part of this RabbitMQ; parts of others stay as they are."""
    ours = {name: version(name) for name in _LIBRARIES}
    versions = {"Python": platform.python_version(), **servers, **ours}
    heading = f"## RabbitMQ {servers['RabbitMQ'].split('.')[0]}"
    notes = "".join(f"* {it.name}: {it.note}.\n" for it in outcomes if it.note)
    part = _PART.format(
        heading=heading,
        command=command,
        minutes=minutes,
        cores=cores,
        table=table(outcomes),
        notes="\n" * bool(notes) + notes,
        accepted=f"{sum(it.accepted for it in outcomes):,}",
        lost=_total(outcomes, "lost"),
        wrong=_total(outcomes, "wrong"),
        missing=_total(outcomes, "missing event"),
        stuck=_total(outcomes, "stuck"),
        duplicates=sum(it.duplicates for it in outcomes),
        events=f"{sum(it.events for it in outcomes):,}",
        share=duplicate_share(outcomes),
        resources="; ".join(f"{name} {it}" for name, it in footprints.items()),
        versions="Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()),
    )
    _FILE.write_text(_with_part(_FILE.read_text(), heading, part))


def _with_part(page: str, heading: str, part: str) -> str:
    """The page with this part in it, in place of one with its heading, in the order of headings."""
    parts = {it.partition("\n")[0]: it.strip() for it in _BEFORE_HEADING.split(page)[1:]}
    parts[heading] = part.strip()
    return "\n\n".join([_PAGE.strip(), *(parts[name] for name in sorted(parts))]) + "\n"


def _total(outcomes: Sequence[Outcome], kind: str) -> int:
    return sum(it.count(kind) for it in outcomes)
