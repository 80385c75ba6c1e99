"""``isoline bench simulate``: latency by load and by how many gateways and processors there are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.programs.benchmarks.load.open_loop import percentile
from tests.programs.benchmarks.report import number, print_line, print_table_head
from tests.programs.benchmarks.scaling.simulation import Costs, Deployment, Stage, bursts, poisson, simulate
from tests.programs.benchmarks.scaling.validation import measure_costs_and_check

if TYPE_CHECKING:
    from collections.abc import Sequence

_COSTS: Final = Path(__file__).with_name("costs.json")
# Of this machine, which `--check` writes; they win.
_OWN_COSTS: Final = Path(__file__).parents[4] / "var" / "bench" / "costs.json"
_BUSY: Final = 0.7
_ECGS: Final = 40_000


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What is simulated.

    Attributes:
        recording: ``small`` or ``standard``.
        rates: ECGs per second.
        gateways: How many; by the load if it is 0, so that each is busy for 70 % of the time.
        processors: Likewise.
        wait_ms: What an insight waits for each ECG besides.
        burst: How many ECGs arrive in one moment.
        is_checked: Whether costs are measured anew, and the model held to a real run.
    """

    recording: str = "standard"
    rates: Sequence[float] = (10, 100, 1000)
    gateways: int = 0
    processors: int = 0
    wait_ms: float = 0.0
    burst: int = 1
    is_checked: bool = False


async def show_simulation(simulation: Simulation) -> int:
    """Print a row for each rate; the exit status."""
    if simulation.is_checked:
        _keep(simulation.recording, await measure_costs_and_check(simulation.recording))
        return 0
    costs = _costs(simulation.recording, wait_s=simulation.wait_ms / 1000)
    print_table_head(
        "per s",
        "gateways",
        "processors",
        *(f"{what} p{percent} ms" for what in ("submit", "result") for percent in (50, 95, 99)),
    )
    for rate in simulation.rates:
        deployment = Deployment(
            simulation.gateways or _needed(costs.gateway, rate),
            simulation.processors or _needed(costs.processor, rate),
        )
        chance = Random(1)  # noqa: S311 - nothing here is secret
        seconds = _ECGS / rate
        arrivals = (
            bursts(rate, seconds, chance, size=simulation.burst)
            if simulation.burst > 1
            else poisson(rate, seconds, chance)
        )
        latencies = simulate(costs, arrivals, deployment)
        cells = [number(rate), str(deployment.gateways), str(deployment.processors)]
        for values in latencies:
            cells += [f"{1000 * percentile(values, percent):.1f}" for percent in (50, 95, 99)]
        print_line(f"| {' | '.join(cells)} |")
    return 0


def _needed(stage: Stage, rate_per_s: float) -> int:
    """How many processes are busy for 70 % of the time or less, with full batches."""
    return int(-(-rate_per_s * (stage.ecg_s + stage.batch_s / stage.most) // _BUSY)) or 1


def _costs(recording: str, *, wait_s: float) -> Costs:
    document = _documents()[recording]
    gateway, processor = Stage(**document["gateway"]), Stage(**document["processor"])
    if wait_s:
        # A processor with slow insights claims what takes half a second.
        processor = replace(
            processor, ecg_s=processor.ecg_s + wait_s, most=max(int(0.5 / (processor.ecg_s + wait_s)), 1)
        )
    return Costs(gateway=gateway, processor=processor)


def _keep(recording: str, costs: Costs) -> None:
    documents = _documents()
    documents[recording] = {"gateway": asdict(costs.gateway), "processor": asdict(costs.processor)}
    _OWN_COSTS.parent.mkdir(parents=True, exist_ok=True)
    _OWN_COSTS.write_bytes(orjson.dumps(documents, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print_line(f"\nthe costs were written to {_OWN_COSTS}, which simulations use from now on")


def _documents() -> dict[str, Any]:
    """The costs of each recording: those of this machine before those of docs/performance.md."""
    documents: dict[str, Any] = orjson.loads(_COSTS.read_bytes())
    if _OWN_COSTS.exists():
        documents |= orjson.loads(_OWN_COSTS.read_bytes())
    return documents
