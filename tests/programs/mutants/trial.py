"""One run of tests in a process of its own, in which one module is imported as its mutant.

Nothing is written to the source files. The processes are forked from one that has imported the libraries,
and none of our own packages.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import CodeType, ModuleType

    from tests.programs.mutants.mutant import Mutant

_LIBRARIES: Final = [
    *("pytest", "pytest_asyncio", "hypothesis", "uvloop", "aiohttp", "aio_pika", "asyncpg", "argon2", "jwt"),
    *("numpy", "orjson", "simdjson", "pydantic", "pydantic_settings", "pogo_core.migration"),
    *("limits", "zstandard", "tests.programs.mutants.trial"),
]
_OPTIONS: Final = (
    *("-x", "-q", "--no-header", "--tb=short", "--hypothesis-seed=1", "--hypothesis-profile=mutants"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins are imported before the fork
    *("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:playwright", "-p", "no:xdist"),
)
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)
_forking: Final = get_context("forkserver")
_forking.set_forkserver_preload(_LIBRARIES)


class Trial(NamedTuple):
    """How a run ended.

    Attributes:
        passed: Whether no test failed, within the time.
        took_s: How long it took.
        failed: The test that failed, without its parameters; None if none did within the time.
    """

    passed: bool
    took_s: float
    failed: str | None


def try_tests(tests: Sequence[str], mutant: Mutant | None, *, within_s: float, report: Path) -> Trial:
    """Run these tests until one fails; what they print is in the report afterwards."""
    begun_s = time.monotonic()
    process = _forking.Process(target=_run, args=(tests, mutant, report))
    process.start()
    process.join(within_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # and all that it has started
    process.join()
    failed = _FAILED.search(report.read_text(errors="replace"))
    return Trial(process.exitcode == 0, time.monotonic() - begun_s, failed and failed[1])


def _run(tests: Sequence[str], mutant: Mutant | None, report: Path) -> None:
    os.setsid()
    descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for output in (1, 2):
        os.dup2(descriptor, output)
    if mutant is not None:
        assert mutant.module not in sys.modules
        sys.meta_path.insert(0, _Finder(mutant))
    # That an example fails is enough: finding the simplest that does takes seconds.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants", deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    sys.dont_write_bytecode = False  # compiling all modules and tests takes longer than most tests
    status = int(pytest.main([*_OPTIONS, *tests]))
    os._exit(status)


class _Finder:
    """Finds one module, and gives its mutant instead."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == self._mutant.module else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin, self._mutant.source)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._mutated = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutated, self.get_filename(fullname), "exec", dont_inherit=True)
