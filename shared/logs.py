"""Logs as JSON lines with constant messages."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

_AS_LINE: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
# Records of these levels may wait, so long.
_PATIENT: Final = frozenset({"debug", "info"})
_WITHIN_S: Final = 0.01

_work_in_hand: ContextVar[Mapping[str, str]] = ContextVar("work_in_hand", default=MappingProxyType({}))


def configure_logs(service: str, level: str, *, worker: int | None = None) -> None:
    """Send every log record of this process, ours and the libraries', to standard error as JSON lines.

    Each says which service it is from and, of several processes of it, which worker.
    """
    journal = Journal(
        sys.stderr.buffer, {"service": service} | ({} if worker is None else {"worker": worker})
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        logger_factory=lambda name: _Log(journal, name, threshold),
        wrapper_class=_as_it_is,  # type: ignore[arg-type] # any callable does; `_Log` needs no processors
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_LibraryRecords(journal)], level=threshold, force=True)
    for chatty in ("aio_pika", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, threshold))
    # One error for each attempt to connect; `shared.broker.rabbitmq` tells each reason once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    atexit.register(journal.flush)


def log_with(**fields: str) -> None:
    """Have every record of this task, and of the tasks that it begins, carry these fields and no others."""
    _work_in_hand.set(fields)


class _Record(NamedTuple):
    """What is told, in which work in hand, and when, in seconds since 1970."""

    level: str
    logger: str
    message: str
    fields: Mapping[str, object]
    work: Mapping[str, str]
    at_s: float


class Journal:
    """Log records of one process as JSON lines, made and written together every 10 ms.

    A write costs a request more than its record does, and a turn of the event loop often serves one or two.
    Making a line takes 1.5 us right after another one and 10 us between all else that a request does. A
    record of trouble is written at once, with all before it; so is one from another thread. A kill can lose
    what the last 10 ms have done, and no error.

    Args:
        file: Where they go. If it can't be written to, records are lost, and nothing else is.
        sender: Whose they are, in fields that each carries.

    Attributes:
        lock: Held while records are added and written; a thread may take it again.
    """

    def __init__(self, file: BinaryIO, sender: Mapping[str, object]) -> None:
        self._file = file
        self._sender = sender
        self._records: list[_Record] = []
        # Not `Lock`: the garbage collector runs anywhere, and asyncio logs of a task that it finds unheard.
        self.lock = threading.RLock()
        self._is_writing = False

    def add(self, level: str, logger: str, message: str, fields: Mapping[str, object]) -> None:
        """Keep a record; what is no JSON is told in the words of ``str``."""
        record = _Record(level, logger, message, fields, _work_in_hand.get(), time.time())
        with self.lock:
            self._records.append(record)
            is_first = len(self._records) == 1
        if level not in _PATIENT:
            self.flush()
        elif is_first:
            self._flush_soon()

    def flush(self) -> None:
        """Write all that is kept; in the midst of a write, that one goes on with it."""
        with self.lock:
            if self._is_writing:
                return
            self._is_writing = True
            try:
                while self._records:
                    self._write()
            finally:
                self._is_writing = False

    def _write(self) -> None:
        records, self._records = self._records, []
        lines = b"".join([_line(record, self._sender) for record in records])
        with suppress(OSError, ValueError):  # nobody reads the pipe any more; the file is closed
            self._file.write(lines)
            self._file.flush()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_later(_WITHIN_S, self.flush)
        except RuntimeError:  # a thread without a loop
            self.flush()


class _Log:
    """What `structlog.get_logger` gives to our modules, without structlog's chain of processors.

    The chain makes a record's line in 4.5 us; a GET of a result takes some 40 in all.
    """

    def __init__(self, journal: Journal, name: str, threshold: int) -> None:
        self._journal = journal
        self._name = name
        self._threshold = threshold

    def debug(self, message: str, **fields: object) -> None:
        if self._threshold <= logging.DEBUG:
            self._journal.add("debug", self._name, message, fields)

    def info(self, message: str, **fields: object) -> None:
        if self._threshold <= logging.INFO:
            self._journal.add("info", self._name, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        if self._threshold <= logging.WARNING:
            self._journal.add("warning", self._name, message, fields)

    def error(self, message: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        self._journal.add("error", self._name, message, fields | _told(exc_info))


class _LibraryRecords(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal  # before `logging` asks for the lock
        super().__init__()

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Share the journal's lock: with one of each, two threads could wait for each other.

        It must be a real lock: `logging` enters it as it is from Python 3.13 on. The call of the base class
        has it made anew in a forked child.
        """
        super().createLock()
        self.lock = self._journal.lock

    def emit(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[1] if record.exc_info else None
            self._journal.add(record.levelname.lower(), record.name, record.getMessage(), _told(error))
        except Exception:  # noqa: BLE001 - whatever a library logs, it must not fail for it
            self.handleError(record)


def _line(record: _Record, sender: Mapping[str, object]) -> bytes:
    told = {
        "message": record.message,
        **record.fields,
        **record.work,
        **sender,
        "level": record.level,
        "logger": record.logger,
        "timestamp": datetime.fromtimestamp(record.at_s, UTC),
    }
    try:
        return orjson.dumps(told, default=str, option=_AS_LINE)
    except TypeError:  # a lone surrogate, an integer past 64 bits
        return orjson.dumps({key: ascii(value) for key, value in told.items()}, option=_AS_LINE)


def _told(error: BaseException | None) -> dict[str, object]:
    return {} if error is None else {"exception": "".join(traceback.format_exception(error)).rstrip()}


def _as_it_is(logger: _Log, **_: object) -> _Log:
    return logger
