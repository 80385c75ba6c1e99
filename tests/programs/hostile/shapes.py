"""The dearest requests that could be thought of for each route: cheap to send, or as large as may be sent.

To add one is to add a line: its route, what is unusual about it, and what it is made of.
"""

from __future__ import annotations

import base64
import gzip
import random
import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
import zstandard

from tests.support.malicious_gzip import gzip_of_huffman_tables

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB: Final = 2**20
_LARGEST_BODY: Final = 16 * _MIB
_SMALL_BODY: Final = 16 * 1024
# Of a head, as long as it may be with a name.
_LINE: Final = 8000
# In its place each try has other characters, for what is parsed once and remembered.
SALT: Final = b"~salt~"
_JSON: Final = "Content-Type: application/json"
_BINARY: Final = "Content-Type: application/vnd.isoline.ecg"


class Shape(NamedTuple):
    """A request that was made to cost more than it should.

    Attributes:
        route: The route of the contract that it goes to.
        what: What is unusual about it.
        request: All its bytes, given a bearer token.
        body_bytes: What its body has at the most when it is unpacked.
        requests: How many it is; the bounds are for each.
    """

    route: str
    what: str
    request: Callable[[str], bytes]
    body_bytes: int = 0
    requests: int = 1


def _bytes(
    token: str, route: str, *fields: str, path: str = "", body: bytes = b"", chunked: bool = False
) -> bytes:
    method, _, route_path = route.partition(" ")
    lines = [f"{method} {path or route_path} HTTP/1.1", "Host: x", "Connection: close", *fields]
    if not any(field.startswith("Authorization:") for field in fields):
        lines.append(f"Authorization: Bearer {token}")
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def _head(route: str, what: str, *fields: str, path: str = "") -> Shape:
    return Shape(route, what, lambda token: _bytes(token, route, *fields, path=path))


def _body(
    route: str,
    what: str,
    build: Callable[[], bytes],
    *fields: str,
    pack: Callable[[bytes], bytes] | None = None,
    size: int = _LARGEST_BODY,
    path: str = "",
) -> Shape:
    declared = fields or (_JSON,)

    def request(token: str) -> bytes:
        body = build()
        return _bytes(token, route, *declared, body=pack(body) if pack else body, path=path)

    return Shape(route, what, request, size)


# --- heads ---

_CONTRACT: Final = "GET /openapi.json"
_BUNDLE: Final = "GET /docs/swagger-ui-bundle.js"
_ECGS: Final = "GET /ecg"
_ECG: Final = "GET /ecg/{id}"
_SUBMIT: Final = "POST /ecg/process"
_TOKEN: Final = "POST /token"
_USER: Final = "POST /user"


