"""``python -m tests.programs.benchmarks soak --minutes 10``: whether anything grows that should not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import asyncpg

from tests.programs.benchmarks.load.meter import measure_resources
from tests.programs.benchmarks.load.open_loop import percentile
from tests.programs.benchmarks.load.recordings import small
from tests.programs.benchmarks.load.requests import blocks_of_numbers, posts
from tests.programs.benchmarks.pipelines import PATH, open_isoline
from tests.programs.benchmarks.report import number, print_line, print_row, print_table_head
from tests.programs.benchmarks.servers import open_servers
from tests.programs.benchmarks.steps import SMALL_CONNECTIONS, run_pipeline, submit_small_at_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.benchmarks.pipelines import Pipeline

_SHARE: Final = 0.7
_MINUTE_S: Final = 60
_CAPACITY_WINDOW_S: Final = 5
_FIRST_MINUTES: Final = 2

# Rows come and go in the outbox and in the index of what is due: those are where bloat would be.
_BLOAT: Final = """
SELECT pg_total_relation_size('outbox') / 1e6, pg_relation_size('ecg_due') / 1e6,
    pg_relation_size('ecg') / 1e6 / (SELECT greatest(count(*), 1) / 1e6 FROM ecg),
    (SELECT sum(n_dead_tup) / 1e3 FROM pg_stat_user_tables)
"""
_COLUMNS: Final = (
    "gateway MB",
    "processor MB",
    "submit p50 ms",
    "submit p99 ms",
    "result p99 ms",
    "outbox MB",
    "ecg_due MB",
    "ecg bytes/row",
    "dead rows, thousands",
)


async def soak(minutes: int) -> int:
    """Load at 70 % of capacity, and print a row for each minute; the exit status."""
    async with open_servers() as servers, open_isoline(servers) as isoline:
        blocks = blocks_of_numbers()
        rate_per_s = _SHARE * await _capacity_per_s(isoline, blocks)
        await servers.until_quiet()
        print_line(f"SMALL at {rate_per_s:,.0f} per second")
        print_table_head("minute", *_COLUMNS)
        rows = []
        for minute in range(1, minutes + 1):
            rows.append(await _minute(isoline, blocks, rate_per_s))
            print_row(minute, *rows[-1])
    _compare(rows)
    return 0


async def _capacity_per_s(isoline: Pipeline, blocks: Iterator[int]) -> float:
    """What is answered per second when more comes than can be; the generator takes its share of the cores.

    It takes more of them than wrk does: 70 % of what wrk gets through would leave it a tenth of two cores.
    """
    requests = posts(PATH, small(), isoline.tokens())
    most = await run_pipeline(
        isoline, requests, next(blocks), connections=SMALL_CONNECTIONS, seconds=_CAPACITY_WINDOW_S
    )
    begun_s = time.monotonic()
    latencies = await submit_small_at_rate(
        isoline, next(blocks), rate_per_s=most.accepted_per_s, seconds=_CAPACITY_WINDOW_S
    )
    return len(latencies.submit_s) / (time.monotonic() - begun_s)


async def _minute(isoline: Pipeline, blocks: Iterator[int], rate_per_s: float) -> list[float]:
    async with measure_resources(isoline.processes) as used:
        latencies = await submit_small_at_rate(
            isoline, next(blocks), rate_per_s=rate_per_s, seconds=_MINUTE_S
        )
    return [
        *(used.peak_pss_mb[name] for name in ("gateway", "processor")),
        *(1000 * percentile(latencies.submit_s, percent) for percent in (50, 99)),
        1000 * percentile(latencies.result_s, 99),
        *await _bloat(isoline),
    ]


async def _bloat(isoline: Pipeline) -> list[float]:
    connection = await asyncpg.connect(isoline.database_url, timeout=10)
    try:
        [row] = await connection.fetch(_BLOAT)
        return [float(value) for value in row]
    finally:
        await connection.close(timeout=5)


def _compare(rows: list[list[float]]) -> None:
    """Say how much larger each figure became than it was in the first two minutes."""
    early, late = rows[:_FIRST_MINUTES], rows[_FIRST_MINUTES:]
    for column, name in enumerate(_COLUMNS) if late else ():
        before = max(row[column] for row in early)
        after = max(row[column] for row in late)
        print_line(f"{name}: at most {number(before)} in the first two minutes, {number(after)} after them")
