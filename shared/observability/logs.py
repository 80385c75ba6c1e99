"""Logs: a typed logger for each module, and JSON lines that are encoded and written in batches."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
import traceback
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeAlias

import orjson

from shared.release import RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _ExcInfo: TypeAlias = BaseException | bool | None
    _Add: TypeAlias = Callable[[str, str, str, Mapping[str, object]], None]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
# Records of these levels wait for the next batch, at most this long.
_BATCHED: Final = frozenset({"debug", "info"})
_BATCH_S: Final = 0.01

_AS_LINE: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=MappingProxyType({}))


class Logger:
    """The logger of one module; each record has a constant message and fields. No call raises.

    ``exc_info`` adds the field ``exception``: the traceback of an exception, or with True of the one that is
    being handled. A field with the name of a fixed key (``message``, ``level``, ``logger``, ``timestamp``,
    those of `configure_logs` and `log_with`) is written with an underscore after its name.

    Until `configure_logs` is called, Python's `logging` gets the records.

    Args:
        name: Of the module.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def is_enabled_for(self, level: str) -> bool:
        """Whether records of this level are written; spares the making of fields that nobody reads."""
        return level in _output.levels

    def debug(self, message: str, /, *, exc_info: _ExcInfo = None, **fields: object) -> None:
        """Record a detail for debugging."""
        self._record("debug", message, fields, exc_info)

    def info(self, message: str, /, *, exc_info: _ExcInfo = None, **fields: object) -> None:
        """Record normal operation."""
        self._record("info", message, fields, exc_info)

    def warning(self, message: str, /, *, exc_info: _ExcInfo = None, **fields: object) -> None:
        """Record a failure that is retried or passes by itself."""
        self._record("warning", message, fields, exc_info)

    def error(self, message: str, /, *, exc_info: _ExcInfo = None, **fields: object) -> None:
        """Record a failure that an operator must look at."""
        self._record("error", message, fields, exc_info)

    def exception(self, message: str, /, *, exc_info: _ExcInfo = True, **fields: object) -> None:
        """Record an error with the traceback of the exception that is being handled."""
        self._record("error", message, fields, exc_info)

    def critical(self, message: str, /, *, exc_info: _ExcInfo = None, **fields: object) -> None:
        """Record a failure that ends the process."""
        self._record("critical", message, fields, exc_info)

    def _record(self, level: str, message: str, fields: Mapping[str, object], exc_info: _ExcInfo) -> None:
        if level in _output.levels:
            if exc_info is not None:
                fields = {**fields, **_traceback(exc_info)}
            _output.add(level, self._name, message, fields)


def configure_logs(service: str, level: str, *, worker: int | None = None) -> None:
    """Write every log record of this process, ours and the libraries', to standard error as JSON lines.

    Each names the service, its release and, if the service has several, the worker.
    """
    origin = {"service": service, "version": RELEASE} | ({} if worker is None else {"worker": worker})
    journal = Journal(sys.stderr.buffer, origin)
    _output.add = journal.add
    _output.levels = frozenset(_LEVELS[_LEVELS.index(level) :])
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[_LibraryRecords(journal)], level=threshold, force=True)
    for verbose in ("aio_pika", "asyncio"):
        logging.getLogger(verbose).setLevel(max(logging.WARNING, threshold))
    # It logs an error per attempt to connect; `shared.broker.rabbitmq.connection_state` logs each reason
    # once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    os.register_at_fork(after_in_child=journal.reset_after_fork)
    atexit.register(journal.flush)


def log_with(**fields: str) -> None:
    """Add these fields, and no others, to every record of this task and of tasks that it starts."""
    _context.set(fields)


class _Record(NamedTuple):
    """A record, with the fields of its context and its time, in seconds since 1970."""

    level: str
    logger: str
    message: str
    fields: Mapping[str, object]
    context: Mapping[str, str]
    at_s: float


