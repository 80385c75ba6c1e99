"""Isoline and its baselines in turn, on servers of its own; see docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import uvloop

from shared.observability.logs import configure_logs
from tests.programs.benchmarks.at_scale.growth import show_growth
from tests.programs.benchmarks.at_scale.plans import show_plans
from tests.programs.benchmarks.at_scale.soak import soak
from tests.programs.benchmarks.comparison import compare
from tests.programs.benchmarks.scaling.replicas import Simulation, show_simulation
from tests.programs.benchmarks.scaling.scale import Scale, show_scale

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what these arguments, or else those of the process, ask for; the exit status."""
    asked = _parser().parse_args(arguments)
    configure_logs("benchmarks", "error")  # that RabbitMQ is still starting is no news
    try:
        return uvloop.run(_asked_for(asked))
    except FileNotFoundError as error:  # a server that is not installed
        sys.stderr.write(f"{error}\n")
        return 2


def _asked_for(arguments: argparse.Namespace) -> Coroutine[object, object, int]:
    match arguments.command:
        case "growth":
            return show_growth(arguments.only)
        case "plans":
            return show_plans()
        case "soak":
            return soak(arguments.minutes)
        case "scale":
            return show_scale(_scale(arguments))
        case "simulate":
            return show_simulation(_simulation(arguments))
        case _:
            return compare(only=arguments.only, is_quick=arguments.quick)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="isoline bench", description=__doc__)
    parser.add_argument("--only", default="", help="measure what this scenario, ratio or dimension needs")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    growth = commands.add_parser("growth", help="cost by samples, rows, backlog and owners")
    growth.add_argument("--only", default="", help="this dimension")
    commands.add_parser("plans", help="EXPLAIN of each hot query on a large database")
    soaking = commands.add_parser("soak", help="70 %% of capacity for a while")
    soaking.add_argument("--minutes", type=int, default=10)
    _add_scale(commands.add_parser("scale", help="what processors do beside one, with an insight that waits"))
    _add_simulation(commands.add_parser("simulate", help="latency by load and processes, by measured costs"))
    return parser


def _add_scale(parser: argparse.ArgumentParser) -> None:
    usual = Scale()
    parser.add_argument(
        "--processors", type=int, nargs="+", default=list(usual.processors), help="how many, in turn"
    )
    parser.add_argument("--turns", type=int, default=usual.turns, help="the median of so many")
    parser.add_argument("--wait-ms", type=int, default=usual.wait_ms, help="waiting for each ECG")
    parser.add_argument("--seconds", type=int, default=usual.seconds, help="of work for each processor")
    parser.add_argument(
        "--late", action="store_true", help="start all but the first processor when the backlog is there"
    )


def _scale(arguments: argparse.Namespace) -> Scale:
    return Scale(
        processors=arguments.processors,
        turns=arguments.turns,
        wait_ms=arguments.wait_ms,
        seconds=arguments.seconds,
        are_late=arguments.late,
    )


def _add_simulation(parser: argparse.ArgumentParser) -> None:
    usual = Simulation()
    parser.add_argument("--recording", choices=("small", "standard"), default=usual.recording)
    parser.add_argument("--rates", type=float, nargs="+", default=list(usual.rates), help="ECGs per second")
    parser.add_argument("--gateways", type=int, default=0, help="as many as the load needs if not given")
    parser.add_argument("--processors", type=int, default=0, help="likewise")
    parser.add_argument("--wait-ms", type=float, default=0.0, help="what an insight waits for each ECG")
    parser.add_argument("--burst", type=int, default=1, help="ECGs that arrive in one moment")
    parser.add_argument("--check", action="store_true", help="measure costs, and compare with a real run")


def _simulation(arguments: argparse.Namespace) -> Simulation:
    return Simulation(
        recording=arguments.recording,
        rates=arguments.rates,
        gateways=arguments.gateways,
        processors=arguments.processors,
        wait_ms=arguments.wait_ms,
        burst=arguments.burst,
        is_checked=arguments.check,
    )


if __name__ == "__main__":
    sys.exit(main())
