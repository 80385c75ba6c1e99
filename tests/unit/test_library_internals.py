"""Private names of each library are used by one file only, its door."""

from __future__ import annotations

import ast
import asyncio
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest.mock import Mock

import aiohttp
from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from gateway.http.connections import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("gateway", "processor", "shared", "isoline")
# Documented, though they begin with an underscore; and typeshed's name for a type.
_PUBLIC: Final = {"_asdict", "_exit", "_fields", "_Hash", "_make", "_replace"}
_DOORS: Final = {
    "gateway/http/connections/connection.py": {"_messages"},
    "shared/broker/rabbitmq/aiormq_internals.py": {
        "_Connection__handle_connection_blocked",
        "_get_frame",
        "_on_confirm_frame",
        "_on_return_frame",
        "_read_content",
    },
}
# What aiormq and aio-pika have without a leading underscore, and document nowhere.
_UNDOCUMENTED: Final = {
    "ChannelFrame",
    "TCPTransportFactory",
    "TLSTransportFactory",
    "connection_tune",
    "transport_factory",
    "write_queue",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in _PACKAGES:
        for path in sorted((_ROOT / package).rglob("*.py")):
            yield path.relative_to(_ROOT).as_posix(), ast.parse(path.read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in _PUBLIC


def defined(tree: ast.Module) -> Iterator[str]:
    """The private names that a module makes: functions, classes, fields, attributes that it sets."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Attribute(ctx=ast.Store(), value=ast.Name(id="self")):
                yield node.attr
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def touched(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name):
                yield name
            case ast.ImportFrom(names=names):
                yield from (alias.name for alias in names)


def named(tree: ast.Module) -> Iterator[str]:
    """The names that a module uses as attributes, arguments or strings."""
    yield from touched(tree)
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
                yield name


def test_a_private_name_that_is_not_ours_is_touched_behind_a_door() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in modules():
        ours = set(defined(tree))
        names = {name for name in touched(tree) if is_private(name) and name not in ours}
        if names:
            found[path] = names

    assert found == _DOORS


def test_what_aiormq_does_not_document_is_touched_behind_its_door() -> None:
    found = {path: _UNDOCUMENTED.intersection(named(tree)) for path, tree in modules()}

    assert {path: names for path, names in found.items() if names} == {
        "shared/broker/rabbitmq/aiormq_internals.py": _UNDOCUMENTED
    }


def test_the_door_to_aiohttp_was_proven_with_the_version_that_is_installed() -> None:
    assert aiohttp.__version__ in connection.PROVEN


async def test_aiohttp_keeps_requests_that_are_parsed_and_have_not_begun_where_the_door_looks() -> None:
    parsed = web.RequestHandler(Mock(), loop=asyncio.get_running_loop())

    parsed.data_received(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    heads = list(parsed._messages)
    parsed.data_received(b"no HTTP\r\n\r\n")

    assert [type(message) for message, _ in heads] == [RawRequestMessage] * 2
    assert all(isinstance(body, StreamReader) for _, body in heads)
    error, body = parsed._messages[-1]
    assert not isinstance(error, RawRequestMessage)
    assert (error.status, body.is_eof()) == (400, True)
    assert error.exc is not None
