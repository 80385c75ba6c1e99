"""Where an overview is read from, with PostgreSQL as storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.operations.overview import OverviewSources
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.throughput import PostgresThroughput

if TYPE_CHECKING:
    from shared.ports.operators.dead_letters import DeadLetterCounter
    from shared.storage.pool.database import Database


def overview_sources(database: Database, dead_letters: DeadLetterCounter) -> OverviewSources:
    """All of them, with this database."""
    return OverviewSources(
        backlog=PostgresBacklogReader(database),
        throughput=PostgresThroughput(database),
        intake=PostgresIntake(database),
        processes=PostgresProcesses(database),
        operations=PostgresOperations(database),
        dead_letters=dead_letters,
    )
