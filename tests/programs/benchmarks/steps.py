"""What is measured: each step is one load on one contender, and gives figures by name."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs.benchmarks.load import wrk
from tests.programs.benchmarks.load.meter import measure_resources
from tests.programs.benchmarks.load.open_loop import percentile, submit_at_rate
from tests.programs.benchmarks.load.recordings import Recording, holter, holter_binary, small, standard
from tests.programs.benchmarks.load.requests import gets, posts
from tests.programs.benchmarks.pipelines import PATH, ROOMY, open_isoline_apart, open_textbook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tests.programs.benchmarks.load.open_loop import Latencies
    from tests.programs.benchmarks.load.requests import Requests
    from tests.programs.benchmarks.pipelines import Pipeline
    from tests.programs.benchmarks.servers import Servers

Figures = dict[str, float]

SMALL_CONNECTIONS: Final = 256
STANDARD_CONNECTIONS: Final = 16
GET_CONNECTIONS: Final = 64
HOLTER_CONNECTIONS: Final = 2

_DRAIN_WITHIN_S: Final = 60.0
_HOLTER_S: Final = 10  # one takes a good part of a second
# With a prefetch of 1 the backlog of one second takes a quarter of a minute; the rate is known earlier.
_TEXTBOOK_DRAIN_S: Final = 6.0
_BARE_ANALYSIS_ECGS: Final = 512
_GET_ECGS: Final = 1000


class Windows(NamedTuple):
    """How long each load lasts, and how often all are repeated in turn."""

    alternations: int
    baseline_s: int
    ours_s: int
    latency_s: int


@dataclass(kw_only=True)
class Bench:
    """Everything that steps need.

    Attributes:
        bare: Where `tests.programs.benchmarks.baselines.bare` listens.
        blocks: The first id of each load.
        finished: The ids of some finished ECGs: the first, and how many.
        small_completed_per_s: How many SMALL ECGs were completed in a second, each time.
    """

    servers: Servers
    isoline: Pipeline
    bare: str
    blocks: Iterator[int]
    windows: Windows
    finished: tuple[int, int]
    small_completed_per_s: list[float] = field(default_factory=list)


class Step(NamedTuple):
    """One load on one contender."""

    gives: tuple[str, ...]
    run: Callable[[Bench], Awaitable[Figures]]


class PipelineRun(NamedTuple):
    """A load that a pipeline completed: how fast it was accepted and completed, and what processes used."""

    accepted_per_s: float
    completed_per_s: float
    completed: int
    cpu_s: Mapping[str, float]
    peak_pss_mb: Mapping[str, float]
    after: int


async def run_pipeline(
    pipeline: Pipeline,
    requests: Requests,
    first: int,
    *,
    connections: int,
    seconds: int,
    drain_s: float = _DRAIN_WITHIN_S,
) -> PipelineRun:
    """Submit at full load for a window and wait until all of it is terminal."""
    after = await pipeline.newest()
    async with measure_resources(pipeline.processes) as used:
        begun_s = time.monotonic()
        load = await wrk.load(pipeline.address, requests, first, connections=connections, seconds=seconds)
        completed, ended_s = await pipeline.until_done(after, within_s=drain_s)
    return PipelineRun(
        load.per_s, completed / (ended_s - begun_s), completed, used.cpu_s, used.peak_pss_mb, after
    )


async def submit_small_at_rate(
    pipeline: Pipeline, first: int, *, rate_per_s: float, seconds: int
) -> Latencies:
    """Submit SMALL ECGs at a constant rate, and wait for the results of some of them."""
    [token] = pipeline.tokens()
    return await submit_at_rate(
        pipeline.address,
        posts(PATH, small(), [token]),
        gets("/ecg", token, query="?wait=10"),
        first,
        rate_per_s=rate_per_s,
        seconds=seconds,
    )


async def _bare_post(
    bench: Bench, *, path: str, figure: str, recording: Recording, connections: int
) -> Figures:
    load = await wrk.load(
        bench.bare,
        posts(path, recording),
        next(bench.blocks),
        connections=connections,
        seconds=bench.windows.baseline_s,
    )
    return {figure: load.per_s}


async def _ours(bench: Bench, *, name: str, recording: Recording, connections: int) -> Figures:
    requests = posts(PATH, recording, bench.isoline.tokens())
    run = await run_pipeline(
        bench.isoline, requests, next(bench.blocks), connections=connections, seconds=bench.windows.ours_s
    )
    figures = {
        f"{name}_submit_per_s": run.accepted_per_s,
        f"{name}_completed_per_s": run.completed_per_s,
        **{f"{name}_{process}_cpu_us": 1e6 * cpu / run.completed for process, cpu in run.cpu_s.items()},
        **{f"{name}_{process}_pss_mb": run.peak_pss_mb[process] for process in ("gateway", "processor")},
    }
    if name == "small":
        bench.small_completed_per_s.append(run.completed_per_s)
    elif name == "standard":
        figures["standard_kernel_cpu_us"] = 1e6 * await _bare_analysis_cpu_s(
            bench.isoline.database_url, run.after
        )
    await bench.servers.until_quiet()
    return figures


async def _ours_small(bench: Bench) -> Figures:
    return await _ours(bench, name="small", recording=small(), connections=SMALL_CONNECTIONS)


async def _bare_analysis_cpu_s(database_url: str, after: int) -> float:
    command = (
        "-m",
        "tests.programs.benchmarks.baselines.bare_analysis",
        database_url,
        str(after),
        str(_BARE_ANALYSIS_ECGS),
    )
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return float(said)


async def _textbook(bench: Bench, *, prefetch: int, seconds: int, drain_s: float) -> Figures:
    async with open_textbook(bench.servers, prefetch=prefetch) as pipeline:
        requests = posts(PATH, small())
        run_textbook = partial(run_pipeline, pipeline, requests, connections=SMALL_CONNECTIONS)
        await run_textbook(next(bench.blocks), seconds=1, drain_s=1.0)
        run = await run_textbook(next(bench.blocks), seconds=seconds, drain_s=drain_s)
    await bench.servers.until_quiet()
    return {f"small_textbook_{prefetch}_per_s": run.completed_per_s}


async def _textbook_64(bench: Bench) -> Figures:
    return await _textbook(bench, prefetch=64, seconds=bench.windows.baseline_s, drain_s=_DRAIN_WITHIN_S)


async def _textbook_1(bench: Bench) -> Figures:
    return await _textbook(bench, prefetch=1, seconds=1, drain_s=_TEXTBOOK_DRAIN_S)


async def _bare_get(bench: Bench) -> Figures:
    load = await wrk.load(
        bench.bare,
        gets("/result"),
        next(bench.blocks),
        connections=GET_CONNECTIONS,
        seconds=bench.windows.baseline_s,
    )
    return {"get_bare_per_s": load.per_s}


async def _get(bench: Bench) -> Figures:
    first, count = bench.finished
    load = await wrk.load(
        bench.isoline.address,
        gets("/ecg", *bench.isoline.tokens()),
        first,
        connections=GET_CONNECTIONS,
        seconds=bench.windows.baseline_s,
        period=count,
    )
    return {"get_per_s": load.per_s}


async def _latency(bench: Bench) -> Figures:
    """Percentiles at half of what SMALL ECGs can be completed."""
    if not bench.small_completed_per_s:
        await _ours_small(bench)
    latencies = await submit_small_at_rate(
        bench.isoline,
        next(bench.blocks),
        rate_per_s=median(bench.small_completed_per_s) / 2,
        seconds=bench.windows.latency_s,
    )
    await bench.servers.until_quiet()
    return {
        f"small_{name}_p{percent}_ms": 1000 * percentile(values, percent)
        for name, values in (("submit", latencies.submit_s), ("result", latencies.result_s))
        for percent in (50, 99)
    }


async def _holter_json(bench: Bench) -> Figures:
    async with open_isoline_apart(bench.servers, "holter_json", **ROOMY) as isoline:
        return await _holter(bench, isoline, "holter_json", holter())


async def _holter_binary(bench: Bench) -> Figures:
    """With the limits as they are: what is longer than JSON may be is what the form is for."""
    async with open_isoline_apart(bench.servers, "holter_binary") as isoline:
        return await _holter(bench, isoline, "holter_binary", holter_binary())


async def _holter(bench: Bench, isoline: Pipeline, name: str, recording: Recording) -> Figures:
    requests = posts(PATH, recording, isoline.tokens())
    run = await run_pipeline(
        isoline, requests, next(bench.blocks), connections=HOLTER_CONNECTIONS, seconds=_HOLTER_S
    )
    await bench.servers.until_quiet()
    return {
        f"{name}_completed_per_s": run.completed_per_s,
        **{f"{name}_{process}_cpu_ms": 1e3 * cpu / run.completed for process, cpu in run.cpu_s.items()},
        **{f"{name}_{process}_pss_mb": run.peak_pss_mb[process] for process in ("gateway", "processor")},
    }


def _costs(name: str) -> tuple[str, ...]:
    processes = ("gateway", "processor", "postgresql", "rabbitmq")
    return (
        *(f"{name}_{process}_cpu_us" for process in processes),
        *(f"{name}_{process}_pss_mb" for process in processes[:2]),
    )


_SMALL: Final = partial(_bare_post, recording=small(), connections=SMALL_CONNECTIONS)
_STANDARD: Final = partial(_bare_post, recording=standard(), connections=STANDARD_CONNECTIONS)

# Steps of a scenario take turns; so contenders meet the same weather.
SCENARIOS: Final[Mapping[str, tuple[Step, ...]]] = {
    "small": (
        Step(("small_bare_per_s",), partial(_SMALL, path="/bare", figure="small_bare_per_s")),
        Step(
            ("small_submit_per_s", "small_completed_per_s", *_costs("small")),
            _ours_small,
        ),
        Step(("small_textbook_64_per_s",), _textbook_64),
        Step(("small_textbook_1_per_s",), _textbook_1),
    ),
    "standard": (
        Step(("standard_orjson_per_s",), partial(_STANDARD, path="/orjson", figure="standard_orjson_per_s")),
        Step(("standard_json_per_s",), partial(_STANDARD, path="/json", figure="standard_json_per_s")),
        Step(
            (
                "standard_submit_per_s",
                "standard_completed_per_s",
                "standard_kernel_cpu_us",
                *_costs("standard"),
            ),
            partial(_ours, name="standard", recording=standard(), connections=STANDARD_CONNECTIONS),
        ),
    ),
    "latency": (
        Step(
            tuple(f"small_{name}_p{percent}_ms" for name in ("submit", "result") for percent in (50, 99)),
            _latency,
        ),
    ),
    "get": (
        Step(("get_bare_per_s",), _bare_get),
        Step(("get_per_s",), _get),
    ),
    "holter_json": (Step(("holter_json_completed_per_s",), _holter_json),),
    "holter_binary": (Step(("holter_binary_completed_per_s",), _holter_binary),),
}
