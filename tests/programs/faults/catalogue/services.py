"""Faults of the services themselves."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from tests.programs.faults.fault import Harm, fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation
    from tests.programs.faults.installation.proxy import Proxy
    from tests.programs.faults.installation.service import Service

_FREEZE_S: Final = 10.0
_POLL_S: Final = 0.05


@fault("nothing", spares_clients=True)
async def nothing(_: Installation) -> None:
    """The baseline for the other faults."""


@fault("gateway: kill -9")
async def kill_gateway(installation: Installation) -> None:
    installation.gateways[0].send(signal.SIGKILL)


@fault("processor: kill -9")
async def kill_processor(installation: Installation) -> None:
    installation.processors[0].send(signal.SIGKILL)


@fault("gateway: frozen 10 s")
async def freeze_gateway(installation: Installation) -> None:
    await _freeze(installation.gateways[0])


@fault("processor: frozen 10 s")
async def freeze_processor(installation: Installation) -> None:
    await _freeze(installation.processors[0])


@fault("gateway and processor: frozen past the heartbeat", random=False)
async def freeze_past_the_heartbeat(installation: Installation) -> None:
    """Frozen until the broker has closed their connections, after two or three missed heartbeats of 15 s."""
    publishers, both = installation.proxies["gateway-rabbitmq"], installation.proxies["processor-rabbitmq"]
    counts = publishers.ended_by_server, both.ended_by_server
    frozen = installation.gateways[0], installation.processors[0]
    for service in frozen:
        service.send(signal.SIGSTOP)
    # The gateway has a connection to publish, the processor another one to consume.
    await _until_ended_by_server(publishers, counts[0] + 1)
    await _until_ended_by_server(both, counts[1] + 2)
    for service in frozen:
        service.send(signal.SIGCONT)


def _die_at(kind: str, point: str) -> tuple[Harm, Harm]:
    async def prepare(installation: Installation) -> None:
        await getattr(installation, kind)[0].restart(ISOLINE_FAILPOINT=point)

    async def harm(installation: Installation) -> None:
        await _until_killed(getattr(installation, kind)[0].statuses)

    return prepare, harm


# Late enough that work is in progress. ECGs keep coming until the place is reached, however large batches
# are.
for _kind, _point in (
    ("gateways", "after-commit-before-publish:25"),
    ("processors", "after-claim:5"),
    ("processors", "before-commit:5"),
    ("processors", "after-commit:5"),
    ("processors", "after-event:5"),
    ("processors", "before-ack:25"),
):
    _prepare, _harm = _die_at(_kind, _point)
    fault(f"{_kind[:-1]}: killed at {_point.split(':')[0]}", random=False, prepare=_prepare)(_harm)


@fault("rolling restart of everything (SIGTERM)", spares_clients=True)
async def rolling_restart(installation: Installation) -> None:
    await installation.roll()


async def _freeze(service: Service) -> None:
    service.send(signal.SIGSTOP)
    await asyncio.sleep(_FREEZE_S)
    service.send(signal.SIGCONT)


async def _until_ended_by_server(proxy: Proxy, count: int) -> None:
    while proxy.ended_by_server < count:
        await asyncio.sleep(_POLL_S)


async def _until_killed(statuses: list[int]) -> None:
    while statuses[-1] != -signal.SIGKILL:
        await asyncio.sleep(_POLL_S)
