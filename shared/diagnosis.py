"""Diagnose an installation by independent checks that are bounded in time.

What is looked at comes from adapters; here is decided whether it is well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from shared.domain.errors import IsolineError
from shared.ports.operators.processes import ProcessState, missed_processes
from shared.runtime.supervision import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.ports.operators.backlog import BacklogState
    from shared.ports.operators.intake import IntakeState
    from shared.ports.operators.processes import RunningProcess
    from shared.ports.operators.webhook_counts import WebhookCounts
    from shared.ports.servers import BrokerNode, DatabaseServer, QueueState

# An ECG takes milliseconds. A minute is a restart or a burst; after ten nothing can be on its way any more.
OLD_S: Final = 60.0
TOO_OLD_S: Final = 600.0
# Above that share the next worker may find no connection left.
_MOST_CONNECTIONS_USED: Final = 0.9


# As docs/deployment.md says.
_OLDEST_POSTGRESQL: Final = [15]
_OLDEST_RABBITMQ: Final = [3, 10]


class Verdict(StrEnum):
    """How well something is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Judgement(NamedTuple):
    """A verdict, and what was found."""

    verdict: Verdict
    reason: str


Judge: TypeAlias = Callable[[], Awaitable[Judgement]]
"""Looks and judges; an IsolineError that it raises is a failure for that reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check.

    Attributes:
        name: Of what is checked.
        judge: Looks and judges.
        remedy: What to do unless it is well.
        section: Of docs/runbook.md, its anchor.
        needs: The check, made before this one, without whose success this one can say nothing.
    """

    name: str
    judge: Judge
    remedy: str
    section: str
    needs: str = ""


class Finding(NamedTuple):
    """What a check found; remedy and section are empty if it is well."""

    name: str
    verdict: Verdict
    reason: str
    remedy: str = ""
    section: str = ""
    was_made: bool = True


async def diagnose(checks: Sequence[Check], *, within_s: float) -> list[Finding]:
    """Make all checks at the same time, each within the time limit; a finding for each, in order.

    One that fails, hangs or has a defect changes nothing about others, but those that need it are not made.
    """
    findings: dict[str, asyncio.Task[Finding]] = {}
    for check in checks:
        findings[check.name] = asyncio.create_task(_find(check, findings.get(check.needs), within_s))
    return list(await asyncio.gather(*findings.values()))


async def _find(check: Check, needed: asyncio.Task[Finding] | None, within_s: float) -> Finding:
    if needed is not None and not _is_usable(await asyncio.shield(needed)):
        return Finding(check.name, Verdict.WARNING, f"not checked: see {check.needs}", was_made=False)
    verdict, reason = await _judge(check.judge, within_s)
    line = " ".join(reason.split())
    if verdict is Verdict.OK:
        return Finding(check.name, verdict, line)
    return Finding(check.name, verdict, line, check.remedy, check.section)


def _is_usable(needed: Finding) -> bool:
    return needed.was_made and needed.verdict is not Verdict.FAILED


