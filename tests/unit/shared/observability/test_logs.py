from __future__ import annotations

import asyncio
import gc
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from shared.observability.logs import Journal, Logger, log_with
from shared.release import RELEASE
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT_S = 20

_log = Logger("tests.there")


class TestLogger:
    @pytest.mark.parametrize(
        ("record", "level"),
        [
            (_log.debug, "debug"),
            (_log.info, "info"),
            (_log.warning, "warning"),
            (_log.error, "error"),
            (_log.exception, "error"),
            (_log.critical, "critical"),
        ],
    )
    def test_a_record_has_the_level_of_its_method(self, record: Callable[..., None], level: str) -> None:
        with capture_logs() as records:
            record("done", count=2)

        assert records == [{"message": "done", "level": level, "count": 2}]

    def test_an_exception_is_recorded_with_its_traceback(self) -> None:
        with capture_logs() as records:
            try:
                int("wrong")
            except ValueError as error:
                caught = error
                _log.exception("trouble")
                _log.info("trouble", exc_info=True)
            _log.error("trouble", exc_info=caught)
            _log.exception("trouble", exc_info=caught)

        for record in records:
            assert record["exception"].startswith("Traceback (most recent call last):\n")
            assert record["exception"].endswith(f"\nValueError: {caught}")
        assert len(records) == 4

    @pytest.mark.parametrize("exc_info", [True, False, None])
    def test_without_an_exception_there_is_no_traceback(self, exc_info: bool | None) -> None:  # noqa: FBT001 - a case
        with capture_logs() as records:
            _log.error("trouble", exc_info=exc_info)
            _log.exception("trouble", exc_info=exc_info)

        assert records == [{"message": "trouble", "level": "error"}] * 2

    def test_an_exception_without_words_of_its_own_is_recorded_too(self) -> None:
        with capture_logs() as records:
            _log.error("trouble", exc_info=_WordlessError())

        assert "_WordlessError" in records[0]["exception"]

    def test_mypy_refuses_what_a_logger_has_not(self) -> None:
        # With `warn_unused_ignores` each comment asserts that mypy reports this error.
        with pytest.raises(TypeError):
            _log.info("done %s", 2)  # type: ignore[call-arg, arg-type]
        with pytest.raises(TypeError):
            _log.info()  # type: ignore[call-arg]
        with pytest.raises(AttributeError):
            _log.bind(count=2)  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            _log.fatal("trouble")  # type: ignore[attr-defined]
        with capture_logs() as records:
            _log.error("trouble", exc_info="wrong")  # type: ignore[arg-type]
        assert records == [{"message": "trouble", "level": "error"}]

    def test_a_process_that_configures_nothing_logs_as_python_does(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        _log.info("done")
        _log.warning("trouble", reason="wrong")

        assert caplog.record_tuples == [("tests.there", 30, "trouble {'reason': 'wrong'}")]


class TestJournal:
    @pytest.fixture
    def file(self) -> io.BytesIO:
        return io.BytesIO()

    @pytest.fixture
    def journal(self, file: io.BytesIO) -> Journal:
        return Journal(file, {"service": "gateway"})

    async def test_records_are_written_together_before_long(self) -> None:
        file = _AwaitedFile()
        journal = Journal(file, {})

        for _ in range(2):
            journal.add("info", "there", "done", {})
        before = file.getvalue()
        async with asyncio.timeout(_LIMIT_S):
            await file.was_written_to.wait()

        assert before == b""
        assert [record["message"] for record in _records(file)] == ["done", "done"]

    async def test_trouble_is_written_at_once_with_all_before_it(
        self, journal: Journal, file: io.BytesIO
    ) -> None:
        journal.add("info", "there", "done", {})
        journal.add("warning", "there", "trouble", {})

        assert [record["message"] for record in _records(file)] == ["done", "trouble"]

    def test_without_a_loop_each_record_is_written_at_once(self, journal: Journal, file: io.BytesIO) -> None:
        journal.add("info", "there", "done", {})

        assert len(_records(file)) == 1

    async def test_threads_lose_nothing(self, journal: Journal, file: io.BytesIO) -> None:
        def work() -> None:
            for _ in range(200):
                journal.add("info", "there", "done", {})

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        journal.flush()

        assert len(_records(file)) == 1000

    def test_a_record_during_a_write_is_written_after_it(self) -> None:
        file = _LoggingFile()
        file.journal = Journal(file, {})

        # In another thread, since a thread that waits for itself can't be interrupted.
        writing = threading.Thread(target=file.journal.add, args=("error", "there", "first", {}), daemon=True)
        writing.start()
        writing.join(timeout=10)

        assert not writing.is_alive()
        assert [record["message"] for record in _records(file)] == ["first", "second"]

    def test_a_record_says_whose_it_is(self, journal: Journal, file: io.BytesIO) -> None:
        async def request() -> None:
            log_with(request_id="r1", trace_id="t1")
            journal.add("error", "there", "trouble", {"status": 500})

        asyncio.run(request())
        journal.add("error", "there", "trouble", {})

        first, second = _records(file)
        assert (
            first.items()
            >= {
                "message": "trouble",
                "status": 500,
                "request_id": "r1",
                "trace_id": "t1",
                "service": "gateway",
                "level": "error",
                "logger": "there",
            }.items()
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", first["timestamp"])
        assert "request_id" not in second

    def test_a_field_named_as_a_key_of_the_record_is_kept_beside_it(
        self, journal: Journal, file: io.BytesIO
    ) -> None:
        names = ("message", "level", "logger", "timestamp", "service", "event")

        journal.add("error", "there", "trouble", dict.fromkeys(names, "field"))

        [record] = _records(file)
        assert record.pop("timestamp").endswith("Z")
        assert record == {
            "message": "trouble",
            "level": "error",
            "logger": "there",
            "service": "gateway",
            "message_": "field",
            "level_": "field",
            "logger_": "field",
            "timestamp_": "field",
            "service_": "field",
            "event": "field",
        }

    @pytest.mark.parametrize("value", ["\ud800", 2**70, {1: 2}, ["\udcff"]])
    def test_a_value_that_json_can_not_hold_is_logged_all_the_same(
        self, journal: Journal, file: io.BytesIO, value: object
    ) -> None:
        journal.add("error", "there", "trouble", {"value": value, "count": 2})

        [record] = _records(file)
        assert record["value"] == ascii(value)
        assert (record["message"], record["count"]) == ("trouble", 2)

    def test_a_name_that_json_can_not_hold_is_logged_all_the_same(
        self, journal: Journal, file: io.BytesIO
    ) -> None:
        journal.add("error", "\ud800", "\ud800", {"\ud800": 2})

        [record] = _records(file)
        assert (record["message"], record["logger"], record[ascii("\ud800")]) == (*[ascii("\ud800")] * 2, 2)

    def test_a_value_of_another_type_is_logged_as_its_text(self, journal: Journal, file: io.BytesIO) -> None:
        journal.add("error", "there", "trouble", {"error": ValueError("wrong"), "path": Path("/a")})

        [record] = _records(file)
        assert (record["error"], record["path"]) == ("wrong", "/a")

    def test_a_value_that_can_not_be_logged_loses_no_other_record(
        self, journal: Journal, file: io.BytesIO
    ) -> None:
        endless: list[object] = []
        endless.append(endless)

        journal.add("error", "there", "trouble", {"value": _Wordless(), "count": 2})
        journal.add("error", "there", "trouble", {"value": endless, "path": Path("/a")})

        first, second = _records(file)
        assert (first["value"], first["count"]) == ("<_Wordless>", 2)
        assert (second["value"], second["path"]) == ("[[...]]", "/a")

    def test_what_is_logged_of_garbage_in_the_midst_of_a_line_is_written(
        self, journal: Journal, file: io.BytesIO
    ) -> None:
        def on_collection(phase: str, _info: object) -> None:
            journal.add("info", "there", phase, {})

        gc.disable()
        gc.callbacks.append(on_collection)
        try:
            journal.add("error", "there", "trouble", {"value": _Collecting()})
        finally:
            gc.callbacks.remove(on_collection)
            gc.enable()

        assert [record["message"] for record in _records(file)] == ["trouble", "start", "stop"]

    def test_a_file_that_cannot_be_written_to_stops_nothing(self, journal: Journal, file: io.BytesIO) -> None:
        file.close()

        journal.add("error", "there", "trouble", {})


_LOGS_OF_A_PROCESS: Final = """
import asyncio, logging, os, signal, threading
from shared.observability.logs import Logger, configure_logs

log, library = Logger("ours"), logging.getLogger("library")

held, forked = threading.Event(), threading.Event()

def hold_the_lock():
    with logging.getLogger().handlers[0].lock:
        held.set()
        forked.wait()

async def main():
    log.debug("in debugging")
    log.info("before a fork")
    library.info("before a fork")
    threading.Thread(target=hold_the_lock).start()
    held.wait()
    if os.fork():
        forked.set()
        os.wait()
        thread = threading.Thread(target=log.info, args=("in a thread",))
        thread.start()
        thread.join()
        log.info("after a fork")
        library.warning("after a fork")
        log.info("at the end")
    else:
        signal.alarm(10)  # ends a deadlock
        log.error("in a child")
        library.error("in a child %s", "of it")
        logging.shutdown()
        os._exit(0)

configure_logs("gateway", "info", worker=2)
asyncio.run(main())
"""


def test_a_process_writes_its_records_and_those_of_libraries_once_also_if_it_forks() -> None:
    written = subprocess.run(  # noqa: S603 - this interpreter and a constant
        [sys.executable, "-W", "ignore", "-c", _LOGS_OF_A_PROCESS],
        capture_output=True,
        timeout=_LIMIT_S,
        check=True,
    ).stderr

    records = [json.loads(line) for line in written.splitlines()]
    assert [(record["logger"], record["level"], record["message"]) for record in records] == [
        ("ours", "error", "in a child"),
        ("library", "error", "in a child of it"),
        ("ours", "info", "before a fork"),
        ("library", "info", "before a fork"),
        ("ours", "info", "in a thread"),
        ("ours", "info", "after a fork"),
        ("library", "warning", "after a fork"),
        ("ours", "info", "at the end"),
    ]
    origins = [(record["service"], record["version"], record["worker"]) for record in records]
    assert origins == [("gateway", RELEASE, 2)] * len(records)


class _Wordless:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class _WordlessError(Exception):
    __str__ = __repr__ = _Wordless.__repr__


class _Collecting:
    """Runs the garbage collector while a line is encoded."""

    def __str__(self) -> str:
        gc.collect()
        return "collected"


class _AwaitedFile(io.BytesIO):
    """Signals when a write begins."""

    def __init__(self) -> None:
        super().__init__()
        self.was_written_to = asyncio.Event()

    def write(self, lines: Any, /) -> int:
        self.was_written_to.set()
        return super().write(lines)


class _LoggingFile(io.BytesIO):
    """Adds a record during its first write, as the garbage collector may do anywhere."""

    journal: Journal

    def write(self, lines: Any, /) -> int:
        is_first = not self.tell()
        written = super().write(lines)
        if is_first:
            self.journal.add("error", "there", "second", {})
        return written


def _records(file: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]
