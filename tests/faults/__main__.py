"""``python -m tests.faults [--only NAME] [--seed N] [--minutes M]``: break everything, lose nothing."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from tests.faults.catalogue import CATALOGUE, Fault
from tests.faults.report import row, table, write_page
from tests.faults.run import Outcome, run_fault
from tests.faults.world import World, open_world

_GROWTH: Final = 1.5


async def main(arguments: argparse.Namespace) -> int:
    """Run the faults; the exit status."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # that the broker is away is no news here
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    begun_s = time.monotonic()
    chosen = [it for name, it in CATALOGUE.items() if not arguments.only or arguments.only in name]
    outcomes: list[Outcome] = []
    async with open_world() as world:
        try:
            plateau: dict[str, dict[str, int]] = {}
            for fault in chosen:
                outcomes.append(_told(await run_fault(world, fault)))
                plateau = plateau or world.resources()
            outcomes += await _mix(world, seed=arguments.seed, minutes=arguments.minutes)
            grown, resources = _growth(plateau, world.resources())
            servers = await _versions(world)
        finally:
            _keep_logs(world)
    sys.stdout.write(f"\n{table(outcomes)}\n\n{resources}\n")
    for breach in (breaches := [f"{it.name}: {breach}" for it in outcomes for breach in it.breaches])[:50]:
        sys.stdout.write(f"BROKEN {breach}\n")
    if not arguments.only and not breaches and not grown:
        write_page(
            outcomes,
            command=f"make faults SEED={arguments.seed} MINUTES={arguments.minutes:g}",
            minutes=(time.monotonic() - begun_s) / 60,
            cores=os.cpu_count() or 0,
            resources=resources,
            servers=servers,
        )
    return 1 if breaches or grown else 0


async def _mix(world: World, *, seed: int, minutes: float) -> list[Outcome]:
    """Two faults at a time, drawn by chance, for so long."""
    drawn = random.Random(seed)  # noqa: S311 - the same mix for the same seed
    able = [fault for fault in CATALOGUE.values() if fault.random and not fault.spares_clients]
    outcomes: list[Outcome] = []
    until_s = time.monotonic() + 60 * minutes
    while time.monotonic() < until_s:
        one, other = drawn.sample(able, 2)

        async def both(world: World, one: Fault = one, other: Fault = other) -> None:
            await one.harm(world)
            await other.harm(world)

        outcomes.append(_told(await run_fault(world, Fault(f"mix: {one.name}, then {other.name}", both))))
    return outcomes


def _told(outcome: Outcome) -> Outcome:
    sys.stdout.write(f"{row(outcome)}\n" + "".join(f"  BROKEN {it}\n" for it in outcome.breaches[:5]))
    sys.stdout.flush()
    return outcome


def _growth(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> tuple[bool, str]:
    """Whether a kind of process has grown too much, and all of them in words (I6)."""
    ratios = {kind: _largest_kb(after, kind) / _largest_kb(before, kind) for kind in ("gateway", "processor")}
    described = "; ".join(
        f"{name} {it['rss_kb'] // 1024} MB, {it['files']} files, {it['threads']} threads"
        for name, it in after.items()
    )
    compared = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in ratios.items())
    return (
        max(ratios.values()) > _GROWTH,
        f"At the end (I6): {described}. Largest to the plateau after the first load: {compared}.",
    )


def _largest_kb(resources: dict[str, dict[str, int]], kind: str) -> int:
    return max(it["rss_kb"] for name, it in resources.items() if name.startswith(kind))


async def _versions(world: World) -> dict[str, str]:
    [found] = await world.postgres.query("SHOW server_version")
    async with world.rabbitmq.channel() as channel:
        connection = (await channel.get_underlay_channel()).connection
        rabbitmq = str(connection.server_properties["version"])
    return {"PostgreSQL": str(found[0]), "RabbitMQ": rabbitmq}


def _keep_logs(world: World) -> None:
    kept = Path("var/faults")
    kept.mkdir(parents=True, exist_ok=True)
    for log in world.logs.glob("*.log"):
        shutil.copy(log, kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", help="run the faults whose name holds this")
    parser.add_argument("--seed", type=int, default=1, help="of the mix")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the mix")
    sys.exit(asyncio.run(main(parser.parse_args())))
