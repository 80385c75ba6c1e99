from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
import time
from contextlib import AsyncExitStack
from io import FileIO
from shutil import rmtree
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.formats import spool as spool_module
from gateway.formats.models import BinaryLead
from gateway.formats.spool import BLOCK_SAMPLES, Spool, SpoolDirectory
from gateway.http.memory.byte_budget import ByteBudget, Reservation
from gateway.http.problems import ProblemError
from shared.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
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


async def test_what_a_spool_can_t_read_is_an_unavailable_error(tmp_path: Path) -> None:
    async with spools_in(tmp_path).open([a_lead_header(3)], caller="ada", deadline=None) as spool:
        await spool.write(bytes(4))
        with pytest.raises(UnavailableError, match="the spool gave 4 bytes of 6"):
            list(spool.blocks())
    with FileIO(tmp_path / "write only", "w") as file:
        spool = Spool(file, [a_lead_header(3)], a_reservation())
        with pytest.raises(UnavailableError, match="Bad file descriptor"):
            list(spool.blocks())


async def test_a_spool_is_closed_afterwards(tmp_path: Path) -> None:
    async with spools_in(tmp_path).open([a_lead_header(3)], caller="ada", deadline=None) as spool:
        await spool.write(bytes(6))

    with pytest.raises(ValueError, match="closed file"):
        list(spool.blocks())


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

    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("is_set", [True, False])
async def test_a_folder_that_is_gone_is_made_again_by_a_recording_and_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_set: bool
) -> None:
    folder = tmp_path / "tmp" / "spool"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another" if is_set else folder))
    spool_directory = spools_in(folder if is_set else "")

    rmtree(folder.parent)
    async with spool_directory.open([a_lead_header(3)], caller="ada", deadline=None) as spool:
        rmtree(folder.parent)
        await spool.write(bytes(6))
        assert [block.size for block in spool.blocks()] == [3]
    await spool_directory.check_usable()

    assert folder.stat().st_mode & 0o777 == 0o700


async def test_two_recordings_may_make_the_folder_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spool"
    mkdir = type(folder).mkdir

    def made_by_another_just_before(path: Path, *args: Any, **settings: Any) -> None:
        mkdir(path)
        mkdir(path, *args, **settings)

    monkeypatch.setattr(type(folder), "mkdir", made_by_another_just_before)
    async with spools_in(folder).open([a_lead_header(3)], caller="ada", deadline=None) as spool:
        await spool.write(bytes(6))

        assert [block.size for block in spool.blocks()] == [3]


async def test_a_folder_that_refuses_a_recording_fails_the_check_once_if_it_is_usable_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "spool"
    folder.write_text("no folder")
    spool_directory = spools_in(folder)

    assert await refused_by(spool_directory, [a_lead_header(3)], errno.ENOTDIR)
    folder.unlink()

    with pytest.raises(UnavailableError, match="Not a directory"):
        await spool_directory.check_usable()
    await spool_directory.check_usable()


async def test_a_file_in_place_of_the_folder_fails_the_check_until_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.write_text("no folder")
    spool_directory = spools_in(folder)

    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"ISOLINE_SPOOL_DIR.*: Not a directory"):
            await spool_directory.check_usable()
    folder.unlink()
    await spool_directory.check_usable()


async def refused_by(spool_directory: SpoolDirectory, leads: list[BinaryLead], error: int) -> bool:
    """Whether the readiness that includes the check logs that the disk refused this recording."""
    with pytest.raises(UnavailableError, match=os.strerror(error)) as refused:
        await write_to(spool_directory, leads)
    return refused.value.is_logged


