"""How much more so many processors do than one, with an insight that waits: ``isoline bench scale``.

What waits needs no CPU, so that processors on one machine do not compete for it. What is left is how the
work is spread: whether one processor holds ECGs that another could measure.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp

from tests.programs.benchmarks import report
from tests.programs.benchmarks.load.recordings import small
from tests.programs.benchmarks.load.requests import blocks_of_numbers
from tests.programs.benchmarks.pipelines import PATH, Pipeline, prepare_isoline
from tests.programs.benchmarks.scaling.waiting_processor import MODULE
from tests.programs.benchmarks.servers import Servers, open_servers
from tests.support.servers.services import free_port, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

AT_LEAST: Final[Mapping[int, float]] = {2: 1.9, 4: 3.7}
"""How often what one processor does so many must do."""

_CONNECTIONS: Final = 16
_DONE_WITHIN_S: Final = 600.0
_COUNT_QUEUED: Final = "SELECT count(*) FROM ecg WHERE finished_at IS NULL"
_RATE: Final = """
SELECT (count(*) / extract(epoch FROM max(finished_at) - $2))::float8 FROM ecg
WHERE row > $1 AND finished_at > $2
"""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is measured.

    Attributes:
        processors: How many take turns; the first is what the others are compared with.
        wait_ms: How long each ECG waits.
        seconds: How long the backlog of one turn keeps its processors busy, if nothing else took time.
            After 10 s the relay announces once more what still waits.
        are_late: Whether all processors but the first come when the backlog is there.
    """

    processors: Sequence[int] = (1, 2, 4)
    turns: int = 3
    wait_ms: int = 200
    seconds: int = 8
    are_late: bool = False

    def ecgs(self, processors: int) -> int:
        """The backlog for so many processors."""
        return processors * self.seconds * 1000 // self.wait_ms


async def show_scale(scale: Scale) -> int:
    """Measure in turn and print ECGs per second and ratios; 1 if a ratio is too small."""
    rates: dict[int, list[float]] = {count: [] for count in scale.processors}
    async with open_servers() as servers, _open_gateway(servers) as installation:
        numbers = blocks_of_numbers()
        report.print_table_head("turn", "processors", "ECGs", "ECGs/s")
        for turn in range(1, scale.turns + 1):
            for count in scale.processors:
                rate = await _turn(installation, scale, count, next(numbers))
                rates[count].append(rate)
                report.print_row(turn, count, scale.ecgs(count), rate)
    return _show_ratios(rates)


def _show_ratios(rates: Mapping[int, Sequence[float]]) -> int:
    first, *others = rates
    report.print_line(f"\nmedian of {first}: {report.number(median(rates[first]))} ECGs/s")
    missed = 0
    for count in others:
        rate = median(rates[count])
        ratio = rate / median(rates[first])
        wanted = AT_LEAST.get(count, 0.0) if first == 1 else 0.0
        missed += ratio < wanted
        bound = f", wanted at least {wanted}{', missed' if ratio < wanted else ''}" if wanted else ""
        report.print_line(
            f"median of {count}: {report.number(rate)} ECGs/s, {ratio:.2f} times as many{bound}"
        )
    return 1 if missed else 0


async def _turn(installation: _Installation, scale: Scale, count: int, first_number: int) -> float:
    """Have a backlog done by so many processors; ECGs per second while all of them were there."""
    gateway, ecgs = installation.gateway, scale.ecgs(count)
    after = await gateway.newest()
    async with AsyncExitStack() as processors:
        if scale.are_late:
            await processors.enter_async_context(_open_processors(installation, 1, scale.wait_ms))
            await _submit(gateway, first_number, ecgs)
            await processors.enter_async_context(_open_processors(installation, count - 1, scale.wait_ms))
        else:
            await processors.enter_async_context(_open_processors(installation, count, scale.wait_ms))
            await _submit(gateway, first_number, ecgs)
        begun_at = await gateway.query("SELECT now()")
        await gateway.until_done(after, within_s=_DONE_WITHIN_S)
    if await gateway.query(_COUNT_QUEUED):
        raise RuntimeError(f"some ECGs have no result after {_DONE_WITHIN_S:g} s")
    rate: float | None = await gateway.query(_RATE, after, begun_at)
    if rate is None:
        raise RuntimeError("the backlog was done before all processors were ready: --seconds wants more")
    return rate


async def _submit(gateway: Pipeline, first: int, count: int) -> None:
    recording, [token] = small(), gateway.tokens()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": recording.content_type}
    numbers = iter(range(first, first + count))
    async with (
        aiohttp.ClientSession(gateway.address, headers=headers) as session,
        asyncio.TaskGroup() as tasks,
    ):

        async def submit() -> None:
            for number in numbers:
                body = recording.before_id + str(number).encode() + recording.after_id
                async with session.post(PATH, data=body, raise_for_status=True):
                    pass

        for _ in range(_CONNECTIONS):
            tasks.create_task(submit())


class _Installation(NamedTuple):
    """A gateway, and what processors beside it need."""

    gateway: Pipeline
    environment: Mapping[str, str]
    folder: Path


@asynccontextmanager
async def _open_gateway(servers: Servers) -> AsyncIterator[_Installation]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = await prepare_isoline(servers, gateway_port=port, processor_port=free_port())
    log = servers.folder / "gateway.log"
    async with open_service(["-m", "gateway"], address=address, environment=environment, log=log) as gateway:
        processes = {"gateway": gateway.pid, **servers.pids}
        pipeline = Pipeline(address=address, database_url=servers.database_url, processes=processes)
        yield _Installation(pipeline, environment, servers.folder)


@asynccontextmanager
async def _open_processors(installation: _Installation, count: int, wait_ms: int) -> AsyncIterator[None]:
    """So many processors, ready."""
    async with AsyncExitStack() as processors:
        for _ in range(count):
            port = free_port()
            await processors.enter_async_context(
                open_service(
                    ["-m", MODULE, str(wait_ms)],
                    address=f"http://127.0.0.1:{port}",
                    environment={**installation.environment, "ISOLINE_HEALTH_PORT": str(port)},
                    log=installation.folder / f"processor-{port}.log",
                )
            )
        yield
