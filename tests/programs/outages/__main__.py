"""``make outages``: take every server away under load, and see how soon each place tells why."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.programs.faults.installation.installation import OBSERVER, open_installation
from tests.programs.faults.load import Load
from tests.programs.outages.catalogue import OUTAGES, Outage, Servers
from tests.programs.outages.surfaces import OperationsApi, doctor, health_of, metrics_of
from tests.support.servers.redis_server import open_redis_server
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.programs.outages.surfaces import Look

_TOLD_WITHIN_S: Final = 10.0
_GIVE_UP_AFTER_S: Final = 40.0
_RECOVERED_WITHIN_S: Final = 120.0
_POLL_S: Final = 0.2
_ECGS: Final = 200
# An age that a backlog has in an outage of some seconds.
_OLD_S: Final = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A place where an outage has to be told, and under which name."""

    name: str
    look: Look
    part: str

    async def until_told(self, reason: str) -> tuple[float | None, str]:
        """In how many seconds it tells the reason, None if it does not; and what it told last."""
        began_s = time.monotonic()
        told = ""
        while time.monotonic() - began_s < _GIVE_UP_AFTER_S:
            told = (await self.look()).get(self.part, "")
            if told and (self.name.endswith("metrics") or re.search(reason, told)):
                return time.monotonic() - began_s, told
            await asyncio.sleep(_POLL_S)
        return None, told

    async def until_well(self) -> float | None:
        """In how many seconds it no longer tells it; None if it goes on."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < _RECOVERED_WITHIN_S:
            if self.part not in await self.look():
                return time.monotonic() - began_s
            await asyncio.sleep(_POLL_S)
        return None


@dataclass
class Outcome:
    """How soon each place told an outage, and its end."""

    outage: str
    told_s: dict[str, float | None] = field(default_factory=dict)
    well_s: dict[str, float | None] = field(default_factory=dict)

    @property
    def is_late(self) -> bool:
        """Whether a place told it late or never, or goes on telling it."""
        late = any(it is None or it > _TOLD_WITHIN_S for it in self.told_s.values())
        return late or self.last_well_s is None

    @property
    def last_well_s(self) -> float | None:
        """When the last place told no more of it; None if one goes on."""
        ended = [it for it in self.well_s.values() if it is not None]
        return max(ended) if len(ended) == len(self.well_s) else None


class Observation:
    """An installation under load, and everywhere an operator may look."""

    def __init__(self, servers: Servers, session: aiohttp.ClientSession) -> None:
        installation = servers.installation
        self._servers = servers
        self._gateway, self._processor = installation.gateways[0], installation.processors[0]
        self._session = session
        self.api = OperationsApi(session, self._gateway, OBSERVER)
        environment = self._processor.environment | self._gateway.environment
        self._looks: Mapping[str, Look] = {
            "gateway: health": health_of(session, self._gateway),
            "gateway: metrics": metrics_of(session, self._gateway),
            "processor: health": health_of(session, self._processor),
            "processor: metrics": metrics_of(session, self._processor),
            "/ops": self.api.look,
            "doctor": doctor(environment),
        }

    async def observe(self, outage: Outage) -> Outcome:
        """Take something away under load until it was told everywhere, and bring it back."""
        await self.api.log_in()
        outcome = Outcome(outage.name)
        load = Load(self._servers.installation.balancer.address, _ECGS, re.sub(r"\W+", "-", outage.name))
        loading = asyncio.create_task(load.run())
        await load.until_accepted(0.1)
        places = list(self._places(outage))
        await outage.begin(self._servers)
        for place, (told_s, told) in zip(
            places, await asyncio.gather(*(it.until_told(outage.reason) for it in places)), strict=True
        ):
            outcome.told_s[place.name] = told_s
            seconds = "NEVER" if told_s is None else f"{told_s:.1f} s"
            sys.stdout.write(f"{outage.name:<32} {place.name:<20} {seconds:>7}  {place.part}: {told}\n")
        sys.stdout.flush()
        await outage.end(self._servers)
        load.finish()
        well = await asyncio.gather(*(place.until_well() for place in places))
        outcome.well_s = dict(zip((place.name for place in places), well, strict=True))
        await loading
        assert not load.refused, load.refused[:3]
        await self._servers.installation.until_ready()
        return outcome

    def _places(self, outage: Outage) -> list[Place]:
        parts = {
            "gateway": outage.gateway,
            "processor": outage.processor,
            "/ops": outage.ops or outage.gateway,
            "doctor": outage.check,
        }
        named = [(name, look, parts[name.partition(":")[0]]) for name, look in self._looks.items()]
        return [Place(name, look, part) for name, look, part in named if part]


async def main(only: str) -> int:
    """Observe the outages; the exit status is 1 if one was told late."""
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    async with AsyncExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="isoline-outages-")))
        redis = await opened.enter_async_context(open_redis_server(folder))
        installation = await opened.enter_async_context(open_installation())
        for gateway in installation.gateways:
            gateway.environment["ISOLINE_OPERATIONS_PORT"] = str(free_port())
        for service in installation.services:
            service.environment |= {
                "ISOLINE_REDIS_URL": redis.url,
                "ISOLINE_BACKLOG_AGE_WARNING_S": str(_OLD_S),
            }
        await asyncio.gather(*(service.restart() for service in installation.services))
        await installation.until_ready()
        timeout = aiohttp.ClientTimeout(_GIVE_UP_AFTER_S)
        session = await opened.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        observation = Observation(Servers(installation, redis), session)
        outcomes = [await observation.observe(it) for it in OUTAGES if only in it.name]
    sys.stdout.write(f"\n{_table(outcomes)}\n")
    return 1 if any(outcome.is_late for outcome in outcomes) else 0


def _table(outcomes: list[Outcome]) -> str:
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.told_s))
    rows = [["outage", *names, "told well again"], ["---"] + ["---:"] * (len(names) + 1)]
    for outcome in outcomes:
        told = [_seconds(outcome.told_s[name]) if name in outcome.told_s else "" for name in names]
        rows.append([outcome.outage, *told, _seconds(outcome.last_well_s)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.programs.outages", description=__doc__)
    parser.add_argument("--only", default="", help="the outages whose name holds this")
    sys.exit(asyncio.run(main(parser.parse_args().only)))
