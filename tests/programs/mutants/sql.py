"""Mutants of SQL: a condition, a lock, an order, a limit or an assignment is missing, or a boundary moves."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TOKEN: Final = re.compile(r"'[^']*'|--[^\n]*|\{[^}]*\}|\$\d+|\w+(?:\.\w+)*|::|<>|<=|>=|[^\s\w]")
_STATEMENT: Final = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|AND)\b")
_ASSIGNMENTS: Final = re.compile(r"\s*\w+ = ")
_BEGIN_CONDITION: Final = {"WHERE": "true", "AND": "true", "OR": "false", "ON": "true", "HAVING": "true"}
_CLAUSES: Final = {
    *("AND", "OR", "ORDER", "GROUP", "LIMIT", "OFFSET", "RETURNING", "FOR", "UNION", "HAVING", "WHERE"),
    *("FROM", "SET", "LEFT", "CROSS", "JOIN", "THEN", "ELSE", "END", "WHEN", "SELECT", "UPDATE", "INSERT"),
    *("DELETE", "ON", "WITH"),
}
_OTHERS: Final = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "<>": "=", "+": "-", "-": "+"} | {
    "least": "greatest",
    "greatest": "least",
    "DESC": "ASC",
}
_DROPPED_CLAUSES: Final = ("ORDER", "LIMIT", "OFFSET", "FOR")


class _Token(NamedTuple):
    text: str
    start: int
    end: int
    depth: int


def is_sql(text: str) -> bool:
    """Whether a text is a statement, or the condition or the assignments of one."""
    return bool(_STATEMENT.search(text) or _ASSIGNMENTS.match(text))


def sql_changes(text: str) -> Iterator[tuple[int, int, str]]:
    """Each change of a statement: from where to where, in characters, and what stands there instead."""
    tokens = list(_tokens(text))
    for place, token in enumerate(tokens):
        if token.text in _OTHERS:
            yield token.start, token.end, _OTHERS[token.text]
        if token.text in _BEGIN_CONDITION and tokens[place + 1].text != "CONFLICT":
            yield *_span(tokens[place + 1 : _end(tokens, place + 1)]), _BEGIN_CONDITION[token.text]
        if token.text in _DROPPED_CLAUSES and tokens[place - 1].text != "(":
            yield *_span(tokens[place : _end_of_clause(tokens, place)]), ""
        if token.text == "SKIP":
            yield *_span(tokens[place : place + 2]), ""
        if token.text == "SET":
            yield from _dropped_assignments(tokens[place + 1 : _end_of_assignments(tokens, place + 1)])
    if _ASSIGNMENTS.match(text):
        yield from _dropped_assignments(tokens)


def _tokens(text: str) -> Iterator[_Token]:
    depth = 0
    for found in _TOKEN.finditer(text):
        if found[0].startswith("--"):
            continue
        depth -= found[0] in ")]"
        yield _Token(found[0], found.start(), found.end(), depth)
        depth += found[0] in "(["


def _end(tokens: Sequence[_Token], begin: int) -> int:
    """The place behind a condition that begins here."""
    return _first(tokens, begin, lambda token: token.text in _CLAUSES or token.text == ",")


def _end_of_clause(tokens: Sequence[_Token], begin: int) -> int:
    """The place behind ``ORDER BY ...``, ``LIMIT ...`` or ``FOR UPDATE ...``, whose commas are its own."""
    is_lock = tokens[begin].text == "FOR"
    return _first(tokens, begin + 1, lambda it: it.text in _CLAUSES and not (is_lock and it.text == "UPDATE"))


def _end_of_assignments(tokens: Sequence[_Token], begin: int) -> int:
    return _first(tokens, begin, lambda token: token.text in ("FROM", "WHERE", "RETURNING"))


def _first(tokens: Sequence[_Token], begin: int, ends: Callable[[_Token], bool]) -> int:
    """The first place that ends what begins here: by itself, or as the end of the parenthesis around it."""
    depth = tokens[begin].depth
    for place in range(begin, len(tokens)):
        if tokens[place].depth < depth or (tokens[place].depth == depth and ends(tokens[place])):
            return place
    return len(tokens)


def _dropped_assignments(tokens: Sequence[_Token]) -> Iterator[tuple[int, int, str]]:
    """Each of several assignments dropped, together with one comma beside it."""
    commas = [place for place, token in enumerate(tokens) if token[0] == "," and not _inner(tokens, token)]
    if not commas:
        return
    bounds = [-1, *commas, len(tokens)]
    for begin, end in itertools.pairwise(bounds):
        if end < len(tokens):
            yield tokens[begin + 1].start, tokens[end].end, ""
        else:
            yield *_span(tokens[begin:end]), ""


def _inner(tokens: Sequence[_Token], token: _Token) -> bool:
    return token.depth > tokens[0].depth


def _span(tokens: Sequence[_Token]) -> tuple[int, int]:
    return tokens[0].start, tokens[-1].end
