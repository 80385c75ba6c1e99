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

if TYPE_CHECKING:
    from collections.abc import Coroutine


def main() -> int:
    """Run what was asked for; the exit status."""
    configure_logs("benchmarks", "error")  # that RabbitMQ is still starting is no news
    return uvloop.run(_asked_for(_parser().parse_args()))


def _asked_for(arguments: argparse.Namespace) -> Coroutine[object, object, int]:
    match arguments.command:
        case "growth":
            return show_growth(arguments.only)
        case "plans":
            return show_plans()
        case "soak":
            return soak(arguments.minutes)
        case _:
            return compare(only=arguments.only, is_quick=arguments.quick)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.programs.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="measure what this scenario, ratio or dimension needs")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    commands = parser.add_subparsers(dest="command", metavar="growth | plans | soak")
    growth = commands.add_parser("growth", help="cost by samples, rows, backlog and owners")
    growth.add_argument("--only", default="", help="this dimension")
    commands.add_parser("plans", help="EXPLAIN of each hot query on a large database")
    soaking = commands.add_parser("soak", help="70 %% of capacity for a while")
    soaking.add_argument("--minutes", type=int, default=10)
    return parser


if __name__ == "__main__":
    sys.exit(main())
