"""How answers travel, and what finding that out may cost."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final, cast

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http import content_negotiation as representations
from gateway.http.content_negotiation import Document, accepts_gzip, negotiated

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.http.responses import Response

_BODY: Final = b"a document that is worth packing " * 100
_DOCUMENT: Final = Document(_BODY, {"Content-Type": "text/plain; charset=utf-8"}, tag="abc")


def a_request(*fields: tuple[str, str]) -> Request:
    return cast("Request", make_mocked_request("GET", "/", headers=CIMultiDict(fields)))


def answered(*fields: tuple[str, str]) -> Response:
    request = a_request(*fields)
    return negotiated(request, _DOCUMENT.response(request))


def test_a_document_is_packed_once_and_answered_as_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gzip.compress")

    packed, plain = answered(("Accept-Encoding", "gzip")), answered()

    assert gzip.decompress(packed.body) == plain.body == _BODY
    assert (packed.headers["Content-Encoding"], plain.headers.get("Content-Encoding")) == ("gzip", None)
    assert (packed.headers["ETag"], plain.headers["ETag"]) == ('"abc-gzip"', '"abc"')
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("wishes", "named", "status"),
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
def test_who_has_one_encoding_has_not_the_other(wishes: str, named: str, status: int) -> None:
    answer = answered(("Accept-Encoding", wishes), ("If-None-Match", named))

    assert answer.status == status
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["ETag"] == ('"abc-gzip"' if wishes == "gzip" else '"abc"')


def test_tags_in_several_fields_are_one_list() -> None:
    assert answered(("If-None-Match", '"x"'), ("If-None-Match", '"abc"')).status == 304


def test_wishes_in_several_fields_are_one_list() -> None:
    assert accepts_gzip(a_request(("Accept-Encoding", "br"), ("Accept-Encoding", "gzip;q=0.1")))


def test_a_list_of_wishes_that_no_client_has_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(representations, "_names_gzip")

    assert not accepts_gzip(a_request(*[("Accept-Encoding", "gzip," + "," * 8000)] * 3))
