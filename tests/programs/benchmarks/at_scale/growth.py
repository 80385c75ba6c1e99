"""``python -m tests.programs.benchmarks growth``: how cost grows with samples, rows, backlog and owners."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.programs.benchmarks.at_scale import filling
from tests.programs.benchmarks.load.meter import measure_resources
from tests.programs.benchmarks.load.recordings import of_length, small
from tests.programs.benchmarks.load.requests import blocks_of_numbers, posts
from tests.programs.benchmarks.pipelines import OWNER, PATH, ROOMY, open_isoline, open_isoline_apart
from tests.programs.benchmarks.report import print_row, print_table_head
from tests.programs.benchmarks.servers import open_servers
from tests.programs.benchmarks.steps import SMALL_CONNECTIONS, run_pipeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.programs.benchmarks.pipelines import Pipeline
    from tests.programs.benchmarks.servers import Servers
    from tests.programs.benchmarks.steps import PipelineRun

_LENGTHS: Final = (3, 300, 3_000, 30_000, 300_000, 3_000_000, 10_000_000)
_ROWS: Final = (0, 10_000, 100_000, 1_000_000)
_BACKLOGS: Final = (1_000, 10_000, 100_000)
_OWNERS: Final = (1, 100, 10_000)

_WINDOW_S: Final = 4
_LONG_WINDOW_S: Final = 20  # ten million samples are 45 MB of JSON and take seconds
_LONG: Final = 1_000_000
_TURNS: Final = 3
_COMPARED_TURNS: Final = 5
_DRAIN_WITHIN_S: Final = 300.0
# So many samples may be on their way at a time, in all connections together.
_SAMPLES_UNDER_WAY: Final = 4_000_000
_MAX_CONNECTIONS: Final = 64


async def show_growth(only: str) -> int:
    """Print a table for each dimension whose name holds this; the exit status."""
    for name, grow in _DIMENSIONS.items():
        if only in name:
            async with open_servers() as servers:
                await grow(servers)
    return 0


async def _by_samples(servers: Servers) -> None:
    print_table_head(
        "samples",
        "submitted/s",
        "completed/s",
        "gateway us",
        "processor us",
        "ns per sample",
        "gateway MB",
        "processor MB",
    )
    blocks = blocks_of_numbers()
    async with open_isoline(servers, **ROOMY) as isoline:
        await _full_load(isoline, next(blocks))
        for length in _LENGTHS:
            connections = max(1, min(_MAX_CONNECTIONS, _SAMPLES_UNDER_WAY // length))
            requests = posts(PATH, of_length(length), isoline.tokens())
            seconds = _WINDOW_S if length < _LONG else _LONG_WINDOW_S
            run = await run_pipeline(
                isoline, requests, next(blocks), connections=connections, seconds=seconds
            )
            gateway_us, processor_us = _cpu_us(run, "gateway"), _cpu_us(run, "processor")
            print_row(
                length,
                *(run.accepted_per_s, run.completed_per_s, gateway_us, processor_us),
                1000 * (gateway_us + processor_us) / length,
                *(run.peak_pss_mb[name] for name in ("gateway", "processor")),
            )
            await servers.until_quiet()


async def _by_rows(servers: Servers) -> None:
    """In turn on an empty table and on one that grows, each with services of its own."""
    print_table_head("finished rows", "completed/s", "empty table", "ratio", "smallest", "largest")
    blocks = blocks_of_numbers()
    async with open_isoline_apart(servers, "empty") as empty, open_isoline_apart(servers, "full") as full:
        await filling.plant(full)
        for isoline in (empty, full):
            await _full_load(isoline, next(blocks))  # neither begins cold
        filled = 0
        for rows in _ROWS:
            if rows > filled:
                await filling.fill_finished(full, filled + 1, rows)
            filled = rows
            turns = _COMPARED_TURNS if rows == _ROWS[-1] else _TURNS
            rates: dict[str, list[float]] = {"empty": [], "full": []}
            for _ in range(turns):
                for name, isoline in (("empty", empty), ("full", full)):
                    if name == "empty":
                        await isoline.query("TRUNCATE ecg, ecg_signal, ecg_insights, outbox CASCADE")
                    await servers.until_quiet()
                    rates[name].append((await _full_load(isoline, next(blocks))).completed_per_s)
            ratios = [a / b for a, b in zip(rates["full"], rates["empty"], strict=True)]
            of_full, of_empty = median(rates["full"]), median(rates["empty"])
            print_row(rows, of_full, of_empty, of_full / of_empty, min(ratios), max(ratios))


async def _by_backlog(servers: Servers) -> None:
    """Drained by one processor, which is frozen while the backlog is made."""
    print_table_head("backlog", "seconds", "completed/s", "processor us", "PostgreSQL us", "RabbitMQ us")
    async with open_isoline(servers) as isoline:
        await filling.plant(isoline)
        await _full_load(isoline, next(blocks_of_numbers()))
        first = 1
        for backlog in _BACKLOGS:
            last = first + backlog - 1
            os.kill(isoline.processes["processor"], signal.SIGSTOP)
            after = await isoline.newest()
            await filling.fill_queued(isoline, first, last)
            await filling.announce(servers.amqp_url, first, last, now=datetime.now(UTC))
            async with measure_resources(isoline.processes) as used:
                begun_s = time.monotonic()
                os.kill(isoline.processes["processor"], signal.SIGCONT)
                completed, ended_s = await isoline.until_done(after, within_s=_DRAIN_WITHIN_S)
            assert completed == backlog
            costs = [1e6 * used.cpu_s[name] / backlog for name in ("processor", "postgresql", "rabbitmq")]
            print_row(backlog, ended_s - begun_s, backlog / (ended_s - begun_s), *costs)
            first = last + 1
            await servers.until_quiet()


async def _by_owners(servers: Servers) -> None:
    print_table_head("owners", "submitted/s", "completed/s", "gateway us", "gateway MB")
    blocks = blocks_of_numbers()
    async with open_isoline(servers) as isoline:
        await _full_load(isoline, next(blocks))
        for count in _OWNERS:
            owners = [OWNER, *(f"owner-{index}" for index in range(1, count))]
            requests = posts(PATH, small(), isoline.tokens(owners))
            run = await run_pipeline(
                isoline, requests, next(blocks), connections=SMALL_CONNECTIONS, seconds=_WINDOW_S
            )
            rates = (run.accepted_per_s, run.completed_per_s)
            print_row(count, *rates, _cpu_us(run, "gateway"), run.peak_pss_mb["gateway"])
            await servers.until_quiet()


_DIMENSIONS: Final[Mapping[str, Callable[[Servers], Awaitable[None]]]] = {
    "samples": _by_samples,
    "rows": _by_rows,
    "backlog": _by_backlog,
    "owners": _by_owners,
}


async def _full_load(isoline: Pipeline, first: int) -> PipelineRun:
    requests = posts(PATH, small(), isoline.tokens())
    return await run_pipeline(isoline, requests, first, connections=SMALL_CONNECTIONS, seconds=_WINDOW_S)


def _cpu_us(run: PipelineRun, process: str) -> float:
    return 1e6 * run.cpu_s[process] / run.completed