async def _judge(judge: Judge, within_s: float) -> Judgement:
    try:
        return await within(within_s, judge())
    except TimeoutError:
        return Judgement(Verdict.FAILED, f"no answer within {within_s:g} s")
    except IsolineError as error:
        return Judgement(Verdict.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - its words may be anything, and secrets too
        return Judgement(Verdict.FAILED, f"the check itself failed: {type(error).__name__}")


def judge_server(server: DatabaseServer) -> Judgement:
    """Whether PostgreSQL, which answers, is one that Isoline was tried with."""
    if _numbers(server.version) < _OLDEST_POSTGRESQL:
        return Judgement(Verdict.WARNING, f"PostgreSQL {server.version} is older than Isoline was tried with")
    return Judgement(Verdict.OK, f"PostgreSQL {server.version} answers")


def judge_writes(server: DatabaseServer) -> Judgement:
    """Whether PostgreSQL takes writes."""
    if not server.takes_writes:
        return Judgement(Verdict.FAILED, "PostgreSQL is read-only: a standby, or told to be")
    return Judgement(Verdict.OK, "PostgreSQL takes writes")


def judge_durability(server: DatabaseServer) -> Judgement:
    """What a confirmed commit survives."""
    if not server.is_crash_safe:
        return Judgement(Verdict.WARNING, "fsync or full_page_writes is off: a crash may lose accepted ECGs")
    if server.synchronous_commit == "off":
        return Judgement(
            Verdict.WARNING, "synchronous_commit is off: a crash loses ECGs accepted just before"
        )
    if server.synchronous_standbys and server.synchronous_commit != "local":
        return Judgement(
            Verdict.OK,
            f"a commit waits for the disk and for a standby of {server.synchronous_standbys} "
            f"(synchronous_commit {server.synchronous_commit})",
        )
    return Judgement(
        Verdict.OK, "a commit waits for the disk and for no standby: the loss of this server loses ECGs"
    )


def judge_connections(server: DatabaseServer) -> Judgement:
    """Whether there are connections left."""
    reason = f"{server.used_connections} of {server.most_connections} connections to PostgreSQL are used"
    is_scarce = server.used_connections > _MOST_CONNECTIONS_USED * server.most_connections
    return Judgement(Verdict.WARNING if is_scarce else Verdict.OK, reason)


def judge_schema(pending: Sequence[str]) -> Judgement:
    """A schema that this release works with, though migrations are pending."""
    if pending:
        return Judgement(
            Verdict.WARNING, f"this release works, with migrations pending: {', '.join(pending)}"
        )
    return Judgement(Verdict.OK, "this release works with the schema; the database is UTF-8")


def judge_clock(database_s: float, *, asked_s: float, answered_s: float, leeway_s: float) -> Judgement:
    """Whether this machine's clock is PostgreSQL's.

    Args:
        database_s: PostgreSQL's clock.
        asked_s: This machine's before PostgreSQL was asked.
        answered_s: This machine's after that.
        leeway_s: A difference that harms nobody.
    """
    ahead_s = database_s - (asked_s + answered_s) / 2
    if abs(ahead_s) - (answered_s - asked_s) / 2 > leeway_s:
        side = "ahead of" if ahead_s > 0 else "behind"
        return Judgement(Verdict.WARNING, f"PostgreSQL's clock is {abs(ahead_s):.1f} s {side} this machine's")
    return Judgement(Verdict.OK, f"this machine's clock and PostgreSQL's differ by {abs(ahead_s):.1f} s")


def judge_backlog(backlog: BacklogState, intake: IntakeState, *, most_ecgs: int | None) -> Judgement:
    """Whether ECGs are worked off, and submissions taken. What waits since an operator said so is no failure.

    Args:
        backlog: What waits.
        intake: Whether processors may take it.
        most_ecgs: Queued ECGs at which a gateway takes no more; None if that is not known here.
    """
    reason = f"{backlog.queued_ecgs} ECGs are queued"
    if backlog.queued_ecgs:
        reason += f", the oldest for {backlog.oldest_ecg_s:.0f} s"
    if most_ecgs is not None and backlog.queued_ecgs >= most_ecgs:
        return Judgement(Verdict.FAILED, f"{reason}; submissions are refused from {most_ecgs} on")
    verdict = _by_age(backlog.oldest_ecg_s)
    if intake.is_paused and verdict is not Verdict.OK:
        return Judgement(Verdict.WARNING, f"{reason}; {_pause_of(intake)}")
    return Judgement(verdict, reason)


def _pause_of(intake: IntakeState) -> str:
    return f"the processors are paused since {intake.since:%Y-%m-%d %H:%M:%S} by {intake.who}: {intake.why}"


def judge_outbox(backlog: BacklogState) -> Judgement:
    """Whether events are published."""
    reason = f"{backlog.unpublished_batches} event batches wait to be published"
    if backlog.unpublished_batches:
        reason += f", the oldest for {backlog.oldest_batch_s:.0f} s"
    return Judgement(_by_age(backlog.oldest_batch_s), reason)


def _by_age(age_s: float) -> Verdict:
    return Verdict.FAILED if age_s >= TOO_OLD_S else Verdict.WARNING if age_s >= OLD_S else Verdict.OK


def judge_nodes(nodes: Sequence[BrokerNode]) -> Judgement:
    """Whether RabbitMQ can be used, by each address of its own."""
    used = [f"{node.address} ({node.version})" for node in nodes if not node.refusal]
    refused = [f"{node.address}: {node.refusal}" for node in nodes if node.refusal]
    if not used:
        return Judgement(Verdict.FAILED, f"RabbitMQ: {'; '.join(refused)}")
    answers = f"RabbitMQ answers at {', '.join(used)}"
    if refused:
        return Judgement(Verdict.WARNING, f"{answers}, and not at {'; '.join(refused)}")
    if any(_numbers(node.version) < _OLDEST_RABBITMQ for node in nodes):
        return Judgement(Verdict.WARNING, f"{answers}, which is older than Isoline was tried with")
    return Judgement(Verdict.OK, answers)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def judge_topology(missing: Sequence[str]) -> Judgement:
    """Whether the exchanges and queues are there."""
    if missing:
        return Judgement(Verdict.FAILED, f"RabbitMQ does not have {', '.join(missing)}")
    return Judgement(Verdict.OK, "the exchanges and queues are there")


def judge_queues(without_answer: Sequence[str]) -> Judgement:
    """Whether the queues that must answer do."""
    if without_answer:
        names = " and ".join(without_answer)
        return Judgement(Verdict.FAILED, f"no answer of {names}, as of a queue without a leader")
    return Judgement(Verdict.OK, "those that this account may read answer")


def judge_consumers(queue: QueueState, intake: IntakeState) -> Judgement:
    """Whether processors are attached; paused ones are not, because an operator said so."""
    waiting = f"{queue.messages} messages are ready"
    if intake.is_paused:
        return Judgement(Verdict.WARNING, f"{_pause_of(intake)}; {waiting}")
    if not queue.consumers:
        return Judgement(Verdict.FAILED, f"no processor consumes; {waiting}")
    return Judgement(Verdict.OK, f"{queue.consumers} workers of processors consume; {waiting}")


def judge_processes(processes: Sequence[RunningProcess]) -> Judgement:
    """Whether all that were there in the last hour, and have not left or been started again, still say so."""
    there = [it for it in processes if it.state not in {ProcessState.SILENT, ProcessState.ENDED}]
    missed = missed_processes(processes)
    if not missed:
        return Judgement(Verdict.OK, f"{len(there)} gateways and processors say that they are there")
    names = "; ".join(f"{it.presence.name}, last heard of at {it.seen_at:%H:%M:%S}" for it in missed)
    return Judgement(Verdict.WARNING, f"frozen, killed or cut off: {names}; {len(there)} others are there")


def judge_dead_letters(queue: QueueState) -> Judgement:
    """Whether dead letters wait for an operator."""
    verdict = Verdict.WARNING if queue.messages else Verdict.OK
    return Judgement(verdict, f"{queue.messages} dead letters wait for an operator")


def judge_webhooks(counts: WebhookCounts | None) -> Judgement:
    """Whether every webhook is sent what it should be."""
    if counts is None:
        return Judgement(Verdict.OK, "there are none: this schema, or this role, has no webhooks")
    reason = f"{counts.active} webhooks are sent events"
    if counts.paused:
        reason += f", {counts.paused} are paused by their owners"
    if not counts.failing and not counts.disabled:
        return Judgement(Verdict.OK, reason)
    reason += f", {counts.failing} fail, {counts.disabled} were switched off; of one: {counts.last_error}"
    return Judgement(Verdict.WARNING, reason)


def judge_spool(*, free_bytes: int, most_bytes: int) -> Judgement:
    """Whether the disk has room for all that may be spooled.

    Args:
        free_bytes: Of the disk.
        most_bytes: That the workers of this machine may spool.
    """
    verdict = Verdict.OK if free_bytes >= most_bytes else Verdict.WARNING
    return Judgement(
        verdict,
        f"the spool's disk has {free_bytes / 2**30:.1f} GiB free, and may need {most_bytes / 2**30:.1f}",
    )