async def write_to(spool_directory: SpoolDirectory, leads: list[BinaryLead]) -> None:
    async with spool_directory.open(leads, caller="ada", deadline=None) as spool:
        await spool.write(bytes(6))


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the disk refuse what recordings write, though it takes what the check writes."""

    def writes_fail_with(error: int) -> None:
        write_all = spool_module._write_all

        def write(file: FileIO, piece: bytes | memoryview) -> None:
            if len(piece) < spool_module._PROBE_BYTES:
                raise OSError(error, os.strerror(error))
            write_all(file, piece)

        monkeypatch.setattr(spool_module, "_write_all", write)

    return writes_fail_with


async def test_a_disk_without_space_for_a_recording_fails_the_check_until_there_is(
    tmp_path: Path, refuse: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(tmp_path)
    leads = [a_lead_header(2**31 - 1, "int32")] * (
        disk.f_bavail * disk.f_frsize // 2**33 + 1
    )  # more than is free
    spool_directory = spools_in(tmp_path)
    refuse(errno.ENOSPC)

    is_logged = await refused_by(spool_directory, leads, errno.ENOSPC)

    assert is_logged
    for _ in range(3):
        with pytest.raises(UnavailableError, match="No space left on device"):
            await spool_directory.check_usable()
    plenty = SimpleNamespace(f_bavail=2**50, f_frsize=4096)
    with monkeypatch.context() as with_plenty:
        with_plenty.setattr(os, "statvfs", lambda _: plenty)
        await spool_directory.check_usable()
    await spool_directory.check_usable()  # that one is over, whatever is free later


@pytest.mark.parametrize("is_set", [True, False])
@pytest.mark.parametrize(("num_free", "is_usable"), [(1, False), (2, True)])
async def test_a_full_disk_is_usable_from_the_bytes_of_the_recording_that_it_refused(
    tmp_path: Path,
    refuse: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_set: bool,
    num_free: int,
    is_usable: bool,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another" if is_set else tmp_path))
    spool_directory, leads = spools_in(tmp_path if is_set else ""), [a_lead_header(4096)]
    refuse(errno.ENOSPC)
    await refused_by(spool_directory, leads, errno.ENOSPC)
    with pytest.raises(UnavailableError):
        await spool_directory.check_usable()  # which tells of the refusal in any case
    disks = {str(tmp_path): SimpleNamespace(f_bavail=num_free, f_frsize=4096)}
    monkeypatch.setattr(os, "statvfs", lambda folder: disks[str(folder)])

    if is_usable:
        await spool_directory.check_usable()
    else:
        with pytest.raises(UnavailableError, match="No space left on device"):
            await spool_directory.check_usable()


async def test_a_refusal_during_the_check_is_reported_by_the_next_one(
    tmp_path: Path, refuse: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool_directory = spools_in(tmp_path)
    refuse(errno.ENOSPC)
    await refused_by(spool_directory, [a_lead_header(3)], errno.ENOSPC)
    with pytest.raises(UnavailableError):
        await spool_directory.check_usable()
    looking, may_end, statvfs = threading.Event(), threading.Event(), os.statvfs

    def slow_statvfs(folder: Any) -> os.statvfs_result:
        looking.set()
        assert may_end.wait(10)
        return statvfs(folder)

    monkeypatch.setattr(os, "statvfs", slow_statvfs)
    checking = asyncio.create_task(spool_directory.check_usable())
    await asyncio.to_thread(looking.wait, 10)
    await refused_by(spool_directory, [a_lead_header(3)], errno.ENOSPC)
    may_end.set()
    await checking

    with pytest.raises(UnavailableError, match="No space left on device"):
        await spool_directory.check_usable()


async def test_an_error_without_a_number_is_one_of_input_and_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool_directory = spools_in(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no number")

    for function in ("_write_all", "TemporaryFile"):
        with monkeypatch.context() as failing:
            failing.setattr(spool_module, function, fail)
            with pytest.raises(UnavailableError):
                await write_to(spool_directory, [a_lead_header(3)])
        with pytest.raises(UnavailableError, match=os.strerror(errno.EIO)):
            await spool_directory.check_usable()


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EIO])
async def test_a_disk_that_refuses_recordings_fails_the_check_for_a_while(
    tmp_path: Path, refuse: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    spool_directory = spools_in(tmp_path)
    refuse(error)

    await refused_by(spool_directory, [a_lead_header(3)], error)

    for _ in range(3):
        with pytest.raises(UnavailableError, match=os.strerror(error)):
            await spool_directory.check_usable()
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 16)
    await spool_directory.check_usable()


async def test_a_refusal_that_is_over_before_the_check_is_reported_once(
    tmp_path: Path, refuse: Callable[[int], None]
) -> None:
    spool_directory = spools_in(tmp_path)
    refuse(errno.ENOSPC)
    await refused_by(spool_directory, [a_lead_header(3)], errno.ENOSPC)

    with pytest.raises(UnavailableError, match="No space left on device"):
        await spool_directory.check_usable()
    await spool_directory.check_usable()


async def test_checks_of_a_disk_without_an_answer_take_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes, may_end = [], threading.Event()

    def hang(*_: object) -> None:
        probes.append(threading.current_thread())
        assert may_end.wait(10)

    monkeypatch.setattr(spool_module, "_write_all", hang)
    spool_directory = spools_in(tmp_path)

    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await spool_directory.check_usable()
    may_end.set()
    await spool_directory.check_usable()

    assert len(probes) == 1


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
