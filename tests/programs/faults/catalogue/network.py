"""Faults of the network, on each proxy between a service and a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.programs.faults.fault import Harm, fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_CUT_S: Final = 2.0
_SILENT_S: Final = 12.0


def _cut(proxy: str) -> Harm:
    async def harm(installation: Installation) -> None:
        installation.proxies[proxy].is_refusing = True
        installation.proxies[proxy].cut()
        await asyncio.sleep(_CUT_S)
        installation.proxies[proxy].heal()

    return harm


def _black_hole(proxy: str) -> Harm:
    async def harm(installation: Installation) -> None:
        installation.proxies[proxy].black_hole()
        await asyncio.sleep(_SILENT_S)
        installation.proxies[proxy].heal()

    return harm


for _leg in ("gateway-postgres", "gateway-rabbitmq", "processor-postgres", "processor-rabbitmq"):
    fault(f"network {_leg}: cut")(_cut(_leg))
    fault(f"network {_leg}: black hole 12 s")(_black_hole(_leg))
