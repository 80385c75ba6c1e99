"""``make bench``: Isoline and its baselines in turn, on servers of its own; see docs/performance.md."""

from __future__ import annotations

import argparse
import logging
import sys

import uvloop

from tests.benchmarks.comparison import compare


def main() -> int:
    """Run what was asked for; the exit status."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # that RabbitMQ is still starting is no news
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    arguments = _parser().parse_args()
    return uvloop.run(compare(only=arguments.only, is_quick=arguments.quick))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="measure what this scenario or this ratio needs")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    return parser


if __name__ == "__main__":
    sys.exit(main())
