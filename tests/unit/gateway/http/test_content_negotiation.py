"""Compression and entity tags, and what negotiating them may cost."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http import content_negotiation as negotiation_module
from gateway.http.content_negotiation import PrebuiltResponse, accepts_gzip, negotiate

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.http.responses import Response

_BODY: Final = b"a document that is worth packing " * 100
_DOCUMENT: Final = PrebuiltResponse(_BODY, {"Content-Type": "text/plain; charset=utf-8"}, tag="abc")


def a_request(*fields: tuple[str, str]) -> Request:
    return cast("Request", make_mocked_request("GET", "/", headers=CIMultiDict(fields)))


def a_json_response(*fields: tuple[str, str]) -> Response:
    request = a_request(*fields)
    return negotiate(request, _DOCUMENT.response(request))


def test_a_prebuilt_response_is_compressed_once_and_sent_as_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gzip.compress")

    packed, plain = a_json_response(("Accept-Encoding", "gzip")), a_json_response()

    assert gzip.decompress(packed.body) == plain.body == _BODY
    assert (packed.headers["Content-Encoding"], plain.headers.get("Content-Encoding")) == ("gzip", None)
    assert (packed.headers["ETag"], plain.headers["ETag"]) == ('"abc-gzip"', '"abc"')
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accept_encoding", "named", "status"),
    [
        ("gzip", '"abc-gzip"', 304),
        ("gzip", 'W/"abc-gzip"', 304),
        ("gzip", '"x", "abc-gzip" , "y"', 304),
        ("gzip", "*", 304),
        ("gzip", '"abc"', 200),
        ("gzip", '"abc-gzipped"', 200),
        ("identity", '"abc"', 304),
        ("identity", '"abc-gzip"', 200),
        ("identity", "abc", 200),
        ("identity", "", 200),
    ],
)
def test_the_etag_of_one_encoding_does_not_match_the_other(
    accept_encoding: str, named: str, status: int
) -> None:
    response = a_json_response(("Accept-Encoding", accept_encoding), ("If-None-Match", named))

    assert response.status == status
    assert response.headers["Vary"] == "Accept-Encoding"
    assert response.headers["ETag"] == ('"abc-gzip"' if accept_encoding == "gzip" else '"abc"')


def test_several_if_none_match_fields_are_one_list() -> None:
    assert a_json_response(("If-None-Match", '"x"'), ("If-None-Match", '"abc"')).status == 304


def test_several_accept_encoding_fields_are_one_list() -> None:
    assert accepts_gzip(a_request(("Accept-Encoding", "br"), ("Accept-Encoding", "gzip;q=0.1")))


def test_an_overlong_accept_encoding_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(negotiation_module, "_lists_gzip")

    assert not accepts_gzip(a_request(*[("Accept-Encoding", "gzip," + "," * 8000)] * 3))
