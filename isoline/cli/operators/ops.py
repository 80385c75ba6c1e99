"""``isoline ops ...``: how the installation does, what failed, and whether the processors take ECGs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from gateway.ops.documents import overview_document
from isoline.cli.command_database import is_production, open_command_database
from isoline.cli.ecgs import Format
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from isoline.cli.operators.selection import EcgId, Owner, Reason, Since, Until, read_selection
from shared.broker.rabbitmq.dead_letters import RabbitmqDeadLetterCounter
from shared.broker.topology import Topology
from shared.domain.errors import UnavailableError
from shared.operations.overview import read_overview
from shared.ports.operators.processes import ProcessState
from shared.runtime.settings import BrokerSettings, read_settings
from shared.storage.postgres.operators.audit import PostgresAudit
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.finished_ecgs import PostgresFinishedEcgs
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.outbox_state import PostgresOutboxReader
from shared.storage.postgres.operators.overview import overview_sources
from shared.storage.postgres.operators.processes import PostgresProcesses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.operations.overview import Overview
    from shared.ports.operators.audit import AuditRecord
    from shared.ports.operators.backlog import BacklogState
    from shared.ports.operators.dead_letters import DeadLetterCounter
    from shared.ports.operators.finished_ecgs import Failures, FinishedPage
    from shared.ports.operators.intake import IntakeState
    from shared.ports.operators.operations import AuditNote, Selection
    from shared.ports.operators.outbox_state import WaitingBatch
    from shared.ports.operators.processes import RunningProcess
    from shared.ports.operators.throughput import SettledCounts

_MOST_REASONS: Final = 100
_HEARD_OF: Final = "Each hears of it within 5 s, and says so itself within 5 s more (isoline ops processes)."

ops = typer.Typer(
    no_args_is_help=True, help="What runs, what waits, what failed, and pausing the processors."
)

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="No more than so many.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(ops, name="ops")


@ops.command("overview")
def show_overview(
    output_format: Annotated[Format, typer.Option("--format", help="Lines or JSON.")] = Format.TABLE,
) -> None:
    """Show how the installation does: what waits, what is settled and how fast, what runs, what failed."""
    overview = asyncio.run(_read_overview())
    if output_format is Format.JSON:
        typer.echo(orjson.dumps(overview_document(overview)))
        return
    for line in _overview_lines(overview):
        typer.echo(line)


@ops.command("processes")
def list_processes() -> None:
    """Show every gateway and processor that was seen in the last hour, and what each holds."""
    for process in asyncio.run(_running_processes()):
        typer.echo(_process_line(process))


@ops.command("backlog")
def show_backlog() -> None:
    """Show how many ECGs and event batches wait, and for how long the oldest have."""
    for line in _backlog_lines(asyncio.run(_read_backlog())):
        typer.echo(line)


@ops.command("failed")
def list_failed(
    *,
    ecg_id: EcgId = None,
    owner: Owner = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    group: Annotated[bool, typer.Option("--group", help="Count them by reason.")] = False,
    limit: Limit = 100,
) -> None:
    """Show the ECGs that failed, of all owners, the last to fail first."""
    selection = read_selection(
        ecg_id=ecg_id, owner=owner, failed=True, reason=reason, since=since, until=until
    )
    if group:
        for each in asyncio.run(_read_failures(selection)).groups:
            owners = "1 owner" if each.owners == 1 else f"{each.owners} owners"
            typer.echo(
                f"{each.ecgs:>7} of {owners}, "
                f"{each.first_at:%Y-%m-%d %H:%M:%S} to {each.last_at:%Y-%m-%d %H:%M:%S}: {each.reason}"
            )
        return
    page = asyncio.run(_read_page(selection, limit))
    for ecg in page.ecgs:
        at = f"{ecg.finished_at:%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{at}  {ecg.owner}/{ecg.id}  generation {ecg.generation}  {ecg.reason}")
    if page.next_position is not None:
        typer.echo(f"These are the last {limit}; there are more.")


@ops.command("outbox")
def list_outbox(limit: Limit = 100) -> None:
    """Show the event batches that wait to be published, those that are due first."""
    for batch in asyncio.run(_read_outbox(limit)):
        typer.echo(
            f"{batch.events} events of {batch.created_at:%Y-%m-%d %H:%M:%S}, "
            f"published again {batch.republished} times, and next at {batch.due_at:%H:%M:%S}"
        )


@ops.command("audit")
def list_audit(limit: Limit = 100) -> None:
    """Show what operators did, who and why, newest first."""
    for record in asyncio.run(_read_audit(limit)):
        subject = orjson.dumps(record.subject).decode()
        typer.echo(f"{record.at:%Y-%m-%d %H:%M:%S}  {record.who}: {record.what} {subject}  {record.why}")


@ops.command("pause")
def pause(*, why: Why, dry_run: DryRun = False, yes: Yes = False, who: Who = None) -> None:
    """Pause all processors: they take no ECGs and settle what they hold; gateways go on taking ECGs."""
    if is_confirmed("all processors will be paused", dry_run=dry_run, yes=yes):
        typer.echo(_intake_line(asyncio.run(_change_intake(audit_note(who, why), is_paused=True))))
        typer.echo(_HEARD_OF)


@ops.command("resume")
def resume(*, why: Why, dry_run: DryRun = False, yes: Yes = False, who: Who = None) -> None:
    """Let the processors take ECGs again."""
    if is_confirmed("the processors will take ECGs again", dry_run=dry_run, yes=yes):
        typer.echo(_intake_line(asyncio.run(_change_intake(audit_note(who, why), is_paused=False))))
        typer.echo(_HEARD_OF)


class _NoBroker:
    """Counts no dead letters: those of the embedded mode are in its process."""

    async def count(self) -> int:
        raise UnavailableError("those of the embedded mode are in its process")


def _dead_letter_counter() -> DeadLetterCounter:
    if not is_production():
        return _NoBroker()
    settings = read_settings(BrokerSettings)
    return RabbitmqDeadLetterCounter(
        settings.amqp_url.get_secret_value(), topology=Topology(settings.amqp_namespace)
    )


async def _read_overview() -> Overview:
    counter = _dead_letter_counter()
    async with open_command_database() as database:
        return await read_overview(overview_sources(database, counter))


async def _running_processes() -> Sequence[RunningProcess]:
    async with open_command_database() as database:
        return await PostgresProcesses(database).running()


async def _read_backlog() -> BacklogState:
    async with open_command_database() as database:
        return await PostgresBacklogReader(database).read()


async def _read_failures(selection: Selection) -> Failures:
    async with open_command_database() as database:
        return await PostgresFinishedEcgs(database).failures(selection, limit=_MOST_REASONS)


async def _read_page(selection: Selection, limit: int) -> FinishedPage:
    async with open_command_database() as database:
        return await PostgresFinishedEcgs(database).page(selection, limit=limit)


async def _read_outbox(limit: int) -> Sequence[WaitingBatch]:
    async with open_command_database() as database:
        return await PostgresOutboxReader(database).waiting(limit=limit)


async def _read_audit(limit: int) -> Sequence[AuditRecord]:
    async with open_command_database() as database:
        return await PostgresAudit(database).page(limit=limit)


async def _change_intake(note: AuditNote, *, is_paused: bool) -> IntakeState:
    async with open_command_database() as database:
        return await PostgresIntake(database).change(note, is_paused=is_paused)


def _overview_lines(overview: Overview) -> Iterator[str]:
    yield from _backlog_lines(overview.backlog)
    throughput = overview.throughput
    yield f"In the last {throughput.now_s:.0f} s: {_settled_text(throughput.now, throughput.now_s)}"
    yield f"In the last hour: {_settled_text(throughput.hour, throughput.hour_s)}"
    yield _intake_line(overview.intake)
    for service, counts in sorted(overview.processes.items()):
        yield f"{service}: {', '.join(f'{count} {state}' for state, count in counts.items())}"
    yield f"{overview.failed_ecgs} ECGs have failed."
    letters = overview.dead_letters
    if letters.waiting is None:
        yield f"Dead letters can't be counted: {letters.reason}."
    else:
        yield f"{letters.waiting} dead letters."


def _backlog_lines(backlog: BacklogState) -> Iterator[str]:
    yield f"{backlog.queued_ecgs} ECGs wait, the oldest for {backlog.oldest_ecg_s:.0f} s."
    yield f"{backlog.unpublished_batches} event batches wait, the oldest for {backlog.oldest_batch_s:.0f} s."


def _settled_text(counts: SettledCounts, seconds: float) -> str:
    per_second = (counts.completed + counts.failed) / seconds
    text = f"{counts.completed} ECGs completed, {counts.failed} failed, {per_second:.2f} a second"
    half, most = counts.latency_s(0.5), counts.latency_s(0.95)
    if half is None or most is None:
        return f"{text}."
    return f"{text}; half took up to {half:.2g} s, 19 of 20 up to {most:.2g} s."


def _intake_line(intake: IntakeState) -> str:
    if intake.is_paused:
        return (
            f"The processors are paused since {intake.since:%Y-%m-%d %H:%M:%S} by {intake.who}: {intake.why}"
        )
    return "The processors take ECGs."


def _process_line(process: RunningProcess) -> str:
    presence = process.presence
    state: str = process.state
    held = "" if presence.held_ecgs is None else f", holds {presence.held_ecgs} ECGs"
    if process.ended_at is not None:
        state, held = f"ended at {process.ended_at:%H:%M:%S}", ""
    elif process.state is ProcessState.SILENT:
        state = f"silent for {process.seen_s:.0f} s"
    return f"{presence.name}  {presence.release}  since {process.started_at:%Y-%m-%d %H:%M:%S}  {state}{held}"