def _long_fields(name: str, item: str, fields: int = 1) -> list[str]:
    return [f"{name}: {SALT.decode()}" + item * (_LINE // len(item))] * fields


def _heads(route: str, path: str = "") -> list[Shape]:
    """Each header that a route reads, as long as it may be."""
    head = partial(_head, route, path=path)
    return [
        head("nothing unusual"),
        head("96 fields of commas in Accept-Encoding", *_long_fields("Accept-Encoding", ",", 96)),
        head("one field of commas in Accept-Encoding", *_long_fields("Accept-Encoding", ",")),
        head("three fields of Accept-Encoding with qualities", *_long_fields("Accept-Encoding", "a;q=1,", 3)),
        head("Accept-Encoding gzip", "Accept-Encoding: gzip"),
        head("If-None-Match of 2,000 tags", *_long_fields("If-None-Match", '"a",')),
        head("If-None-Match of quotation marks", *_long_fields("If-None-Match", '"')),
        head("If-None-Match of commas", *_long_fields("If-None-Match", ",")),
        head("If-None-Match of unfinished weak tags", *_long_fields("If-None-Match", 'W/"')),
        head("X-Forwarded-For of 12,000 hops", *_long_fields("X-Forwarded-For", "1,", 3)),
        head("100 fields of Cookie", *_long_fields("Cookie", "a=b;", 3)),
        head("traceparent of hyphens", *_long_fields("traceparent", "00-")),
        head("tracestate", *_long_fields("tracestate", "a=b,")),
        head("Accept", *_long_fields("Accept", "a/b;q=0.1,")),
        head("Accept-Language", *_long_fields("Accept-Language", "de;q=0.1,")),
        head("Range", "Range: bytes=" + "0-1," * 1900),
        head("Forwarded", *_long_fields("Forwarded", "for=1;")),
        head("Date as condition", *_long_fields("If-Modified-Since", "Mon, ")),
        head("a token of dots", "Authorization: Bearer " + "." * _LINE),
        head("a token of brackets", "Authorization: Bearer " + _token_of(b"[" * 5900)),
        head("a token of many members", "Authorization: Bearer " + _token_of(_members(5900))),
        head("a token whose head is a number", "Authorization: Bearer " + _token_of(b"1" * 5900)),
        head(
            "a token with a long kid", "Authorization: Bearer " + _token_of(b'{"kid":"%s"}' % (b"a" * 5800))
        ),
        head("95 short fields", *[f"X-{index}: 1" for index in range(95)]),
        head("3 fields of octets past ASCII", *_long_fields("X-A", "\udcff", 3)),
        head("Expect of another kind", *_long_fields("Expect", "100-continue,")),
        head("Upgrade", "Connection: upgrade, close", "Upgrade: " + "websocket," * 700),
        head("Content-Type of semicolons and no body", *_long_fields("Content-Type", ";")),
    ]


def _token_of(header: bytes) -> str:
    return ".".join([base64.urlsafe_b64encode(header).rstrip(b"=").decode()[:7900], "e30", "AA"])


def _members(size: int) -> bytes:
    members = b",".join(b'"%x":0' % index for index in range(size // 8))
    return b"{" + members[: size - 2] + b"}"


def _paths() -> list[Shape]:
    return [
        _head(_ECG, "an id of 8,000 octets", path="/ecg/" + "a" * _LINE),
        _head(_ECG, "an id of percent signs", path="/ecg/" + "%25" * (_LINE // 3)),
        _head(_ECG, "an id of encoded slashes", path="/ecg/" + "%2F" * (_LINE // 3)),
        _head(_ECG, "an id of percent signs, encoded again and again", path="/ecg/" + "%2525" * (_LINE // 5)),
        _head(_ECG, "an id of encoded characters", path="/ecg/" + "%E2%85%A1" * (_LINE // 9)),
        _head(_ECG, "an id that is no UTF-8", path="/ecg/" + "%FF" * (_LINE // 3)),
        _head(_ECG, "slashes", path="/" * _LINE),
        _head(_ECG, "dots", path="/ecg" + "/.." * (_LINE // 3)),
        _head(_ECG, "a wait of many digits", path="/ecg/1?wait=" + "1" * _LINE),
        _head(_ECG, "a query of 2,600 parameters", path="/ecg/1?" + _query(2600)),
        _head(_ECGS, "a query of 1,300 parameters", path="/ecg?" + _query(1300)),
        _head(_ECGS, "a query of 4,000 empty parameters", path="/ecg?" + "a&" * 4000),
        _head(_ECGS, "one parameter 2,000 times", path="/ecg?" + "a=1&" * 2000),
        _head(_ECGS, "a query of ampersands", path="/ecg?" + "&" * _LINE),
        _head(_ECGS, "a query of semicolons", path="/ecg?" + ";" * _LINE),
        _head(_ECGS, "a query of percent signs", path="/ecg?limit=" + "%25" * (_LINE // 3)),
        _head(_ECGS, "a limit of many digits", path="/ecg?limit=" + "1" * _LINE),
        _head(_ECGS, "a long cursor", path="/ecg?cursor=" + "A" * _LINE),
        _head(_ECGS, "a cursor of brackets", path="/ecg?cursor=" + "W1tb" * 60),
        _head(_ECGS, "a page of 100", path="/ecg?limit=100"),
        _head(_ECGS, "a page of 100, packed", "Accept-Encoding: gzip", path="/ecg?limit=100"),
        _head("GET /user", "a long cursor", path="/user?cursor=" + "a" * _LINE),
        _head("GET /user", "a page of 1,000", path="/user?limit=1000"),
        _head("GET /user", "a page of 1,000, packed", "Accept-Encoding: gzip", path="/user?limit=1000"),
        _head("GET /user", "a query of 1,300 parameters", path="/user?" + _query(1300)),
        _head("DELETE /user/{name}", "a name of 8,000 octets", path="/user/" + "a" * _LINE),
        _head("DELETE /ecg/{id}", "an id of 8,000 octets", path="/ecg/" + "a" * _LINE),
        _head("GET /docs/{file}", "a file of percent signs", path="/docs/" + "%25" * (_LINE // 3)),
        _head("GET /health/live", "a query of 1,300 parameters", path="/health/live?" + _query(1300)),
        _head("GET /health/ready", "nothing unusual"),
        _head("GET /.well-known/jwks.json", "packed", "Accept-Encoding: gzip"),
        _head("GET /docs", "packed", "Accept-Encoding: gzip"),
        _head("HEAD /docs/swagger-ui-bundle.js", "packed", "Accept-Encoding: gzip"),
        Shape("GET /health/live", "9,000 requests at once", _pipelined, requests=9000),
    ]


def _query(count: int) -> str:
    return "&".join(f"{index:x}=1" for index in range(count))[:_LINE]


def _pipelined(_: str) -> bytes:
    return b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 8999 + b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"


# --- bodies ---


def _ecg(lead: bytes, *, name: bytes = b'"I"', tail: bytes = b"", before: bytes = b"") -> bytes:
    return b'{%s"id":"c","date":"2023-07-30","leads":[{"name":%s,"signal":[%s]}%s]}' % (
        before,
        name,
        lead,
        tail,
    )


def _samples(item: bytes, size: int = _LARGEST_BODY - 300) -> bytes:
    return (item + b",") * (size // (len(item) + 1) - 1) + item


def _in_leads(item: bytes, leads: int, samples: int) -> bytes:
    signal = (item + b",") * (samples - 1) + item
    body = b",".join(b'{"name":"L%d","signal":[%s]}' % (index, signal) for index in range(leads))
    return b'{"id":"c","date":"2023-07-30","leads":[%s]}' % body


_ESCAPED: Final = rb'"I\u0049"'
_NEAR_THE_SMALLEST: Final = b"2.2250738585072011999e-308"


def _bodies() -> list[Shape]:
    submit = partial(_body, _SUBMIT)
    packed = partial(_body, _SUBMIT, pack=gzip.compress)
    gz, zst = "Content-Encoding: gzip", "Content-Encoding: zstd"
    fits = 2_000_000
    return [
        submit("one escape and 4,000,000 fractions", lambda: _ecg(_samples(b"0.5"), name=_ESCAPED)),
        packed(
            "one escape and 4,000,000 fractions, gzip",
            lambda: _ecg(_samples(b"0.5"), name=_ESCAPED),
            _JSON,
            gz,
        ),
        submit("2 leads of 1,000,000 fractions", lambda: _in_leads(b"0.5", 2, 1_000_000), size=8 * _MIB),
        submit("2 leads of 1,000,000 nulls", lambda: _in_leads(b"null", 2, 1_000_000), size=10 * _MIB),
        submit("2 leads of 1,000,000 booleans", lambda: _in_leads(b"true", 2, 1_000_000), size=10 * _MIB),
        submit("2 leads of 1,000,000 texts", lambda: _in_leads(b'""', 2, 1_000_000), size=6 * _MIB),
        submit("2 leads of 1,000,000 empty arrays", lambda: _in_leads(b"[]", 2, 1_000_000), size=6 * _MIB),
        submit("2 leads of integers past 32 bits", lambda: _in_leads(b"9999999", 2, 1_000_000)),
        packed(
            "numbers near the smallest of 64 bits, gzip",
            lambda: _ecg(_samples(_NEAR_THE_SMALLEST)),
            _JSON,
            gz,
        ),
        submit(
            "2 leads of numbers near the smallest of 64 bits",
            lambda: _in_leads(_NEAR_THE_SMALLEST, 2, 300_000),
        ),
        submit(
            "512 KiB of numbers near the smallest of 64 bits",
            lambda: _ecg(_samples(_NEAR_THE_SMALLEST, 523_000)),
            size=523_000,
        ),
        submit(
            "512 KiB of numbers of 23 digits with an exponent",
            lambda: _ecg(_samples(b"12345678901234567890123e5", 523_000)),
            size=523_000,
        ),
        submit(
            "an unknown field of numbers near the smallest of 64 bits, and an escape",
            lambda: _ecg(
                b"1", before=rb'"\u0041":{"a":[%s]},' % b",".join([b"[%s]" % _NEAR_THE_SMALLEST] * 1000)
            ),
            size=30_000,
        ),
        submit("2 leads of exponents", lambda: _in_leads(b"1e1", 2, 1_000_000), size=8 * _MIB),
        submit(
            "as many samples as may be, and one wrong at the end",
            lambda: _in_leads(b"1", 1, fits // 2)[:-4] + b",0.5]}]}",
            size=4 * _MIB,
        ),
        submit("as many samples as may be", lambda: _in_leads(b"1000000", 2, 1_000_000)),
        submit("as many small samples as may be", lambda: _in_leads(b"1", 2, 1_000_000), size=4 * _MIB),
        submit(
            "as many samples as may be, and an escape",
            lambda: _in_leads(b"1000000", 2, 1_000_000).replace(b'"L0"', rb'"L\u0030"'),
        ),
        submit(
            "as many samples as may be, and a repeated key at the end",
            lambda: _in_leads(b"1000000", 2, 1_000_000)[:-1] + b',"id":"d"}',
        ),
        submit("8,000,000 samples", lambda: _ecg(_samples(b"1"))),
        submit("a signal of 16 MiB of digits", lambda: _ecg(b"1" * (_LARGEST_BODY - 300))),
        submit("a signal of numbers of 4,000 digits", lambda: _ecg(_samples(b"1" * 4000))),
        submit("a signal of fractions of 4,000 digits", lambda: _ecg(_samples(b"0." + b"1" * 4000))),
        submit(
            "an escape and a signal of numbers of 4,000 digits",
            lambda: _ecg(_samples(b"1" * 4000), name=_ESCAPED),
        ),
        submit(
            "a number of 16 MiB of digits for a date", lambda: b'{"date":%s}' % (b"1" * (_LARGEST_BODY - 20))
        ),
        submit("16 MiB of white space", lambda: b"{}".rjust(_LARGEST_BODY)),
        submit("16 MiB of line feeds and a wrong end", lambda: b"\n" * (_LARGEST_BODY - 1) + b"x"),
        submit("16 MiB of white space within a signal", lambda: _ecg(b"1" + b" " * (_LARGEST_BODY - 300))),
        submit("16 MiB of white space after each key", lambda: b'{"id" :'.ljust(_LARGEST_BODY - 9) + b'"a"}'),
        submit("nothing but white space", lambda: b" " * _LARGEST_BODY),
        submit("16 MiB of brackets", lambda: b"[" * _LARGEST_BODY),
        submit("8 MiB of empty objects", lambda: b"[" + b"{}," * (_LARGEST_BODY // 3 - 2) + b"{}]"),
        submit(
            "4,000 nested arrays in 16 MiB", lambda: b"[" * 900 + b" " * (_LARGEST_BODY - 1800) + b"]" * 900
        ),
        submit("a name of 16 MiB", lambda: _ecg(b"1", name=b'"%s"' % (b"a" * (_LARGEST_BODY - 300)))),
        submit("a name of 16 MiB of escapes", lambda: _ecg(b"1", name=b'"%s"' % (rb"\u0041" * 2_700_000))),
        submit("a name of 16 MiB past ASCII", lambda: _ecg(b"1", name=('"%s"' % ("é" * 8_000_000)).encode())),
        submit("a name of 16 MiB of backslashes", lambda: _ecg(b"1", name=b'"%s"' % (rb"\\" * 8_000_000))),
        submit(
            "an unknown key of 16 MiB", lambda: _ecg(b"1", before=b'"%s":1,' % (b"~" * (_LARGEST_BODY - 300)))
        ),
        submit(
            "1,500,000 keys", lambda: b"{%s}" % b",".join(b'"%x":1' % index for index in range(1_500_000))
        ),
        submit(
            "1,500,000 keys and an escape",
            lambda: rb'{"\u0041":1,%s}' % b",".join(b'"%x":1' % i for i in range(1_500_000)),
        ),
        submit("2,000 leads", lambda: _ecg(b"1", tail=b',{"name":"I","signal":[1]}' * 2000), size=60_000),
        submit("500,000 leads", lambda: _ecg(b"1", tail=b',{"name":"I","signal":[1]}' * 500_000)),
        submit("32 leads of 32 unknown keys", _unknown_keys, size=40_000),
        submit("32 leads of 30 unknown keys, long", partial(_unknown_keys, 500), size=600_000),
        submit(
            "a list of 8,000,000 numbers for the leads",
            lambda: b'{"id":"a","date":"2023-07-30","leads":[%s]}' % _samples(b"1"),
        ),
        submit("16 MiB of quotation marks", lambda: b'"' * _LARGEST_BODY),
        submit("16 MiB of commas", lambda: b"[" + b"," * (_LARGEST_BODY - 1)),
        submit(
            "512 KiB of fractions and an escape",
            lambda: _ecg(_samples(b"0.5", 523_000), name=_ESCAPED),
            size=523_000,
        ),
        submit(
            "512 KiB of samples and an escape",
            lambda: _ecg(_samples(b"1", 523_000), name=_ESCAPED),
            size=523_000,
        ),
        submit("512 KiB of samples", lambda: _ecg(_samples(b"1", 523_000)), size=523_000),
        submit("512 KiB of empty arrays in a signal", lambda: _ecg(_samples(b"[]", 12_000)), size=12_000),
        submit("512 KiB of white space", lambda: b"{}".rjust(524_000), size=524_000),
        submit(
            "512 KiB of keys",
            lambda: b"{%s}" % b",".join(b'"%x":1' % index for index in range(50_000)),
            size=524_000,
        ),
        packed("1 GiB of zeros, gzip", lambda: bytes(1024 * _MIB), _JSON, gz, size=_LARGEST_BODY),
        _body(
            _SUBMIT, "1 GiB of zeros, zstd", lambda: bytes(1024 * _MIB), _JSON, zst, pack=zstandard.compress
        ),
        _body(
            _SUBMIT,
            "16 MiB of noise in zstd",
            lambda: _noise(_LARGEST_BODY - 4096),
            _JSON,
            zst,
            pack=zstandard.compress,
        ),
        _body(_SUBMIT, "16 MiB of empty blocks in zstd", lambda: b"", _JSON, zst, pack=_zstd_of_nothing),
        _body(_SUBMIT, "16 MiB of blocks of 1 octet in zstd", lambda: b"", _JSON, zst, pack=_zstd_of_octets),
        _body(
            _SUBMIT, "16 MiB of empty stored blocks in gzip", lambda: b"", _JSON, gz, pack=_gzip_of_nothing
        ),
        _body(_SUBMIT, "16 MiB of empty tables in gzip", bytes, _JSON, gz, pack=_tables_of_nothing),
        _body(_SUBMIT, "8 MiB of tables in gzip, each for 13 letters", bytes, _JSON, gz, pack=_tables),
        _body(_SUBMIT, "a window of 8 MiB in zstd", lambda: bytes(100), _JSON, zst, pack=_wide_zstd),
        submit("a Content-Type of semicolons", lambda: b"{}", *_long_fields("Content-Type", ";"), size=2),
        submit(
            "a Content-Type of quotation marks",
            lambda: b"{}",
            f"Content-Type: a/{SALT.decode()};" + '";' * 3900,
            size=2,
        ),
        submit("a Content-Type of continued parameters", lambda: b"{}", _continued(), size=2),
        submit(
            "Content-Encoding 2,600 times",
            lambda: b"{}",
            _JSON,
            f"Content-Encoding: {SALT.decode()}" + "gzip," * 1500,
            size=2,
        ),
        Shape(_SUBMIT, "16,000 chunks of 1 octet", partial(_chunked, b"1\r\n \r\n", 16_000), 16_000),
        Shape(_SUBMIT, "1,000,000 chunks of 1 octet", partial(_chunked, b"1\r\n \r\n", 1_000_000), 1_000_000),
        Shape(
            _SUBMIT,
            "chunk extensions of 16 KiB",
            partial(_chunked, b"1;" + b"a" * 16_000 + b"\r\n \r\n", 1000),
            1000,
        ),
        Shape(_SUBMIT, "trailers", _trailers, 10),
        Shape(_SUBMIT, "trailers behind a body of 1 MiB", partial(_trailers, body=b" " * _MIB), _MIB),
        Shape(
            _TOKEN,
            "1,000,000 chunks of 1 octet",
            partial(_chunked, b"1\r\n \r\n", 1_000_000, _TOKEN),
            1_000_000,
        ),
        _body(
            _SUBMIT,
            "a header of 64 KiB of escapes",
            lambda: _binary(rb'{"\u0041":"%s"}' % (rb"\u0041" * 10_800)),
            _BINARY,
            size=65_000,
        ),
        _body(
            _SUBMIT,
            "a header of 64 KiB of keys",
            lambda: _binary(rb'{"\u0041":1,%s}' % b",".join(b'"%x":1' % i for i in range(7000))),
            _BINARY,
            size=65_000,
        ),
        _body(
            _SUBMIT,
            "a header of 64 KiB of fractions",
            lambda: _binary(rb'{"\u0041":[%s]}' % _samples(b"0.5", 65_000)),
            _BINARY,
            size=65_000,
        ),
        _body(
            _SUBMIT,
            "a header of 64 KiB of numbers past the smallest",
            lambda: _binary(rb'{"\u0041":[%s]}' % _samples(b"1e-400", 65_000)),
            _BINARY,
            size=65_000,
        ),
        _body(_SUBMIT, "a header of unknown keys", lambda: _binary(_unknown_keys()), _BINARY, size=40_000),
        _body(_SUBMIT, "16 MiB of samples in binary", _binary_samples, _BINARY, size=8 * _MIB),
        _body(
            _SUBMIT,
            "16 MiB of samples in binary, gzip",
            _binary_samples,
            _BINARY,
            gz,
            pack=gzip.compress,
            size=8 * _MIB,
        ),
    ]


def _unknown_keys(length: int = 1) -> bytes:
    members = b",".join(b'"%x%s":1' % (index, b"~" * length) for index in range(30))
    leads = b",".join(b'{"name":"L%d","signal":[1],%s}' % (index, members) for index in range(32))
    return b'{"id":"c","date":"2023-07-30","leads":[%s]}' % leads


def _noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)  # noqa: S311 - no secret


def _zstd_header() -> bytes:
    return bytes.fromhex("28b52ffd") + bytes([0x00, 0x58])  # a window of 2 MiB, no size, no checksum


def _zstd_of_nothing(_: bytes) -> bytes:
    blocks = (_LARGEST_BODY - 100) // 3
    return _zstd_header() + bytes([0, 0, 0]) * (blocks - 1) + bytes([1, 0, 0])


def _zstd_of_octets(_: bytes) -> bytes:
    blocks = (_LARGEST_BODY - 100) // 4
    return _zstd_header() + bytes([0x0A, 0, 0, 0x20]) * (blocks - 1) + bytes([0x0B, 0, 0, 0x20])


def _wide_zstd(body: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(body) + packer.flush()


_GZIP_HEADER: Final = bytes.fromhex("1f8b08000000000000ff")


def _gzip_of_nothing(_: bytes) -> bytes:
    blocks = (_LARGEST_BODY - 100) // 5
    return _GZIP_HEADER + bytes.fromhex("000000ffff") * (blocks - 1) + bytes.fromhex("010000ffff") + bytes(8)


def _tables_of_nothing(_: bytes) -> bytes:
    return gzip_of_huffman_tables(_LARGEST_BODY - 100, literals_per_block=0)


def _tables(_: bytes) -> bytes:
    return gzip_of_huffman_tables(_LARGEST_BODY // 2 - 100, literals_per_block=13)


def _continued() -> str:
    return f"Content-Type: a/{SALT.decode()};" + ";".join(f"a*{index}*=%41" for index in range(700))


def _chunked(chunk: bytes, count: int, token: str, route: str = _SUBMIT) -> bytes:
    return _bytes(token, route, _JSON, chunked=True) + chunk * count + b"0\r\n\r\n"


def _trailers(token: str, body: bytes = b"{}") -> bytes:
    head = _bytes(token, _SUBMIT, _JSON, chunked=True)
    return head + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + b"X-A: 1\r\n" * 500_000 + b"\r\n"


def _binary(header: bytes, samples: bytes = b"") -> bytes:
    return struct.pack("<7sBI", b"ISOLINE", 1, len(header)) + header + samples


def _binary_samples() -> bytes:
    header = orjson.dumps(
        {
            "id": "c",
            "date": "2023-07-30",
            "leads": [{"name": f"L{i}", "num_samples": 1_000_000, "sample_type": "int32"} for i in (1, 2)],
        }
    )
    return _binary(header, _noise(8_000_000))


def _small_bodies() -> list[Shape]:
    """What the routes of accounts take."""
    shapes = []
    for route, path in (
        (_TOKEN, ""),
        ("POST /token/refresh", ""),
        ("POST /token/revoke", ""),
        (_USER, ""),
        ("PUT /user/{name}/roles", "/user/eve/roles"),
        ("PUT /user/{name}/password", "/user/eve/password"),
    ):
        body = partial(_body, route, path=path, size=_SMALL_BODY)
        shapes += [
            body("a body of 16 MiB", lambda: b" " * _LARGEST_BODY, size=_LARGEST_BODY),
            body(
                "a password of 16,000 octets",
                lambda: orjson.dumps({"user": "ada", "password": "a" * 16_000, "refresh_token": "a"}),
            ),
            body(
                "2,000 keys and an escape",
                lambda: rb'{"\u0041":1,%s}' % b",".join(b'"%x":1' % i for i in range(1900)),
            ),
            body("an escape and a list of fractions", lambda: rb'{"\u0041":[%s]}' % _samples(b"0.5", 16_000)),
            body("an escape and a list of 1e-400", lambda: rb'{"\u0041":[%s]}' % _samples(b"1e-400", 16_000)),
            body(
                "a list of roles",
                lambda: (
                    b'{"user":"eve","password":"a good password","roles":[%s]}' % _samples(b'"x"', 16_000)
                ),
            ),
            body("brackets", lambda: b"[" * 4000),
            body(
                "empty arrays in gzip",
                lambda: b"[%s]" % _samples(b"[]", 12_000),
                _JSON,
                "Content-Encoding: gzip",
                pack=gzip.compress,
            ),
            body(
                "1 GiB of zeros in gzip",
                lambda: b"",
                _JSON,
                "Content-Encoding: gzip",
                pack=lambda _: gzip.compress(bytes(14 * _MIB)),
            ),
        ]
    return shapes


SHAPES: Final = (
    *_heads(_CONTRACT),
    *_heads(_BUNDLE),
    *_heads(_ECG, "/ecg/warm"),
    *_paths(),
    *_small_bodies(),
    *_bodies(),
)
