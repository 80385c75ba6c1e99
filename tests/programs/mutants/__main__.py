"""``make mutants``: change our code in one place at a time, and see whether its tests notice.

Without arguments some mutants of each module are tried, with ``--all`` every one. The status is 1 if a mutant
survives that is not listed as equivalent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import zlib
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.programs.mutants.equivalents import read_equivalents, unknown_equivalents
from tests.programs.mutants.modules import MODULES, Module
from tests.programs.mutants.mutant import ROOT
from tests.programs.mutants.python import mutants_of
from tests.programs.mutants.trial import try_tests
from tests.support.databases import open_private_postgres, open_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.programs.mutants.mutant import Mutant

_OF_EACH_MODULE: Final = 8
# Tests that pass take this many times as long on a machine that is busy with others of them.
_TIMES_SLOWER: Final = 4
_WITHIN_AT_LEAST_S: Final = 20.0
_BASELINE_WITHIN_S: Final = 600.0
# So many of the tests that noticed a change of a place are run first for the next, the latest first.
_KILLERS: Final = 5


class Verdict(NamedTuple):
    """What became of a mutant: ``killed``, ``equivalent`` or ``survives``."""

    mutant: Mutant
    fate: str


class _Arguments(argparse.Namespace):
    all: bool
    only: str
    seed: int
    jobs: int
    list: bool


async def _main(arguments: _Arguments) -> int:
    every = {module: mutants_of(module.path) for module in MODULES}
    for key in unknown_equivalents(mutant for mutants in every.values() for mutant in mutants):
        sys.exit(f"equivalents.toml lists what is no mutant: {key}")
    chosen = {
        module: _chosen(mutants, arguments) for module, mutants in every.items() if _is_in(module, arguments)
    }
    if arguments.list:
        _say("\n".join(str(mutant) for mutants in chosen.values() for mutant in mutants))
        return 0
    async with _open_database():
        verdicts = [await _judge(module, mutants, arguments.jobs) for module, mutants in chosen.items()]
    return _report([verdict for of_module in verdicts for verdict in of_module])


@asynccontextmanager
async def _open_database() -> AsyncIterator[None]:
    """Inside, all trials use one server, and copy one database: migrating one takes a second."""
    async with open_private_postgres() as url, open_template(url) as template:
        os.environ.update(ISOLINE_TEST_DATABASE_URL=url, ISOLINE_TEST_TEMPLATE=template)
        yield


def _is_in(module: Module, arguments: _Arguments) -> bool:
    return arguments.only in ("", module.part, Path(module.path).stem)


def _chosen(mutants: Sequence[Mutant], arguments: _Arguments) -> Sequence[Mutant]:
    """All, or a few that another seed exchanges for others."""
    if arguments.all or arguments.only:
        return mutants
    drawn = sorted(mutants, key=lambda mutant: zlib.crc32(f"{arguments.seed} {mutant.key}".encode()))
    return sorted(drawn[:_OF_EACH_MODULE], key=lambda mutant: mutant.change)


async def _judge(module: Module, mutants: Sequence[Mutant], jobs: int) -> list[Verdict]:
    """Try the mutants of a module, some at a time, and say how it went."""
    equivalents, turn = read_equivalents(), asyncio.Semaphore(jobs)
    within_s = await _baseline_s(module) * _TIMES_SLOWER + _WITHIN_AT_LEAST_S
    killers: dict[str, list[str]] = {}  # what noticed one change of a place notices the next, mostly

    async def verdict(mutant: Mutant) -> Verdict:
        if mutant.key in equivalents:
            return Verdict(mutant, "equivalent")
        async with turn:
            survives = await _passes(module, mutant, within_s, killers.setdefault(mutant.place, []))
        if survives:
            _say(f"    {mutant}")
        return Verdict(mutant, "survives" if survives else "killed")

    verdicts = await asyncio.gather(*map(verdict, mutants))
    _say(f"{module.path:44}{_summary(verdicts)}")
    return verdicts


async def _baseline_s(module: Module) -> float:
    with tempfile.NamedTemporaryFile() as report:
        path = Path(report.name)
        trial = await asyncio.to_thread(
            try_tests, module.tests, None, within_s=_BASELINE_WITHIN_S, report=path
        )
        if not trial.passed:
            sys.exit(f"the tests of {module.path} fail without a change:\n{path.read_text()}")
    return trial.took_s


async def _passes(module: Module, mutant: Mutant, within_s: float, killers: list[str]) -> bool:
    """Whether no test fails; the one that does is the first of the killers then, which are run before all."""
    compile(mutant.source, mutant.path, "exec")  # else it would be killed by a defect of ours
    for tests, limit_s in ((killers[:_KILLERS], _WITHIN_AT_LEAST_S), (module.tests, within_s)):
        if not tests:
            continue
        with tempfile.NamedTemporaryFile() as report:
            trial = await asyncio.to_thread(
                try_tests, tests, mutant, within_s=limit_s, report=Path(report.name)
            )
        if not trial.passed:
            if trial.failed is not None and trial.failed not in killers:
                killers.insert(0, trial.failed)
            return False
    return True


def _summary(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.fate for verdict in verdicts)
    killed, judged = counts["killed"], counts["killed"] + counts["survives"]
    percent = 100 * killed / judged if judged else 100.0
    return f"{killed:4} of {judged:4} killed, {percent:5.1f} %; {counts['equivalent']:3} equivalent"


def _report(verdicts: Sequence[Verdict]) -> int:
    _say(f"{'all':44}{_summary(verdicts)}")
    return int(any(verdict.fate == "survives" for verdict in verdicts))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _arguments() -> _Arguments:
    parser = argparse.ArgumentParser(prog="python -m tests.programs.mutants", description=__doc__)
    parser.add_argument("--all", action="store_true", help="try every mutant")
    parser.add_argument("--only", default="", help="every mutant of one part or file, as in modules.py")
    parser.add_argument("--seed", type=int, default=1, help="which mutants are tried of each module")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="list the mutants and try none")
    return parser.parse_args(namespace=_Arguments())


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(asyncio.run(_main(_arguments())))
