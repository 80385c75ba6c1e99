from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.programs.mutants.equivalents import unknown_equivalents
from tests.programs.mutants.modules import MODULES
from tests.programs.mutants.mutant import ROOT
from tests.programs.mutants.python import mutants_in, mutants_of
from tests.programs.mutants.trial import try_tests

if TYPE_CHECKING:
    from pathlib import Path

_ZERO_CROSSINGS = "processor/insights/zero_crossings.py"


def changes(source: str) -> set[tuple[str, str]]:
    """What is changed in a source text into what; each mutant can be compiled."""
    mutants = mutants_in(source.encode(), "a_file.py")
    for mutant in mutants:
        compile(mutant.applied_to(source.encode()), "a_file.py", "exec")
    return {(mutant.was, mutant.key[2]) for mutant in mutants}


def within(statement: str) -> set[tuple[str, str]]:
    return changes(f"async def f(self):\n    {statement}\n")


class TestPython:
    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ("x = a < b", {("a < b", "(a <= b)"), ("a < b", "(a >= b)")}),
            ("x = a == b", {("a == b", "(a != b)")}),
            ("x = a is not b", {("a is not b", "(a is b)")}),
            ("x = a and b", {("a and b", "(a)"), ("a and b", "(b)"), ("a and b", "(a or b)")}),
            ("x = not a", {("not a", "(a)")}),
            ("x = a + 1", {("a + 1", "(a - 1)"), ("1", "2")}),
            ("x = min(a, b)", {("min", "max")}),
            ("x = [y for y in a if y]", {("y", "True")}),
            ("self.x = a", {("self.x = a", "pass")}),
            ("x += a", {("x += a", "pass")}),
            ("await a(b)", {("await a(b)", "pass")}),
            ("raise a", {("raise a", "pass")}),
            ("return a", {("return a", "return None")}),
            ("x = a(b=True)", {("True", "False")}),
            ("x = a(traceparent=b.traceparent)", {("b.traceparent", "None")}),
            (
                "x = await retry_while_unavailable(partial(a, b))",
                {("await retry_while_unavailable(partial(a, b))", "await partial(a, b)()")},
            ),
        ],
    )
    def test_a_statement_is_changed_in_each_way(self, statement: str, expected: set[tuple[str, str]]) -> None:
        assert within(statement) == expected

    def test_a_condition_is_dropped_or_never_met(self) -> None:
        assert {("a < b", "True"), ("a < b", "False"), ("a < b", "(a <= b)")} <= within("if a < b: x = y")

    def test_a_guard_around_statements_is_dropped(self) -> None:
        assert ("async with lock", "if True") in within("async with lock: x = y")
        assert ("x = y", "raise") in within("try: x = y\n    except E: x = y")

    @pytest.mark.parametrize(
        "statement",
        ["'''A docstring.'''", "_log.info('a', b=c)", "x: int | None = y", "failpoint.reach('here')", "..."],
    )
    def test_docstrings_annotations_and_logs_stay(self, statement: str) -> None:
        assert within(statement) == set()

    def test_a_place_is_named_by_what_it_is_in(self) -> None:
        source = b'class A:\n    def b(self):\n        return self.c\n\nSQL = "SELECT 1 LIMIT 2"\n'

        assert [mutant.place for mutant in mutants_in(source, "a_file.py")] == ["A.b", "SQL"]


class TestSql:
    def test_each_condition_is_dropped(self) -> None:
        found = changes('_A = "SELECT a FROM b JOIN c ON d = e WHERE f = 1 AND (g OR h <= 2) LIMIT 3"')

        assert found == {
            ("d = e", "true"),
            ("f = 1", "true"),
            ("(g OR h <= 2)", "true"),
            ("h <= 2", "false"),
            ("<=", "<"),
            ("LIMIT 3", ""),
        }

    def test_locks_and_orders_are_dropped(self) -> None:
        found = changes('_A = "SELECT a FROM b ORDER BY c DESC, d FOR NO KEY UPDATE SKIP LOCKED"')

        assert found == {
            ("ORDER BY c DESC, d", ""),
            ("DESC", "ASC"),
            ("FOR NO KEY UPDATE SKIP LOCKED", ""),
            ("SKIP LOCKED", ""),
        }

    def test_each_of_several_assignments_is_dropped(self) -> None:
        of_a_statement = changes('_A = "UPDATE a SET b = least(1, c), d = CASE WHEN e THEN f END WHERE g"')
        of_a_constant = changes('_A = "b = NULL, c = now()"')

        assert of_a_statement == {
            ("b = least(1, c),", ""),
            (", d = CASE WHEN e THEN f END", ""),
            ("least", "greatest"),
            ("g", "true"),
        }
        assert of_a_constant == {("b = NULL,", ""), (", c = now()", "")}

    def test_what_is_pasted_into_a_statement_stays_as_a_whole(self) -> None:
        assert changes('_A = f"""\nSELECT a -- AND not this\nFROM b WHERE {_C} AND d\n"""') == {
            ("{_C}", "true"),
            ("d", "true"),
        }

    def test_a_text_that_is_no_statement_stays(self) -> None:
        assert changes('_A = "An ECG is queued, and waits."') == set()


def test_the_table_names_files_that_are_there() -> None:
    named = {path for module in MODULES for path in (module.path, *module.tests)}

    assert [path for path in named if not (ROOT / path.partition("::")[0]).exists()] == []


def test_what_is_listed_as_equivalent_is_a_mutant() -> None:
    assert unknown_equivalents(mutant for module in MODULES for mutant in mutants_of(module.path)) == []


def test_tests_run_on_the_mutant_instead_of_the_module(tmp_path: Path) -> None:
    report = tmp_path / "report"
    tests = ["tests/unit/insights/test_zero_crossings.py"]
    dropped = ("_find_few", "sample != baseline", "True")
    [mutant] = [mutant for mutant in mutants_of(_ZERO_CROSSINGS) if mutant.key == dropped]

    unchanged = try_tests(tests, None, within_s=60, report=report)
    changed = try_tests(tests, mutant, within_s=60, report=report)

    assert (unchanged.passed, changed.passed) == (True, False)
    assert "1 failed" in report.read_text()

    assert changed.failed is not None
    again = try_tests([changed.failed], mutant, within_s=60, report=report)

    assert (again.passed, again.failed) == (False, changed.failed)
