"""``isoline bench simulate --check``: measure costs on this machine, and hold the model to a real run.

Costs come from two runs: full load shows what each ECG costs in a large batch; a fifth of it, one ECG at a
time, shows what a batch costs and how long disk and network take. Fewer ECGs would not do: a process that has
slept takes twice the CPU for each. The runs that the model has to foretell are others.
"""

from __future__ import annotations

import asyncio
import os
import time
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs.benchmarks.load.meter import measure_resources
from tests.programs.benchmarks.load.open_loop import percentile, submit_at
from tests.programs.benchmarks.load.recordings import Recording, small, standard
from tests.programs.benchmarks.load.requests import blocks_of_numbers, gets, posts
from tests.programs.benchmarks.pipelines import PATH, Pipeline, open_isoline
from tests.programs.benchmarks.report import number, print_line, print_table_head
from tests.programs.benchmarks.scaling.simulation import (
    Costs,
    Deployment,
    SimulatedLatencies,
    Stage,
    bursts,
    poisson,
    simulate,
)
from tests.programs.benchmarks.servers import Servers, open_servers
from tests.programs.benchmarks.steps import STANDARD_CONNECTIONS, run_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RECORDINGS: Final = {"small": small, "standard": standard}

_CORES: Final = os.cpu_count() or 1
_LOW_S: Final = 8.0
_IDLE_S: Final = 4.0
_FULL_S: Final = 6
_CHECK_S: Final = 10.0
_SHARE: Final = 0.5
_MEASURED_SHARE: Final = 0.2
_LOW_SHARE: Final = 0.1
_BURST: Final = 20
_SERVERS: Final = ("postgresql", "rabbitmq")
_GATEWAY_MOST: Final = 200
_PROCESSOR_MOST: Final = 512
_BATCHES: Final = """
SELECT count(*)::float8 / count(DISTINCT finished_at) FROM ecg WHERE row > $1 AND finished_at IS NOT NULL
"""
_WRITTEN: Final = """
SELECT ARRAY[
    pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'),
    (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'ecg%'),
    (SELECT sum(octet_length(samples)) FROM ecg_signal)
]::float8[]
"""
_RESULT_S: Final = """
SELECT array_agg(extract(epoch FROM finished_at - submitted_at)::float8) FROM ecg WHERE row > $1
"""


class _Run(NamedTuple):
    """Latencies and the CPU seconds per ECG of each process."""

    submit_s: list[float]
    result_s: list[float]
    cpu_s: Mapping[str, float]


async def measure_costs_and_check(recording_name: str) -> Costs:
    """Print costs, and simulated beside real latencies at a tenth and at half of full load; the costs."""
    recording, chance = RECORDINGS[recording_name](), Random(1)  # noqa: S311 - nothing here is secret
    async with open_servers() as servers, open_isoline(servers) as isoline:
        numbers = blocks_of_numbers()
        await run_pipeline(
            isoline, posts(PATH, recording, isoline.tokens()), next(numbers), connections=4, seconds=2
        )
        costs, full_per_s, slowdown = await _measure_costs(servers, isoline, recording, numbers)
        print_line(
            f"{recording_name}: {number(full_per_s)} ECGs/s at full load on {_CORES} cores, "
            f"of which it had {1 / slowdown:.0%}"
        )
        _print_costs(costs)
        columns = [f"{latency} p{percent} ms" for latency in ("submit", "result") for percent in (50, 95)]
        print_table_head("per s", *(name for column in columns for name in (column, "model")))
        rate = full_per_s * _SHARE
        for arrivals in (
            poisson(full_per_s * _LOW_SHARE, _CHECK_S, chance),
            poisson(rate, _CHECK_S, chance),
            bursts(rate / 2, _CHECK_S, chance, size=_BURST),
        ):
            await servers.until_quiet()
            real = await _run(isoline, recording, next(numbers), arrivals)
            modelled = simulate(costs, arrivals, Deployment(cores=_CORES, slowdown=slowdown))
            _print_comparison(len(arrivals) / _CHECK_S, real, modelled)
    return costs


