"""Spool long recordings to disk while they arrive, in unnamed files that vanish however a request ends."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from gateway.http.memory.byte_budget import ByteBudget, Reservation
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.settings import CALLER_SHARE_DIVISOR
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from io import FileIO

    from gateway.formats.models import BinaryLead
    from gateway.http.memory.deadline import Deadline
    from shared.domain.ecg import Samples

# 2 MB of int16; encoding and sending to PostgreSQL take a few times that.
BLOCK_SAMPLES: Final = 1_000_000

# 2 GB must arrive at 70 MB/s or more not to be evicted.
_EVICTABLE_AFTER_S: Final = 30.0
_DISK_FOR_SENDER: Final = "The gateway has no room on its disk for this recording, or can't use it."


class Spool:
    """The samples of one recording: written as they arrive, then read any number of times."""

    def __init__(self, file: FileIO, leads: Sequence[BinaryLead], reservation: Reservation) -> None:
        self._file = file
        self._leads = leads
        self._reservation = reservation

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
        left = memoryview(piece)
        with _disk_errors():
            while left:
                left = left[self._file.write(left) :]

    def _read(self, offset: int, size: int) -> bytes:
        with _disk_errors():
            block = os.pread(self._file.fileno(), size, offset)
        if len(block) != size:
            raise UnavailableError(
                f"the spool gave {len(block)} bytes of {size}", for_sender=_DISK_FOR_SENDER
            )
        return block


class SpoolDirectory:
    """The directory of spools, with a budget of bytes."""

    def __init__(self, folder: str, *, max_bytes: int) -> None:
        self._folder = folder or None
        self._budget = ByteBudget(
            max_bytes=max_bytes,
            max_bytes_of_caller=max_bytes // CALLER_SHARE_DIVISOR,
            evictable_after_s=_EVICTABLE_AFTER_S,
        )

    def check(self) -> None:
        """Return if recordings can be spooled.

        Raises:
            ConfigurationError: The directory does not exist, or is not writable.
        """
        try:
            with TemporaryFile(dir=self._folder):
                return
        except OSError as error:
            raise ConfigurationError(f"ISOLINE_SPOOL_DIR: can't write there: {error.strerror}") from None

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
        try:
            with _disk_errors():
                file = TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 - closed below
            with file:
                yield Spool(file, leads, reservation)
        finally:
            reservation.release()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"the spool: {error.strerror}", for_sender=_DISK_FOR_SENDER) from error
