"""The plans of hot queries don't depend on statistics, and read no more as tables and queue grow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from tests.support.plans import DUE_EVENT_BATCHES, Plan, explain_hot_queries, open_explaining_database

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPLAIN: Final = "ANALYZE, BUFFERS, FORMAT JSON"
_EACH: Final = 20_000
_OWNER: Final = "ada"
_TABLES: Final = {"ecg", "ecg_signal_0", "ecg_signal_rest", "ecg_insights", "outbox"}

# Settling, the dearest, changes six indexes of three tables, each of three pages from root to leaf. Reading
# what an owner has queued would take hundreds.
_BUFFERS_PER_ROW: Final = 100
# A subplan is charged with what it went through each time.
_SCANS_OF_A_BATCH: Final = 2

# Autovacuum is off: only the test makes statistics here.
_NO_AUTOVACUUM: Final = "ALTER TABLE {} SET (autovacuum_enabled = off)"
_FILL: Final = f"""
INSERT INTO ecg (owner, id, content_hash, num_samples, status, due_at, finished_at)
SELECT '{{owner}}', status || '-' || n, CASE WHEN status = 'erased' THEN '' ELSE 'x' END::bytea, 3, status,
    CASE WHEN status = 'queued' THEN now() END, CASE WHEN status <> 'queued' THEN now() END
FROM generate_series(1, {{each}}) AS n, unnest('{{{{completed,queued,erased}}}}'::text[]) AS status;
INSERT INTO ecg_signal (row, date, leads, encoding, samples)
SELECT row, '2023-07-30', '[]', '', '' FROM ecg WHERE status <> 'erased' AND owner = '{{owner}}';
INSERT INTO ecg_insights (row, generation, document)
SELECT row, 1, '{{{{}}}}' FROM ecg WHERE status = 'completed' AND owner = '{{owner}}';
{DUE_EVENT_BATCHES.replace("{count}", "{each}")};
"""  # noqa: S608 - ours


@pytest.mark.parametrize("known", ["never analysed", "analysed while empty", "analysed with few rows"])
async def test_plans_that_were_made_for_small_tables_hold_when_they_are_full(
    database_url: str, known: str
) -> None:
    await _execute(database_url, *(_NO_AUTOVACUUM.format(table) for table in _TABLES))
    if known == "analysed with few rows":
        await _fill(database_url, "bob", 5)
    if known != "never analysed":
        await _execute(database_url, "VACUUM ANALYZE")
    async with open_explaining_database(database_url, explain=_EXPLAIN) as database:
        await explain_hot_queries(database, owner=_OWNER, max_backlog=_EACH)
        await _fill(database_url, _OWNER, _EACH)

        plans = await explain_hot_queries(database, owner=_OWNER, max_backlog=_EACH)

    assert _faults(plans) == []


@pytest.mark.parametrize("statistics", ["none", "of empty tables", "present"])
async def test_plans_that_are_made_for_full_tables_hold_with_any_statistics(
    database_url: str, statistics: str
) -> None:
    await _execute(database_url, *(_NO_AUTOVACUUM.format(table) for table in _TABLES))
    if statistics == "of empty tables":
        await _execute(database_url, "VACUUM ANALYZE")
    await _fill(database_url, _OWNER, _EACH)
    if statistics == "present":
        await _execute(database_url, "ANALYZE")

    async with open_explaining_database(database_url, explain=_EXPLAIN) as database:
        plans = await explain_hot_queries(database, owner=_OWNER, max_backlog=_EACH)

    assert _faults(plans) == []


async def _fill(url: str, owner: str, each: int) -> None:
    """Add so many ECGs of each status, and event batches."""
    await _execute(url, _FILL.format(owner=owner, each=each))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=60)
    finally:
        await connection.close()


def _faults(plans: list[Plan]) -> list[str]:
    """The problems of plans, in words; none for a statement that reads its own rows only."""
    assert len(plans) >= 14
    return [f"{plan.title}: {fault}" for plan in plans for fault in _faults_of(plan)]


def _faults_of(plan: Plan) -> Iterator[str]:
    [explained] = json.loads(plan.explained)
    top = explained["Plan"]
    buffers = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    if buffers > _BUFFERS_PER_ROW * plan.num_rows:
        yield f"{buffers} pages for {plan.num_rows} rows"
    for node in _nodes(top):
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in _TABLES:
            yield f"reads all of {node['Relation Name']}"
        removed = node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        if "Index Name" in node and removed > plan.num_rows:
            yield f"passes over {removed} rows in {node['Index Name']}"
        repeated = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        if node["Node Type"] == "CTE Scan" and repeated > _SCANS_OF_A_BATCH * plan.num_rows:
            yield f"goes through {node['CTE Name']} again and again, {repeated:.0f} rows in all"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
