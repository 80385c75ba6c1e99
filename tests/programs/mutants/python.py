"""Mutants of Python: a condition, a statement, a wrapper or a guard is missing, or a boundary moves."""

from __future__ import annotations

import ast
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.programs.mutants.mutant import ROOT, Change, Mutant, one_line
from tests.programs.mutants.sql import is_sql, sql_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BOUNDARY: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_OPPOSITE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OTHER_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
_OTHER_FUNCTION: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
# What is awaited through these is done all the same without them, until something goes wrong.
_WRAPPERS: Final = {"retry_while_unavailable": "{}()", "run_shielded": "{}", "shield": "{}"}
# What is only passed on, so that nobody misses it who does not look for it.
_CARRIED: Final = frozenset({"traceparent"})
_LOGS: Final = ("_log.", "failpoint.")
_TEXTS: Final = (ast.Constant, ast.JoinedStr)


def mutants_of(path: str) -> list[Mutant]:
    """Every mutant of a file, in the order of their places; none of its annotations, logs and docstrings."""
    return mutants_in((ROOT / path).read_bytes(), path)


def mutants_in(source: bytes, path: str) -> list[Mutant]:
    """The same of a file with this content."""
    visitor = _Visitor(path, source)
    visitor.visit(ast.parse(source))
    return sorted(visitor.mutants.values(), key=lambda mutant: mutant.change)


class _Visitor(ast.NodeVisitor):
    def __init__(self, path: str, source: bytes) -> None:
        self.mutants: dict[Change, Mutant] = {}
        self._path = path
        self._source = source
        self._lines = [0]
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._scope: list[str] = []
        self._functions = 0
        self._conditions: set[ast.expr] = set()

    # What is not looked at, and where things are.

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name != "__repr__":
            self._functions += 1
            self._visit_in(node.name, node.body)
            self._functions -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_in(node.name, node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            with self._named(node.target):
                self.visit(node.value)
            self._drop_attribute(node, [node.target])

    def visit_Assign(self, node: ast.Assign) -> None:
        with self._named(node.targets[0]):
            self.visit(node.value)
        self._drop_attribute(node, node.targets)

    def _visit_in(self, name: str, nodes: Iterable[ast.AST]) -> None:
        self._scope.append(name)
        for node in nodes:
            self.visit(node)
        self._scope.pop()

    @contextmanager
    def _named(self, target: ast.expr) -> Iterator[None]:
        """A constant is the place of what is changed in it."""
        name = [target.id] if isinstance(target, ast.Name) and not self._functions else []
        self._scope += name
        yield
        del self._scope[len(self._scope) - len(name) :]

    # Conditions.

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self._condition(node.test)
            self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self._condition(node.test, instead=("False",))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._condition(test, instead=("True",))
        self.generic_visit(node)

    def _condition(self, test: ast.expr, instead: Sequence[str] = ("True", "False")) -> None:
        self._conditions.add(test)
        if not isinstance(test, ast.BoolOp):
            self._replace(test, instead)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for dropped in node.values:
            rest = [value for value in node.values if value is not dropped]
            self._replace(node, [_unparsed(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])])
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._replace(node, [_unparsed(ast.BoolOp(other, node.values))])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not) and node not in self._conditions:
            self._replace(node, [_unparsed(node.operand)])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        tables = [_BOUNDARY] if node in self._conditions else [_BOUNDARY, _OPPOSITE]
        for place, operator in enumerate(node.ops):
            for other in (table[type(operator)]() for table in tables if type(operator) in table):
                operators = [*node.ops[:place], other, *node.ops[place + 1 :]]
                self._replace(node, [_unparsed(ast.Compare(node.left, operators, node.comparators))])
        self.generic_visit(node)

    # Values.

    def visit_BinOp(self, node: ast.BinOp) -> None:
        is_text = any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (node.left, node.right))
        if type(node.op) in _OTHER_ARITHMETIC and not is_text and self._functions:
            other = _OTHER_ARITHMETIC[type(node.op)]()
            self._replace(node, [_unparsed(ast.BinOp(node.left, other, node.right))])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if name in _OTHER_FUNCTION:
            self._replace(node.func, [_OTHER_FUNCTION[name]])
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if ast.unparse(argument).rpartition(".")[2] in _CARRIED:
                self._replace(argument, ["None"])
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        if isinstance(node.value, ast.Call):
            wrapper = _WRAPPERS.get(ast.unparse(node.value.func).rpartition(".")[2])
            if wrapper is not None:
                self._replace(node, ["await " + wrapper.format(ast.unparse(node.value.args[0]))])
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of zip, which asserts what is so
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, [str(not node.value)])
        elif isinstance(node.value, int) and self._functions:
            self._replace(node, [str(node.value + 1)])
        self._look_for_sql(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # Before Python 3.12 what stands within has no place of its own.
        self._look_for_sql(node)

    def _look_for_sql(self, node: ast.expr) -> None:
        start, end = self._bounds(node)
        literal = self._source[start:end].decode()
        text = literal.lstrip("f").strip('"')
        if self._functions or not _is_text(node) or not is_sql(text):
            return
        start += literal.index(text)
        for first, last, now in sql_changes(text):
            begin, end = (start + len(text[:place].encode()) for place in (first, last))
            self._add(Change(begin, end, now))

    # Statements.

    def visit_Expr(self, node: ast.Expr) -> None:
        if _is_text(node.value):  # a docstring
            return
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call) and not ast.unparse(value.func).startswith(_LOGS):
            self._replace(node, ["pass"])
        if not ast.unparse(value).startswith(_LOGS):
            self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not isinstance(node.value, ast.Constant):
            self._replace(node, ["return None"])
        if node.value is None:
            self._replace(node, ["pass"])
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, ["pass"])  # what it says is not looked at

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._replace(node, ["pass"])
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._replace(node, ["pass"])

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, ["pass"])

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, ["pass"])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if not isinstance(node.body[0], ast.Raise):
            start, end = self._bounds(node.body[0])[0], self._bounds(node.body[-1])[1]
            self._add(Change(start, end, "raise"))
        self.generic_visit(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        [first, *others] = node.items
        if not others and first.optional_vars is None:
            start, end = self._bounds(node)[0], self._bounds(first.context_expr)[1]
            self._add(Change(start, end, "if True"))
        self.generic_visit(node)

    visit_AsyncWith = visit_With  # noqa: N815 - ast's name

    def _drop_attribute(self, node: ast.stmt, targets: Sequence[ast.expr]) -> None:
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
            self._replace(node, ["pass"])

    # What is found.

    def _replace(self, node: ast.expr | ast.stmt, instead: Iterable[str]) -> None:
        for now in instead:
            self._add(Change(*self._bounds(node), now))

    def _bounds(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._lines[node.lineno - 1] + node.col_offset,
            self._lines[node.end_lineno - 1] + node.end_col_offset,
        )

    def _add(self, change: Change) -> None:
        was = self._source[change.start : change.end].decode()
        if was == change.now:
            return
        line = self._source[: change.start].count(b"\n") + 1
        place = ".".join(self._scope)
        self.mutants[change] = Mutant(self._path, line, place, one_line(was), change)


def _unparsed(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