class Journal:
    """Log records of one process as JSON lines, encoded and written in batches every 10 ms.

    A write costs a request more than its record, and an iteration of the event loop often serves one request
    or two. Encoding a line takes 1.5 us right after another line and 10 us amid the other work of a request.
    A warning or worse is written at once, with all records before it; so is a record of another thread. A
    kill can lose the records of the last 10 ms, but no error.

    Args:
        file: The destination. If it can't be written to, records are lost, and nothing else fails.
        origin: Fields that name the process.

    Attributes:
        lock: Held while records are added and written; a thread may take it again.
    """

    def __init__(self, file: BinaryIO, origin: Mapping[str, object]) -> None:
        self._file = file
        self._origin = origin
        self._records: list[_Record] = []
        # Not `Lock`: the garbage collector runs anywhere, and in it asyncio logs exceptions never retrieved.
        self.lock = threading.RLock()
        self._is_writing = False

    def add(self, level: str, logger: str, message: str, fields: Mapping[str, object]) -> None:
        """Add a record to the next batch; a value that JSON can't hold is written as its ``str``."""
        record = _Record(level, logger, message, fields, _context.get(), time.time())
        with self.lock:
            self._records.append(record)
            is_first = len(self._records) == 1
        if level not in _BATCHED:
            self.flush()
        elif is_first:
            self._flush_soon()

    def flush(self) -> None:
        """Write all records; during another write, that one writes them."""
        with self.lock:
            if self._is_writing:
                return
            self._is_writing = True
            try:
                while self._records:
                    self._write()
            finally:
                self._is_writing = False

    def reset_after_fork(self) -> None:
        """Empty the journal in a forked child: its parent writes the records from before."""
        self._records = []
        self._is_writing = False

    def _write(self) -> None:
        records, self._records = self._records, []
        lines = b"".join([_line(record, self._origin) for record in records])
        with suppress(OSError, ValueError):  # a broken pipe; a closed file
            self._file.write(lines)
            self._file.flush()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_later(_BATCH_S, self.flush)
        except RuntimeError:  # a thread without a loop
            self.flush()


class _LibraryRecords(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        self._journal = journal  # before `logging` asks for the lock
        super().__init__()

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Share the journal's lock: with two locks, two threads could deadlock.

        It must be a real lock: from Python 3.13 on `logging` enters it without a check. The call of the base
        class registers it to be renewed in a forked child.
        """
        super().createLock()
        self.lock = self._journal.lock

    def emit(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[1] if record.exc_info else None
            self._journal.add(record.levelname.lower(), record.name, record.getMessage(), _traceback(error))
        except Exception:  # noqa: BLE001 - a library must not fail because of a log record
            self.handleError(record)


def _add_to_logging(level: str, logger: str, message: str, fields: Mapping[str, object]) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger(logger).log(number, "%s %s", message, fields)


@dataclass(slots=True)
class _Output:
    """The destination of this process's records, and the levels that are recorded."""

    add: _Add
    levels: frozenset[str]


_output: Final = _Output(_add_to_logging, frozenset(_LEVELS))


def _traceback(exc_info: _ExcInfo) -> dict[str, str]:
    error = sys.exception() if exc_info is True else exc_info
    if not isinstance(error, BaseException):
        return {}
    return {"exception": "".join(traceback.format_exception(error)).rstrip()}


def _line(record: _Record, origin: Mapping[str, object]) -> bytes:
    document: dict[str, object] = {
        "message": record.message,
        "level": record.level,
        "logger": record.logger,
        "timestamp": datetime.fromtimestamp(record.at_s, UTC),
        **origin,
        **record.context,
    }
    fields = record.fields
    if not document.keys().isdisjoint(fields):
        fields = {f"{name}_" if name in document else name: value for name, value in fields.items()}
    document.update(fields)
    try:
        return orjson.dumps(document, default=str, option=_AS_LINE)
    except TypeError:
        encodable = {_encodable(name): _encodable(value) for name, value in document.items()}
        return orjson.dumps(encodable, default=str, option=_AS_LINE)


def _encodable(value: object) -> object:
    """The value, or its ASCII representation if JSON can't hold it, as with a lone surrogate or 2**64."""
    with suppress(TypeError):
        orjson.dumps(value, default=str)
        return value
    with suppress(Exception):  # a representation can raise anything
        return ascii(value)
    return f"<{type(value).__name__}>"