async def _measure_costs(
    servers: Servers, isoline: Pipeline, recording: Recording, numbers: Iterator[int]
) -> tuple[Costs, float, float]:
    """The costs, how many ECGs per second full load completes, and how often its CPU time something takes."""
    await servers.until_quiet()
    async with measure_resources(isoline.processes) as idle:
        await asyncio.sleep(_IDLE_S)
    requests = posts(PATH, recording, isoline.tokens())
    before = await isoline.query(_WRITTEN)
    full = await run_pipeline(
        isoline, requests, next(numbers), connections=STANDARD_CONNECTIONS, seconds=_FULL_S
    )
    written = [
        (after - earlier) / full.completed
        for earlier, after in zip(before, await isoline.query(_WRITTEN), strict=True)
    ]
    print_line(
        f"bytes per ECG: {recording.num_bytes:,} of body, {written[2]:,.0f} of packed samples, "
        f"{written[1]:,.0f} of tables and indexes, {written[0]:,.0f} of WAL"
    )
    low_per_s = full.completed_per_s * _MEASURED_SHARE
    await servers.until_quiet()
    alone = [at / low_per_s for at in range(int(low_per_s * _LOW_S))]
    low = await _run(isoline, recording, next(numbers), alone)
    low_cpu_s = {
        name: max(cpu_s - idle.cpu_s[name] / _IDLE_S / low_per_s, 0.0) if name in idle.cpu_s else cpu_s
        for name, cpu_s in low.cpu_s.items()
    }
    each = ", ".join(f"{name} {1e6 * cpu / full.completed:,.0f}" for name, cpu in full.cpu_s.items())
    print_line(f"us of CPU per ECG at full load: {each}")
    used_s = sum(full.cpu_s.values()) + low_cpu_s["client"] * full.completed
    slowdown = max(_CORES * full.completed / full.completed_per_s / used_s, 1.0)
    batch = max(await isoline.query(_BATCHES, full.after), 1.01)
    full_cpu_s = {name: cpu_s / full.completed for name, cpu_s in full.cpu_s.items()}
    servers_low_s = sum(low_cpu_s[name] for name in _SERVERS) / 2
    servers_full_s = sum(full_cpu_s[name] for name in _SERVERS) / 2

    def stage(name: str, latency_s: float, most: int) -> Stage:
        batch_s, ecg_s = _parts(low_cpu_s[name], full_cpu_s[name], batch)
        servers_batch_s, servers_ecg_s = _parts(servers_low_s, servers_full_s, batch)
        known_s = batch_s + ecg_s + servers_batch_s + servers_ecg_s
        return Stage(
            batch_s=batch_s,
            ecg_s=ecg_s,
            servers_batch_s=servers_batch_s,
            servers_ecg_s=servers_ecg_s,
            wait_s=max(latency_s - slowdown * known_s, 0.0),
            most=most,
        )

    client_s = low_cpu_s["client"]
    gateway = stage("gateway", median(low.submit_s) - slowdown * client_s, _GATEWAY_MOST)
    # A result counts from when the ECG is stored; until then the gateway has received and parsed it.
    stored_to_announced_s = median(low.submit_s) - slowdown * (client_s + gateway.ecg_s)
    processor = stage("processor", median(low.result_s) - stored_to_announced_s, _PROCESSOR_MOST)
    return Costs(gateway=gateway, processor=processor, client_s=client_s), full.completed_per_s, slowdown


def _parts(alone_s: float, in_batches_s: float, batch: float) -> tuple[float, float]:
    """Cost of a batch and of each ECG in it, by the cost per ECG alone and in batches of a size."""
    batch_s = max((alone_s - in_batches_s) / (1 - 1 / batch), 0.0)
    return batch_s, max(in_batches_s - batch_s / batch, 0.0)


async def _run(isoline: Pipeline, recording: Recording, first: int, arrivals: Sequence[float]) -> _Run:
    after, [token] = await isoline.newest(), isoline.tokens()
    client_s = time.process_time()
    async with measure_resources(isoline.processes) as used:
        latencies = await submit_at(
            isoline.address,
            posts(PATH, recording, [token]),
            gets("/ecg", token, query="?wait=10"),
            first,
            arrivals,
            ask_about_every=0,
        )
        client_s = time.process_time() - client_s
        await isoline.until_done(after, within_s=60)
    cpu_s = {name: seconds / len(arrivals) for name, seconds in used.cpu_s.items()}
    result_s: list[float] = await isoline.query(_RESULT_S, after)
    return _Run(latencies.submit_s, result_s, {**cpu_s, "client": client_s / len(arrivals)})


def _print_costs(costs: Costs) -> None:
    print_line("\n| us | per batch | per ECG | servers, per batch | servers, per ECG | waiting |")
    print_line("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, stage in (("gateway", costs.gateway), ("processor", costs.processor)):
        parts = (stage.batch_s, stage.ecg_s, stage.servers_batch_s, stage.servers_ecg_s, stage.wait_s)
        print_line(f"| {name} | {' | '.join(number(1e6 * part) for part in parts)} |")


def _print_comparison(rate_per_s: float, real: _Run, modelled: SimulatedLatencies) -> None:
    cells = [number(rate_per_s)]
    for real_s, modelled_s in ((real.submit_s, modelled.submit_s), (real.result_s, modelled.result_s)):
        for percent in (50, 95):
            expected, found = percentile(real_s, percent), percentile(modelled_s, percent)
            cells += [f"{1000 * expected:.1f}", f"{1000 * found:.1f} ({found / expected - 1:+.0%})"]
    print_line(f"| {' | '.join(cells)} |")
