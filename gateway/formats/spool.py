"""Spool long recordings to disk while they arrive, in unnamed files that vanish however a request ends."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np

from gateway.http.memory.byte_budget import ByteBudget, Reservation
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.observability.logs import Logger
from shared.runtime.outages import QUIET_S
from shared.runtime.settings import CALLER_LIMIT_DIVISOR
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from io import FileIO

    from gateway.formats.models import BinaryLead
    from gateway.http.memory.deadline import Deadline
    from shared.domain.ecg import Samples

# 2 MB of int16; encoding and sending to PostgreSQL take a few times that.
BLOCK_SAMPLES: Final = 1_000_000

# 2 GB must arrive at 70 MB/s or more not to be evicted.
_EVICTABLE_AFTER_S: Final = 30.0
_DISK_FOR_SENDER: Final = "The gateway has no room on its disk for this recording, or can't use it."

# The least that a file takes on most disks.
_PROBE_BYTES: Final = 4096
_OWNER_ONLY: Final = 0o700

_OnDiskError: TypeAlias = "Callable[[OSError], None]"

_log = Logger(__name__)


class Spool:
    """The samples of one recording: written as they arrive, then read any number of times."""

    def __init__(
        self,
        file: FileIO,
        leads: Sequence[BinaryLead],
        reservation: Reservation,
        on_disk_error: _OnDiskError = lambda _: None,
    ) -> None:
        self._file = file
        self._leads = leads
        self._reservation = reservation
        self._on_disk_error = on_disk_error

    async def write(self, piece: bytes | memoryview) -> None:
        """Append the next piece.

        Raises:
            ProblemError: 503, too many bytes are spooled in all, or by this caller.
            UnavailableError: The disk is full or broken.
        """
        self._reservation.grow(len(piece))
        await in_thread(self._write, piece)

    def blocks(self) -> Iterator[Samples]:
        """All samples from the beginning, lead after lead; see `shared.domain.recording.Recording`."""
        offset = 0
        for lead in self._leads:
            for first in range(0, lead.num_samples, BLOCK_SAMPLES):
                count = min(BLOCK_SAMPLES, lead.num_samples - first)
                block = self._read(offset, count * lead.dtype.itemsize)
                offset += len(block)
                yield cast("Samples", np.frombuffer(block, lead.dtype))

    def _write(self, piece: bytes | memoryview) -> None:
        with _disk_errors(self._on_disk_error):
            _write_all(self._file, piece)

    def _read(self, offset: int, size: int) -> bytes:
        with _disk_errors(self._on_disk_error):
            block = os.pread(self._file.fileno(), size, offset)
        if len(block) != size:
            raise UnavailableError(
                f"the spool gave {len(block)} bytes of {size}", for_sender=_DISK_FOR_SENDER
            )
        return block


@dataclass(slots=True)
class _Refusal:
    """The disk refused a recording.

    Attributes:
        number: Of the system's error. The error itself would keep the recording's last piece in memory.
        num_bytes: Of the whole recording if the disk was full: while fewer are free it is refused again.
        until_s: Until when the next one is expected to be refused, if the disk was not full.
        is_reported: Whether readiness has said so.
    """

    number: int
    num_bytes: int = 0
    until_s: float = 0.0
    is_reported: bool = False


class SpoolDirectory:
    """The directory of spools, with a budget of bytes."""

    def __init__(self, folder: str, *, max_bytes: int) -> None:
        self._folder = folder or None
        self._budget = ByteBudget(
            max_bytes=max_bytes,
            max_bytes_of_caller=max_bytes // CALLER_LIMIT_DIVISOR,
            evictable_after_s=_EVICTABLE_AFTER_S,
        )
        self._refusal: _Refusal | None = None
        self._probing: asyncio.Future[None] | None = None

    def check(self) -> None:
        """Return if recordings can be spooled; the check at the start, which makes no folder.

        Raises:
            ConfigurationError: The directory does not exist, or is not writable.
        """
        try:
            TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise ConfigurationError(f"ISOLINE_SPOOL_DIR: can't write there: {error.strerror}") from None

    async def check_usable(self) -> None:
        """The check of readiness: make the folder again if it is gone, and write to it.

        Raises:
            UnavailableError: That failed, or the disk refused a recording and would refuse it again. Each
                refusal is reported once, even if it was over before this check.
        """
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(asyncio.to_thread(self._probe))
        try:
            await asyncio.shield(self._probing)  # so that a disk without an answer takes one thread, not all
        except OSError as error:
            raise _unusable(error) from error

    def _probe(self) -> None:
        with self._open_file() as file:
            _write_all(file, bytes(_PROBE_BYTES))
        refusal = self._refusal
        if refusal is None:
            return
        if not refusal.is_reported or self._would_be_repeated(refusal):
            refusal.is_reported = True
            raise OSError(refusal.number, os.strerror(refusal.number))
        if self._refusal is refusal:
            self._refusal = None

    def _would_be_repeated(self, refusal: _Refusal) -> bool:
        if refusal.num_bytes == 0:
            return time.monotonic() < refusal.until_s
        disk = os.statvfs(self._folder or gettempdir())
        return disk.f_bavail * disk.f_frsize < refusal.num_bytes

    def _open_file(self) -> FileIO:
        """A new unnamed file; a folder that is gone is made again.

        Raises:
            OSError: The folder can't be used.
        """
        try:
            return TemporaryFile(buffering=0, dir=self._folder)
        except FileNotFoundError:
            folder = self._folder or gettempdir()
            with suppress(FileExistsError):  # another request made it
                Path(folder).mkdir(mode=_OWNER_ONLY, parents=True)
                _log.info("the folder of the spool was gone and was made again", folder=folder)
            return TemporaryFile(buffering=0, dir=folder)

    @asynccontextmanager
    async def open(
        self, leads: Sequence[BinaryLead], *, caller: str, deadline: Deadline | None
    ) -> AsyncIterator[Spool]:
        """Yield a spool for the samples of these leads; it is deleted afterwards.

        Args:
            leads: In the order of their samples.
            caller: The sender, whose budget is used.
            deadline: Of the body, which may be evicted in favour of others.

        Raises:
            UnavailableError: The disk is full or broken.
        """
        reservation = Reservation(self._budget, caller, deadline)

        def refused(error: OSError) -> None:
            if error.errno == errno.ENOSPC:
                num_bytes = sum(lead.num_samples * lead.dtype.itemsize for lead in leads)
                self._refusal = _Refusal(error.errno, num_bytes=num_bytes)
            else:
                self._refusal = _Refusal(error.errno or errno.EIO, until_s=time.monotonic() + QUIET_S)

        try:
            with _disk_errors(self._not_opened):
                file = self._open_file()
            with file:
                yield Spool(file, leads, reservation, refused)
        finally:
            reservation.release()

    def _not_opened(self, error: OSError) -> None:
        self._refusal = _Refusal(error.errno or errno.EIO)  # the next check tries the same


def _write_all(file: FileIO, piece: bytes | memoryview) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _disk_errors(on_disk_error: _OnDiskError) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        on_disk_error(error)
        # Readiness, which includes a check of the directory, logs it.
        raise _unusable(error, is_logged=True) from error


def _unusable(error: OSError, *, is_logged: bool = False) -> UnavailableError:
    reason = f"the spool (ISOLINE_SPOOL_DIR): {error.strerror}"
    return UnavailableError(reason, for_sender=_DISK_FOR_SENDER, is_logged=is_logged)
