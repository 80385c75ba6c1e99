"""The overview: how the installation does at this moment, in one reading."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.errors import UnavailableError
from shared.ports.operators.operations import Selection
from shared.ports.operators.processes import ProcessState, missed_processes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.ports.operators.backlog import BacklogReader, BacklogState
    from shared.ports.operators.dead_letters import DeadLetterCounter
    from shared.ports.operators.intake import Intake, IntakeState
    from shared.ports.operators.operations import Operations
    from shared.ports.operators.processes import Processes
    from shared.ports.operators.throughput import RecentThroughput, Throughput

_FAILED: Final = Selection(failed=True)


class DeadLetterCount(NamedTuple):
    """How many dead letters there are.

    Attributes:
        waiting: None if they could not be counted.
        reason: Why not.
    """

    waiting: int | None
    reason: str = ""


class Overview(NamedTuple):
    """How the installation does.

    Attributes:
        processes: How many gateways and processors are in which state, by service; not those that ended or
            were replaced.
        failed_ecgs: Those whose present generation has failed.
    """

    backlog: BacklogState
    throughput: RecentThroughput
    intake: IntakeState
    processes: Mapping[str, Mapping[ProcessState, int]]
    failed_ecgs: int
    dead_letters: DeadLetterCount


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewSources:
    """Where an overview is read from."""

    backlog: BacklogReader
    throughput: Throughput
    intake: Intake
    processes: Processes
    operations: Operations
    dead_letters: DeadLetterCounter


async def read_overview(sources: OverviewSources) -> Overview:
    """Read all of it, one after the other: operators have few connections.

    Raises:
        UnavailableError: PostgreSQL can't be read; dead letters alone are done without.
    """
    counts: dict[str, Counter[ProcessState]] = {}
    processes = await sources.processes.running()
    missed = {process.presence.id for process in missed_processes(processes)}
    for process in processes:
        if process.state is ProcessState.SILENT and process.presence.id not in missed:
            continue  # it was killed, and another has begun in its place
        if process.state is not ProcessState.ENDED:
            counts.setdefault(process.presence.service, Counter())[process.state] += 1
    return Overview(
        backlog=await sources.backlog.read(),
        throughput=await sources.throughput.recent(),
        intake=await sources.intake.read(),
        processes=counts,
        failed_ecgs=await sources.operations.count(_FAILED),
        dead_letters=await _count_dead_letters(sources.dead_letters),
    )


async def _count_dead_letters(letters: DeadLetterCounter) -> DeadLetterCount:
    try:
        return DeadLetterCount(await letters.count())
    except UnavailableError as error:
        return DeadLetterCount(None, str(error))
