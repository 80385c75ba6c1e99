"""``make bench`` without a command: every contender in turn, and the ratios of their medians."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.programs.benchmarks import report
from tests.programs.benchmarks.load.recordings import standard
from tests.programs.benchmarks.load.requests import blocks_of_numbers, posts
from tests.programs.benchmarks.load.wrk import LoadError
from tests.programs.benchmarks.pipelines import PATH, Pipeline, open_isoline
from tests.programs.benchmarks.ratios import Series, figures_needed
from tests.programs.benchmarks.servers import Servers, open_servers
from tests.programs.benchmarks.steps import (
    SCENARIOS,
    STANDARD_CONNECTIONS,
    Bench,
    Figures,
    Step,
    Windows,
    run_pipeline,
)
from tests.support.servers.services import free_port, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_WHOLE: Final = Windows(alternations=5, baseline_s=3, ours_s=6, latency_s=6)
_HOLTER_TURNS: Final = 2  # nothing is compared with it
_QUICK: Final = Windows(alternations=3, baseline_s=2, ours_s=3, latency_s=3)


async def compare(*, only: str, is_quick: bool) -> int:
    """Measure, print and write down; the exit status."""
    chosen = {name: steps for name in SCENARIOS if (steps := _chosen(name, only))}
    if not chosen:
        sys.stderr.write(f"no scenario and no ratio has {only!r} in its name\n")
        return 2
    series: Series = {}
    async with _open_bench(_QUICK if is_quick else _WHOLE) as bench:
        failures = [await _alternate(bench, name, steps, series) for name, steps in chosen.items()]
    report.print_line(f"\n{report.tables(series)}")
    report.write_ratios(series, only=only, is_quick=is_quick)
    if not only and not is_quick:
        report.write_page(series)
    return 1 if any(failures) else 0


def _chosen(scenario: str, only: str) -> list[Step]:
    if only in scenario:
        return list(SCENARIOS[scenario])
    needed = figures_needed(only)
    return [step for step in SCENARIOS[scenario] if needed.intersection(step.gives)]


async def _alternate(bench: Bench, name: str, steps: list[Step], series: Series) -> int:
    """Run the steps in turn; how often one could not be measured, after which its turn counts for nothing."""
    turns = _HOLTER_TURNS if name.startswith("holter") else bench.windows.alternations
    failures = 0
    for turn in range(1, turns + 1):
        measured: Figures = {}
        try:
            for step in steps:
                figures = await step.run(bench)
                report.print_figures(f"{name} {turn}/{turns}", figures)
                measured |= figures
        except LoadError as error:
            failures += 1
            report.print_line(f"{name} {turn}/{turns}: not measured, {error}")
            continue
        for figure, value in measured.items():
            series.setdefault(figure, []).append(value)
    return failures


@asynccontextmanager
async def _open_bench(windows: Windows) -> AsyncIterator[Bench]:
    async with open_servers() as servers, open_isoline(servers) as isoline:
        blocks = blocks_of_numbers()
        first = next(blocks)
        count = await _warm_up(isoline, first)
        result = await _keep_result(isoline, first, servers)
        await servers.until_quiet()
        async with _open_bare(servers, result) as bare:
            yield Bench(
                servers=servers,
                isoline=isoline,
                bare=bare,
                blocks=blocks,
                windows=windows,
                finished=(first, count),
            )


async def _warm_up(isoline: Pipeline, first: int) -> int:
    """Have some STANDARD ECGs done; how many there are from the first on."""
    requests = posts(PATH, standard(), isoline.tokens())
    run = await run_pipeline(isoline, requests, first, connections=STANDARD_CONNECTIONS, seconds=2)
    # wrk leaves without waiting for what it sent last, so the last few may be missing.
    return min(run.completed - STANDARD_CONNECTIONS, 1000)


async def _keep_result(isoline: Pipeline, number: int, servers: Servers) -> Path:
    """The answer to a GET, for the baseline to answer the same."""
    [token] = isoline.tokens()
    file = servers.folder / "result.json"
    async with (
        aiohttp.ClientSession(isoline.address, headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(f"/ecg/{number}", raise_for_status=True) as answer,
    ):
        file.write_bytes(await answer.read())
    return file


@asynccontextmanager
async def _open_bare(servers: Servers, result: Path) -> AsyncIterator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = ["-m", "tests.programs.benchmarks.baselines.bare", str(port), str(result)]
    async with open_service(command, address=address, environment={}, log=servers.folder / "bare.log"):
        yield address
