from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import threading
from typing import Any, Final

import pytest

from shared.logs import Journal, log_with

_LIMIT_S = 20


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

    def test_what_is_logged_in_the_midst_of_a_write_comes_behind_it(self) -> None:
        file = _LoggingFile()
        file.journal = Journal(file, {})

        # Another thread, since one that waits for itself can't be interrupted.
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

    @pytest.mark.parametrize("value", ["\ud800", 2**70])
    def test_what_no_json_can_hold_is_told_all_the_same(
        self, journal: Journal, file: io.BytesIO, value: object
    ) -> None:
        journal.add("error", "there", "trouble", {"value": value})

        assert _records(file)[0]["value"] == ascii(value)

    def test_a_file_that_cannot_be_written_to_stops_nothing(self, journal: Journal, file: io.BytesIO) -> None:
        file.close()

        journal.add("error", "there", "trouble", {})


_LOGS_OF_A_LIBRARY: Final = """
import logging, os
from shared.logs import configure_logs

configure_logs("gateway", "info")
logging.getLogger("library").info("before a fork")
if os.fork():
    os.wait()
    logging.getLogger("library").warning("after a fork")
else:
    logging.getLogger("library").error("in a child %s", "of it")
    logging.shutdown()
    os._exit(0)
"""


def test_records_of_libraries_are_lines_as_ours_are_also_after_a_fork() -> None:
    written = subprocess.run(  # noqa: S603 - this interpreter and a constant
        [sys.executable, "-c", _LOGS_OF_A_LIBRARY], capture_output=True, timeout=_LIMIT_S, check=True
    ).stderr

    records = [json.loads(line) for line in written.splitlines()]
    assert [(record["logger"], record["level"], record["message"]) for record in records] == [
        ("library", "info", "before a fork"),
        ("library", "error", "in a child of it"),
        ("library", "warning", "after a fork"),
    ]


class _AwaitedFile(io.BytesIO):
    """Tells when somebody writes."""

    def __init__(self) -> None:
        super().__init__()
        self.was_written_to = asyncio.Event()

    def write(self, lines: Any, /) -> int:
        self.was_written_to.set()
        return super().write(lines)


class _LoggingFile(io.BytesIO):
    """Has a record made in its first write, as the garbage collector may have anywhere."""

    journal: Journal

    def write(self, lines: Any, /) -> int:
        is_first = not self.tell()
        written = super().write(lines)
        if is_first:
            self.journal.add("error", "there", "second", {})
        return written


def _records(file: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]
