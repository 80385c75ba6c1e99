from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from io import FileIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.formats.models import BinaryLead
from gateway.formats.spool import BLOCK_SAMPLES, Spool, SpoolDirectory
from gateway.http.memory.byte_budget import ByteBudget, Reservation
from gateway.http.problems import ProblemError
from shared.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 2**20


def a_lead_header(num_samples: int, sample_type: Any = "int16") -> BinaryLead:
    return BinaryLead(name="I", num_samples=num_samples, sample_type=sample_type)


def spools_in(folder: Path | str, *, max_bytes: int = 4 * _MIB) -> SpoolDirectory:
    return SpoolDirectory(str(folder), max_bytes=max_bytes)


def a_reservation() -> Reservation:
    budget = ByteBudget(max_bytes=_MIB, max_bytes_of_caller=_MIB, evictable_after_s=1.0)
    return Reservation(budget, "ada", None)


async def test_blocks_end_at_a_million_samples_and_at_each_lead(tmp_path: Path) -> None:
    first = np.arange(BLOCK_SAMPLES + 3, dtype=np.int32).astype("<i2")
    second = np.array([100_000, -100_000], "<i4")
    leads = [a_lead_header(first.size), a_lead_header(second.size, "int32")]
    async with spools_in(tmp_path, max_bytes=16 * _MIB).open(leads, caller="ada", deadline=None) as spool:
        await spool.write(first.tobytes())
        await spool.write(second.tobytes())

        for _ in range(2):
            blocks = list(spool.blocks())
            assert [block.size for block in blocks] == [BLOCK_SAMPLES, 3, 2]
            assert np.array_equal(np.concatenate(blocks[:2]), first)
            assert np.array_equal(blocks[2], second)


async def test_a_spool_is_an_unnamed_file_and_leaves_nothing(tmp_path: Path) -> None:
    async with spools_in(tmp_path).open([a_lead_header(3)], caller="ada", deadline=None) as spool:
        await spool.write(bytes(6))

        assert list(tmp_path.iterdir()) == []


async def test_spooled_bytes_are_limited_per_caller_until_they_are_released(tmp_path: Path) -> None:
    spool_directory, leads = spools_in(tmp_path), [a_lead_header(_MIB // 2)]
    async with spool_directory.open(leads, caller="ada", deadline=None) as first:
        async with spool_directory.open(leads, caller="ada", deadline=None) as second:
            await first.write(bytes(_MIB - 1))
            await second.write(bytes(1))
            with pytest.raises(ProblemError, match="hands full"):
                await second.write(bytes(1))
        async with spool_directory.open(leads, caller="bob", deadline=None) as of_another:
            await of_another.write(bytes(_MIB))

    async with spool_directory.open(leads, caller="ada", deadline=None) as again:
        await again.write(bytes(_MIB))


async def test_a_declared_size_reserves_no_bytes(tmp_path: Path) -> None:
    spool_directory, leads = spools_in(tmp_path), [a_lead_header(_MIB // 2)]
    async with AsyncExitStack() as opened:
        for caller in range(100):
            spooled = spool_directory.open(leads, caller=str(caller), deadline=None)
            await (await opened.enter_async_context(spooled)).write(b"12")

        async with spool_directory.open(leads, caller="ada", deadline=None) as spool:
            await spool.write(bytes(_MIB))


async def test_a_full_disk_is_an_unavailable_error() -> None:
    with (
        FileIO("/dev/full", "r+") as file,
        pytest.raises(UnavailableError, match="No space left on device"),
    ):
        await Spool(file, [a_lead_header(3)], a_reservation()).write(bytes(6))


def test_a_missing_directory_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ISOLINE_SPOOL_DIR: can't write there: No such file"):
        spools_in(tmp_path / "none").check()


async def test_cancellation_waits_for_a_running_write() -> None:
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
