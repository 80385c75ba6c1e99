"""``make faults``: inject every fault under load and check that nothing is lost."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs.faults import catalogue  # noqa: F401 - importing it enters every fault
from tests.programs.faults.fault import CATALOGUE, Fault
from tests.programs.faults.installation.clock import library
from tests.programs.faults.installation.installation import Installation, open_installation
from tests.programs.faults.report import duplicate_share, row, table, write_page
from tests.programs.faults.run import Outcome, run_fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.footprint import Footprint

_KEPT: Final = Path("var/faults")
_MOST_DUPLICATES: Final = 0.01
_NO_FAULT: Final = "nothing"
_MIX: Final = "mix"


class Servers(NamedTuple):
    """The servers of an installation: nodes of RabbitMQ, and whether PostgreSQL has a standby."""

    nodes: int
    has_standby: bool


@dataclass
class Findings:
    """The outcomes of the faults so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    servers: dict[str, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Add an outcome and print it."""
        self.outcomes.append(outcome)
        breaches = "".join(f"  BROKEN {it}\n" for it in outcome.breaches[:5])
        note = f"  {outcome.note}\n" if outcome.note else ""
        sys.stdout.write(f"{row(outcome)} {outcome.took_s:.0f} s\n{note}{breaches}")
        sys.stdout.flush()

    def broken(self, *, is_whole: bool) -> list[str]:
        """Every broken promise in a sentence; the share of duplicates is judged over a whole run."""
        broken = [f"{it.name}: {breach}" for it in self.outcomes for breach in it.breaches]
        share = duplicate_share(self.outcomes)
        is_too_much = is_whole and share > _MOST_DUPLICATES
        return broken + [f"{share:.2%} of the event deliveries are duplicates"] * is_too_much


async def main(arguments: argparse.Namespace) -> int:
    """Run the faults; the exit status."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # that the broker is away is no news here
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    begun_s = time.monotonic()
    chosen = [it for name, it in CATALOGUE.items() if not arguments.only or arguments.only in name]
    found = Findings()
    mixes = arguments.only in {None, _MIX}
    usual = Servers(nodes=1, has_standby=False)
    for servers in sorted({_servers_of(it) for it in chosen} | ({usual} if mixes else set())):
        mix_s = 60 * arguments.minutes if servers == usual and mixes else 0
        # First a load that nothing disturbs: what processes take then is what they are held to.
        first = [CATALOGUE[_NO_FAULT]] if servers == usual else []
        faults = first + [it for it in chosen if _servers_of(it) == servers and it not in first]
        await _run(faults, found, servers=servers, seed=arguments.seed, mix_s=mix_s)
    sys.stdout.write(f"\n{table(found.outcomes)}\n\n")
    for breach in (broken := found.broken(is_whole=not arguments.only))[:50]:
        sys.stdout.write(f"BROKEN {breach}\n")
    if not arguments.only and not broken:
        write_page(
            found.outcomes,
            command=f"{_chosen_rabbitmq()}make faults SEED={arguments.seed} MINUTES={arguments.minutes:g}",
            minutes=(time.monotonic() - begun_s) / 60,
            cores=os.cpu_count() or 0,
            footprints=found.footprints,
            servers=found.servers,
        )
    return 1 if broken else 0


def _chosen_rabbitmq() -> str:
    version = os.environ.get("RABBITMQ")
    return f"RABBITMQ={version} " if version else ""


def _servers_of(fault: Fault) -> Servers:
    return Servers(fault.nodes, fault.has_standby)


async def _run(faults: list[Fault], found: Findings, *, servers: Servers, seed: int, mix_s: float) -> None:
    """Run these faults on an installation of their own, with such servers, then the mix."""
    async with open_installation(**servers._asdict()) as installation:
        try:
            for fault in faults:
                found.add(await run_fault(installation, fault))
            await _mix(installation, found, seed=seed, until_s=time.monotonic() + mix_s)
            found.footprints = found.footprints or installation.footprints()
            found.servers = await _versions(installation)
        finally:
            _keep_logs(installation, servers)


async def _mix(installation: Installation, found: Findings, *, seed: int, until_s: float) -> None:
    """Inject random pairs of faults until ``until_s``."""
    drawn = random.Random(seed)  # noqa: S311 - the same mix for the same seed
    able = [fault for fault in CATALOGUE.values() if fault.random and not fault.spares_clients]
    while time.monotonic() < until_s:
        one, other = drawn.sample(able, 2)

        async def both(installation: Installation, one: Fault = one, other: Fault = other) -> None:
            await one.harm(installation)
            await other.harm(installation)

        found.add(await run_fault(installation, Fault(f"mix: {one.name}, then {other.name}", both)))


async def _versions(installation: Installation) -> dict[str, str]:
    [found] = await installation.postgres.query("SHOW server_version")
    async with installation.rabbitmq.channel() as channel:
        connection = (await channel.get_underlay_channel()).connection
        rabbitmq = str(connection.server_properties["version"])
    return {"PostgreSQL": str(found[0]), "RabbitMQ": rabbitmq}


def _keep_logs(installation: Installation, servers: Servers) -> None:
    kept = _KEPT / ("cluster" if servers.nodes > 1 else "standby" if servers.has_standby else "")
    kept.mkdir(parents=True, exist_ok=True)
    for log in (
        *installation.logs.glob("*.log"),
        *installation.logs.glob("disk/*.log"),
        *installation.logs.glob("rabbitmq/*.log"),
        *installation.logs.glob("pgbouncer/*.log"),
    ):
        shutil.copy(log, kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.programs.faults", description=__doc__)
    parser.add_argument("--only", help="run the faults whose name holds this, or only the mix")
    parser.add_argument("--seed", type=int, default=1, help="of the mix")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the mix")
    try:
        library()
    except FileNotFoundError as error:
        parser.error(str(error))
    sys.exit(asyncio.run(main(parser.parse_args())))
