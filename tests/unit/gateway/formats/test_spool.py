from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from io import FileIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.formats.models import BinaryLead
from gateway.formats.spool import BLOCK_SAMPLES, Spool, Spools
from gateway.http.memory.byte_budget import ByteBudget, Reservation
from gateway.http.problems import ProblemError
from shared.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 2**20


def a_lead_header(num_samples: int, sample_type: Any = "int16") -> BinaryLead:
    return BinaryLead(name="I", num_samples=num_samples, sample_type=sample_type)


def spools_in(folder: Path | str, *, max_bytes: int = 4 * _MIB) -> Spools:
    return Spools(str(folder), max_bytes=max_bytes)


def a_reservation() -> Reservation:
    budget = ByteBudget(max_bytes=_MIB, max_bytes_of_caller=_MIB, evictable_after_s=1.0)
    return Reservation(budget, "ada", None)


async def test_blocks_are_the_leads_samples_cut_at_a_million_and_between_leads(tmp_path: Path) -> None:
    first = np.arange(BLOCK_SAMPLES + 3, dtype=np.int32).astype("<i2")
    second = np.array([100_000, -100_000], "<i4")
    leads = [a_lead_header(first.size), a_lead_header(second.size, "int32")]
    async with spools_in(tmp_path, max_bytes=16 * _MIB).opened(leads, caller="ada", deadline=None) as spool:
        await spool.write(first.tobytes())
        await spool.write(second.tobytes())

        for _ in range(2):
            blocks = list(spool.blocks())
            assert [block.size for block in blocks] == [BLOCK_SAMPLES, 3, 2]
            assert np.array_equal(np.concatenate(blocks[:2]), first)
            assert np.array_equal(blocks[2], second)


async def test_a_spool_has_no_name_and_leaves_nothing(tmp_path: Path) -> None:
    async with spools_in(tmp_path).opened([a_lead_header(3)], caller="ada", deadline=None) as spool:
        await spool.write(bytes(6))

        assert list(tmp_path.iterdir()) == []


async def test_what_is_spooled_has_a_limit_of_one_caller_until_it_is_gone(tmp_path: Path) -> None:
    spools, leads = spools_in(tmp_path), [a_lead_header(_MIB // 2)]
    async with spools.opened(leads, caller="ada", deadline=None) as first:
        async with spools.opened(leads, caller="ada", deadline=None) as second:
            await first.write(bytes(_MIB - 1))
            await second.write(bytes(1))
            with pytest.raises(ProblemError, match="hands full"):
                await second.write(bytes(1))
        async with spools.opened(leads, caller="bob", deadline=None) as of_another:
            await of_another.write(bytes(_MIB))

    async with spools.opened(leads, caller="ada", deadline=None) as again:
        await again.write(bytes(_MIB))


async def test_what_is_announced_takes_no_room(tmp_path: Path) -> None:
    spools, leads = spools_in(tmp_path), [a_lead_header(_MIB // 2)]
    async with AsyncExitStack() as opened:
        for caller in range(100):
            spooled = spools.opened(leads, caller=str(caller), deadline=None)
            await (await opened.enter_async_context(spooled)).write(b"12")

        async with spools.opened(leads, caller="ada", deadline=None) as spool:
            await spool.write(bytes(_MIB))


async def test_a_full_disk_is_something_that_time_mends() -> None:
    with (
        FileIO("/dev/full", "r+") as file,
        pytest.raises(UnavailableError, match="No space left on device"),
    ):
        await Spool(file, [a_lead_header(3)], a_reservation()).write(bytes(6))


def test_a_folder_that_is_not_there_stops_the_process(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ISOLINE_SPOOL_DIR: can't write there: No such file"):
        spools_in(tmp_path / "none").check()


async def test_who_is_cancelled_while_writing_waits_for_the_write() -> None:
    writing, may_end = threading.Event(), threading.Event()

    class SlowFile:
        def write(self, piece: bytes) -> int:
            writing.set()
            assert may_end.wait(10)
            return len(piece)

    file: Any = SlowFile()
    task = asyncio.create_task(Spool(file, [], a_reservation()).write(b"123"))
    await asyncio.to_thread(writing.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()

    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await task
