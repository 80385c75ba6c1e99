"""A short run of the most important faults; `make faults` runs all of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.programs.faults import catalogue  # noqa: F401 - importing it enters every fault
from tests.programs.faults.fault import CATALOGUE
from tests.programs.faults.installation.installation import open_installation
from tests.programs.faults.run import run_fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.programs.faults.installation.installation import Installation

_ECGS = 250


@pytest.fixture(scope="module")
async def installation() -> AsyncIterator[Installation]:
    for library in ("aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    async with open_installation() as installation:
        yield installation


@pytest.mark.parametrize(
    "name",
    [
        "gateway: kill -9",
        "processor: kill -9",
        "PostgreSQL: commits whose reply is lost",
        "RabbitMQ: queue purged",
        "rolling upgrade: migrate, roll out, and back",
        "rolling upgrade: roll out, migrate, and back",
    ],
)
async def test_nothing_is_lost_when_a_part_breaks(installation: Installation, name: str) -> None:
    outcome = await run_fault(installation, CATALOGUE[name], ecgs=_ECGS)

    assert outcome.breaches == []
    assert outcome.accepted >= _ECGS
