from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import QUEUE, open_client, open_test_gateway, problem_of
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_JSON = {"Content-Type": "application/json"}
_GZIP = {**_JSON, "Content-Encoding": "gzip"}
_ZSTD = {**_JSON, "Content-Encoding": "zstd"}
_NO_ZSTD = "The body is declared as zstd and is not, or needs a window of more than 8 MiB (RFC 9659)."
_PACKING: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
}
_MIB = 2**20


def a_lead_body(**fields: Any) -> dict[str, Any]:
    return {"name": "I", "signal": [1, -1, 1], **fields}


def with_lead(**fields: Any) -> dict[str, Any]:
    return an_ecg_body(leads=[a_lead_body(**fields)])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in an_ecg_body().items() if key != name}


def zstd_of_a_wide_window() -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    packer = zstandard.ZstdCompressor(
        compression_params=parameters
    ).compressobj()  # knows no size to narrow it
    return packer.compress(b"{}") + packer.flush()


def ahead(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


async def refused(ada: aiohttp.ClientSession, body: object, status: int = 422) -> dict[str, Any]:
    """The problem of an ECG's submission."""
    async with ada.post("/ecg/process", json=body) as response:
        return await problem_of(response, status)


async def refused_bytes(
    ada: aiohttp.ClientSession,
    body: bytes | BytesIO | AsyncIterator[bytes],
    status: int,
    headers: dict[str, str] | None = None,
) -> str:
    """The detail of the problem of a body."""
    async with ada.post("/ecg/process", data=body, headers=headers or _JSON) as response:
        detail: str = (await problem_of(response, status))["detail"]
    return detail


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (b"", "The body is empty; expected JSON."),
            (b" \n ", "The body is empty; expected JSON."),
            (b"hello", "The body is not JSON: "),
            (b"{'id': 1}", "The body is not JSON: "),
            (b'{"id": "10", ', "The body is not JSON: "),
            (b'{"leads": [{"name": "I", "signal": [1, NaN]}]}', "The body is not JSON: "),
            (b'{"adc_gain": Infinity}', "The body is not JSON: "),
            (b'{"adc_gain": 1e999}', "The body can't be read: "),
            (b'{"id": "\xff"}', "The body is not JSON: "),
            (b'{"id": "\\ud800"}', "The body can't be read: "),
            (b"[" * 2000 + b"]" * 2000, "The body can't be read: "),
            (b'{"id": "10", "id": "11"}', "The key 'id' stands twice in one object."),
            (b'{"id": "10", "\\u0069d": "11"}', "The key 'id' stands twice in one object."),
        ],
    )
    async def test_invalid_json_is_a_400(
        self, ada_alone: aiohttp.ClientSession, body: bytes, detail: str
    ) -> None:
        assert (await refused_bytes(ada_alone, body, 400)).startswith(detail)

    @pytest.mark.parametrize(
        ("content_type", "status"),
        [
            ("application/json", 202),
            ("application/json; charset=utf-8", 202),
            ("application/ld+json", 202),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=x", 415),
        ],
    )
    async def test_the_content_type_must_be_json(
        self, ada: aiohttp.ClientSession, content_type: str, status: int
    ) -> None:
        body = json.dumps(an_ecg_body())

        async with ada.post("/ecg/process", data=body, headers={"Content-Type": content_type}) as response:
            assert response.status == status

    async def test_a_415_names_the_expected_content_type(self, ada_alone: aiohttp.ClientSession) -> None:
        detail = await refused_bytes(ada_alone, b"{}", 415, {"Content-Type": "text/csv"})

        assert detail == "The body is declared as text/csv; expected Content-Type: application/json."

    async def test_a_declared_size_past_the_limit_is_refused_before_the_body_is_read(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        detail = await refused_bytes(ada_alone, BytesIO(b" " * 17 * _MIB), 413)

        assert detail == "The body, unpacked, may have 16777216 bytes at most."

    async def test_a_chunked_body_is_refused_at_the_limit(self, ada_alone: aiohttp.ClientSession) -> None:
        async def seventeen_mebibytes() -> AsyncIterator[bytes]:
            for _ in range(17):
                yield b" " * _MIB

        detail = await refused_bytes(ada_alone, seventeen_mebibytes(), 413)

        assert detail == "The body, unpacked, may have 16777216 bytes at most."

    async def test_a_gzip_bomb_is_too_large(self, ada_alone: aiohttp.ClientSession) -> None:
        packed = gzip.compress(b" " * 64 * _MIB, mtime=0)
        assert len(packed) < 100_000

        detail = await refused_bytes(ada_alone, packed, 413, _GZIP)

        assert detail == "The body, unpacked, may have 16777216 bytes at most."

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (gzip.compress(b'{"id": "10"}', mtime=0)[:-9], "The gzip body breaks off before its end."),
            (gzip.compress(b'{"id": "10"}', mtime=0)[:5], "The gzip body breaks off before its end."),
            (b'{"id": "10"}', "The body is declared as gzip and is not."),
            (zlib.compress(b'{"id": "10"}'), "The body is declared as gzip and is not."),
            (
                gzip.compress(b"{}", mtime=0) + gzip.compress(b"{}", mtime=0),
                "Something follows the end of the gzip body; send all of it as one gzip member.",
            ),
            (gzip.compress(b"", mtime=0), "The body is empty; expected JSON."),
        ],
    )
    async def test_anything_but_one_complete_gzip_member_is_a_400(
        self, ada_alone: aiohttp.ClientSession, body: bytes, detail: str
    ) -> None:
        assert await refused_bytes(ada_alone, body, 400, _GZIP) == detail

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (zstandard.compress(b'{"id": "10"}')[:-1], "The zstd body breaks off before its end."),
            (b"", "The zstd body breaks off before its end."),
            (b'{"id": "10"}', _NO_ZSTD),
            (zstd_of_a_wide_window(), _NO_ZSTD),
            (
                zstandard.compress(b"{}") + zstandard.compress(b"{}"),
                "Something follows the end of the zstd body; send all of it as one zstd frame.",
            ),
            (zstandard.compress(b""), "The body is empty; expected JSON."),
        ],
    )
    async def test_anything_but_one_complete_zstd_frame_is_a_400(
        self, ada_alone: aiohttp.ClientSession, body: bytes, detail: str
    ) -> None:
        assert await refused_bytes(ada_alone, body, 400, _ZSTD) == detail

    async def test_a_zstd_bomb_is_too_large(self, ada_alone: aiohttp.ClientSession) -> None:
        packed = zstandard.compress(b" " * 1024 * _MIB)
        assert len(packed) < 100_000

        detail = await refused_bytes(ada_alone, packed, 413, _ZSTD)

        assert detail == "The body, unpacked, may have 16777216 bytes at most."

    @pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd"])
    async def test_an_unsupported_content_encoding_is_a_415(
        self, ada_alone: aiohttp.ClientSession, encoding: str
    ) -> None:
        headers = {**_JSON, "Content-Encoding": encoding}
        async with ada_alone.post("/ecg/process", data=b"{}", headers=headers) as response:
            problem = await problem_of(response, 415)

        assert problem["detail"] == (
            f"Content-Encoding '{encoding}' is not known here; send gzip or zstd or none."
        )
        assert response.headers["Accept-Encoding"] == "gzip, zstd"

    @pytest.mark.parametrize("encoding", ["x-gzip", "X-Gzip"])
    async def test_x_gzip_is_gzip(self, ada_alone: aiohttp.ClientSession, encoding: str) -> None:
        headers = {**_JSON, "Content-Encoding": encoding}

        detail = await refused_bytes(ada_alone, gzip.compress(b""), 400, headers)

        assert detail == "The body is empty; expected JSON."

    async def test_encodings_in_two_fields_are_two_encodings(self, ada_alone: aiohttp.ClientSession) -> None:
        headers = [*_JSON.items(), ("Content-Encoding", "gzip"), ("Content-Encoding", "zstd")]
        async with ada_alone.post("/ecg/process", data=gzip.compress(b"{}"), headers=headers) as response:
            problem = await problem_of(response, 415)

        assert problem["detail"].startswith("Content-Encoding 'gzip, zstd' is not known here")

    @pytest.mark.parametrize(
        "headers",
        [_GZIP, _ZSTD, _ZSTD | {"Content-Encoding": "ZSTD"}, _JSON | {"Content-Encoding": "identity"}],
    )
    async def test_a_compressed_body_is_accepted(
        self, ada: aiohttp.ClientSession, headers: dict[str, str]
    ) -> None:
        packed = _PACKING[headers["Content-Encoding"].lower()](json.dumps(an_ecg_body()).encode())

        async with ada.post("/ecg/process", data=packed, headers=headers) as response:
            assert response.status == 202

    @pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
    async def test_a_body_may_be_exactly_as_long_as_the_limit(
        self, database: Database, broker: InProcessBroker, encoding: str
    ) -> None:
        pack = _PACKING[encoding]
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, max_body_bytes=2000)
        exact = json.dumps(an_ecg_body()).encode().ljust(2000)

        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            headers = {**_JSON, "Content-Encoding": encoding}
            async with ada.post("/ecg/process", data=pack(exact), headers=headers) as response:
                assert response.status == 202
            await refused_bytes(ada, pack(exact + b" "), 413, headers)


class TestFields:
    @pytest.mark.parametrize(
        ("body", "pointer", "detail"),
        [
            ([], "", "expected an object, found an array"),
            ("10", "", "expected an object, found a string"),
            (without("id"), "/id", "this field is required"),
            (without("date"), "/date", "this field is required"),
            (without("leads"), "/leads", "this field is required"),
            (an_ecg_body(patient="x"), "/patient", "this field is not known here"),
            (an_ecg_body(**{"a/b~c": 1}), "/a~1b~0c", "this field is not known here"),
            (with_lead(color="red"), "/leads/0/color", "this field is not known here"),
            (an_ecg_body(leads=[]), "/leads", "expected 1 or more, found 0"),
            (an_ecg_body(leads={}), "/leads", "expected a valid list, found an object"),
            (an_ecg_body(leads=[None]), "/leads/0", "expected an object, found null"),
            (
                an_ecg_body(leads=[a_lead_body(name=str(n)) for n in range(33)]),
                "/leads",
                "expected 1 to 32 leads, found 33",
            ),
            (an_ecg_body(date=5), "/date", "expected a valid string, found an integer"),
            (an_ecg_body(sampling_rate_hz=0.5), "/sampling_rate_hz", "greater than or equal to 1"),
            (an_ecg_body(sampling_rate_hz=10_001), "/sampling_rate_hz", "less than or equal to 10000"),
            (an_ecg_body(sampling_rate_hz="500"), "/sampling_rate_hz", "found a string"),
            (an_ecg_body(unit="V"), "/unit", "expected 'uV' or 'mV'"),
            (with_lead(adc_gain=0), "/leads/0/adc_gain", "expected a number greater than 0"),
            (with_lead(adc_gain=-0.0), "/leads/0/adc_gain", "leave out adc_gain and unit"),
            (with_lead(adc_gain=-1), "/leads/0/adc_gain", "expected a number greater than 0"),
            (with_lead(adc_gain=-0.5), "/leads/0/adc_gain", "send 2 * baseline - sample"),
            (with_lead(adc_gain=True), "/leads/0/adc_gain", "found a boolean"),
            (with_lead(baseline=2**31), "/leads/0/baseline", "less than or equal to 2147483647"),
            (with_lead(baseline=-(2**31) - 1), "/leads/0/baseline", "or equal to -2147483648"),
            (with_lead(baseline=1.5), "/leads/0/baseline", "found a number with a fraction"),
            (with_lead(missing_value=-(2**31) - 1), "/leads/0/missing_value", "or equal to -2147483648"),
            (with_lead(missing_value=1.0), "/leads/0/missing_value", "found a number with a fraction"),
            (with_lead(missing_value=True), "/leads/0/missing_value", "found a boolean"),
            (with_lead(sampling_rate_hz=0), "/leads/0/sampling_rate_hz", "greater than or equal to 1"),
            (with_lead(sampling_rate_hz=10_000.5), "/leads/0/sampling_rate_hz", "or equal to 10000"),
            (with_lead(sampling_rate_hz="500"), "/leads/0/sampling_rate_hz", "found a string"),
            (with_lead(num_samples=2), "/leads/0/num_samples", "the signal has 3 samples, not 2"),
            (with_lead(num_samples=1), "/leads/0/num_samples", "the signal has 3 samples, not 1"),
            (with_lead(num_samples="3"), "/leads/0/num_samples", "found a string"),
            (with_lead(signal="123", num_samples=2), "/leads/0/signal", "found a string"),
            (with_lead(num_samples=3.0), "/leads/0/num_samples", "found a number with a fraction"),
            (with_lead(num_samples=0), "/leads/0/num_samples", "or equal to 1"),
            (with_lead(num_samples=True), "/leads/0/num_samples", "found a boolean"),
        ],
    )
    async def test_an_invalid_field_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, body: object, pointer: str, detail: str
    ) -> None:
        problem = await refused(ada_alone, body)

        assert problem["detail"] == "The body does not fit: 1 problem, see errors."
        [error] = problem["errors"]
        assert error["pointer"] == pointer
        assert detail in error["detail"]

    @pytest.mark.parametrize(
        ("signal", "pointer", "found"),
        [
            ([1, "2"], "/leads/0/signal/1", "a string"),
            ([1.0, 2], "/leads/0/signal/0", "a number with a fraction or past 64 bits"),
            ([1, 2, True], "/leads/0/signal/2", "a boolean"),
            ([1, None, None], "/leads/0/signal/1", "null (and 1 more)"),
            ([[1]], "/leads/0/signal/0", "an array"),
            ([{}], "/leads/0/signal/0", "an object"),
            ([2**31], "/leads/0/signal/0", "an integer past 32 bits"),
            ([-(2**31) - 1], "/leads/0/signal/0", "an integer past 32 bits"),
            ([0, 2**63], "/leads/0/signal/1", "an integer past 32 bits"),
            ([-(2**31), 2**31 - 1, None], "/leads/0/signal/2", "null"),
            ([2**64], "/leads/0/signal/0", "a number with a fraction or past 64 bits"),
            ([-(2**63) - 1], "/leads/0/signal/0", "a number with a fraction or past 64 bits"),
        ],
    )
    async def test_the_first_sample_that_is_no_integer_of_32_bits_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, signal: list[object], pointer: str, found: str
    ) -> None:
        problem = await refused(ada_alone, with_lead(signal=signal))

        expected = f"expected an integer from -2147483648 to 2147483647, found {found}"
        assert problem["errors"] == [{"pointer": pointer, "detail": expected}]

    @pytest.mark.parametrize(
        ("signal", "detail"),
        [
            ([], "expected 1 to 1000000 samples, found 0"),
            (None, "expected an array of integers, found null"),
            ("1,2", "expected an array of integers, found a string"),
            (5, "expected an array of integers, found an integer"),
        ],
    )
    async def test_an_invalid_signal_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, signal: object, detail: str
    ) -> None:
        problem = await refused(ada_alone, with_lead(signal=signal))

        assert problem["errors"] == [{"pointer": "/leads/0/signal", "detail": detail}]

    async def test_the_extremes_of_every_field_are_accepted(self, ada: aiohttp.ClientSession) -> None:
        lead = a_lead_body(
            name="x" * 32,
            signal=[2**31 - 1, -(2**31)],
            num_samples=2,
            baseline=-(2**31),
            adc_gain=0.001,
            sampling_rate_hz=1,
            missing_value=2**31 - 1,
        )
        body = an_ecg_body(
            id="x" * 128,
            date=ahead(23),
            sampling_rate_hz=10_000,
            unit="mV",
            leads=[lead, *(a_lead_body(name=str(n)) for n in range(31))],
        )

        async with ada.post("/ecg/process", json=body) as response:
            assert response.status == 202

    async def test_a_null_field_counts_as_absent(self, ada: aiohttp.ClientSession) -> None:
        lead = a_lead_body(
            num_samples=None, baseline=None, adc_gain=None, sampling_rate_hz=None, missing_value=None
        )
        body = an_ecg_body(sampling_rate_hz=None, unit=None, leads=[lead])

        async with ada.post("/ecg/process", json=body) as response:
            assert response.status == 202

    async def test_lead_names_are_unique_ignoring_case(self, ada_alone: aiohttp.ClientSession) -> None:
        leads = [a_lead_body(name="avR"), a_lead_body(name="I"), a_lead_body(name="aVR")]

        problem = await refused(ada_alone, an_ecg_body(leads=leads))

        assert [error["pointer"] for error in problem["errors"]] == ["/leads/0/name", "/leads/2/name"]
        assert "ignoring case" in problem["errors"][0]["detail"]

    async def test_two_names_of_one_lead_are_refused_as_a_repeated_name(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        leads = [a_lead_body(name=name) for name in ("MDC_ECG_ELEC_POTL_I", "II", "ECG I", "-I")]

        problem = await refused(ada_alone, an_ecg_body(leads=leads))

        assert [error["pointer"] for error in problem["errors"]] == ["/leads/0/name", "/leads/2/name"]

    @pytest.mark.parametrize("name", ["", "x" * 33, "a\0b", "a\nb", "a\x1bb", "\u200b", 5, None])
    async def test_a_lead_has_a_name_of_1_to_32_printable_characters(
        self, ada_alone: aiohttp.ClientSession, name: object
    ) -> None:
        problem = await refused(ada_alone, with_lead(name=name))

        assert [error["pointer"] for error in problem["errors"]] == ["/leads/0/name"]

    @pytest.mark.parametrize(
        "ecg_id",
        ["a/b", "", "x" * 129, "a b", "a\0", "a\n", "ü", ".", "..", None, True, 1.5, 2**64, [], "a%2Fb"],
    )
    async def test_an_id_is_1_to_128_of_few_characters_or_an_integer(
        self, ada_alone: aiohttp.ClientSession, ecg_id: object
    ) -> None:
        problem = await refused(ada_alone, an_ecg_body(id=ecg_id))

        expected = "expected 1 to 128 of A-Z a-z 0-9 . _ : - (and not . or .. alone) or an integer of 64 bits"
        assert problem["errors"] == [{"pointer": "/id", "detail": expected}]

    @pytest.mark.parametrize(
        "date",
        [
            "2023-07-30",
            "2023-07-30T10:00",
            "2023-07-30T10:00:00Z",
            "2023-07-30T10:00:00.123456+02:00",
            "20230730",
            "0001-01-01T00:00:00+14:00",
        ],
    )
    async def test_a_date_is_an_iso_8601_date_or_date_time(
        self, ada: aiohttp.ClientSession, date: str
    ) -> None:
        async with ada.post("/ecg/process", json=an_ecg_body(date=date)) as response:
            assert response.status == 202

    @pytest.mark.parametrize(
        "date",
        [
            "",
            "yesterday",
            "30.07.2023",
            "2023-02-30",
            "2023-07-30T25:00",
            "2023-07-30x10:00",
            "2023-07-30\x0010:00",
        ],
    )
    async def test_an_invalid_date_is_refused_with_an_example(
        self, ada: aiohttp.ClientSession, date: str
    ) -> None:
        problem = await refused(ada, an_ecg_body(date=date))

        expected = "expected an ISO 8601 date or date-time, e.g. 2023-07-30"
        assert problem["errors"] == [{"pointer": "/date", "detail": expected}]

    async def test_a_date_is_not_more_than_24_hours_ahead(self, ada_alone: aiohttp.ClientSession) -> None:
        problem = await refused(ada_alone, an_ecg_body(date=ahead(25)))

        expected = "this date is more than 24 hours ahead"
        assert problem["errors"] == [{"pointer": "/date", "detail": expected}]

    async def test_the_latest_possible_date_with_an_offset_is_ahead(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        problem = await refused(ada_alone, an_ecg_body(date="9999-12-31T23:59:59-12:00"))

        assert problem["errors"][0]["detail"] == "this date is more than 24 hours ahead"

    async def test_all_problems_are_reported_at_once(self, ada_alone: aiohttp.ClientSession) -> None:
        body = {
            "date": "tomorrow",
            "unit": "V",
            "leads": [
                {"name": "I", "signal": [1, 2.5], "num_samples": 7},
                {"name": "i", "signal": [], "gain": 1},
                5,
            ],
        }

        problem = await refused(ada_alone, body)

        assert sorted(error["pointer"] for error in problem["errors"]) == [
            "/date",
            "/id",
            "/leads/0/name",
            "/leads/0/num_samples",
            "/leads/0/signal/1",
            "/leads/1/gain",
            "/leads/1/name",
            "/leads/1/signal",
            "/leads/2",
            "/unit",
        ]
        assert problem["detail"] == "The body does not fit: 10 problems, see errors."

    async def test_many_unknown_fields_are_one_problem(self, ada_alone: aiohttp.ClientSession) -> None:
        problem = await refused(ada_alone, {str(n): n for n in range(2000)})

        assert problem["errors"] == [{"pointer": "", "detail": "an object here has more than 32 fields"}]

    async def test_many_unknown_fields_of_one_lead_are_one_problem(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        leads = [a_lead_body(), a_lead_body(**{str(n): n for n in range(31)})]

        problem = await refused(ada_alone, an_ecg_body(leads=leads))

        assert problem["errors"] == [
            {"pointer": "/leads", "detail": "an object here has more than 32 fields"}
        ]

    async def test_a_refused_ecg_is_neither_stored_nor_announced(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        await refused(ada, with_lead(num_samples=2))

        async with ada.get("/ecg/10") as response:
            assert response.status == 404
        assert broker.waiting(QUEUE) == []


class TestLimits:
    @pytest.fixture
    async def ada(self, database: Database, broker: InProcessBroker) -> AsyncIterator[aiohttp.ClientSession]:
        """A client of a gateway with very low limits."""
        settings = GatewayOnlySettings(
            host="127.0.0.1", port=0, max_leads=2, max_lead_samples=3, max_ecg_samples=5
        )
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as client,
        ):
            yield client

    async def test_leads_are_limited(self, ada: aiohttp.ClientSession) -> None:
        leads = [a_lead_body(name=name, signal=[1]) for name in "abc"]

        problem = await refused(ada, an_ecg_body(leads=leads))

        expected = "expected 1 to 2 leads, found 3"
        assert problem["errors"] == [{"pointer": "/leads", "detail": expected}]

    async def test_samples_of_one_lead_are_limited(self, ada: aiohttp.ClientSession) -> None:
        problem = await refused(ada, with_lead(signal=[1, 2, 3, 4]))

        expected = "expected 1 to 3 samples, found 4"
        assert problem["errors"] == [{"pointer": "/leads/0/signal", "detail": expected}]

    async def test_samples_in_all_leads_are_limited(self, ada: aiohttp.ClientSession) -> None:
        leads = [a_lead_body(name="a"), a_lead_body(name="b")]

        problem = await refused(ada, an_ecg_body(leads=leads))

        expected = "expected at most 5 samples in all leads, found 6"
        assert problem["errors"] == [{"pointer": "/leads", "detail": expected}]

    async def test_an_ecg_at_every_limit_is_accepted(self, ada: aiohttp.ClientSession) -> None:
        leads = [a_lead_body(name="a"), a_lead_body(name="b", signal=[1, 2])]

        async with ada.post("/ecg/process", json=an_ecg_body(leads=leads)) as response:
            assert response.status == 202


class TestSecrecy:
    async def test_a_problem_never_quotes_the_body(self, ada_alone: aiohttp.ClientSession) -> None:
        canaries = [
            with_lead(signal=[776655, 3.25, "canary"]),
            with_lead(signal=776655),
            with_lead(signal={"776655": 1}),
            with_lead(name="canary\0", baseline="canary", adc_gain="canary"),
            an_ecg_body(id="canary/", date="canary", unit="canary", sampling_rate_hz="canary"),
            an_ecg_body(leads="canary"),
            "canary",
        ]

        for body in canaries:
            async with ada_alone.post("/ecg/process", json=body) as response:
                text = await response.text()
            assert response.status == 422
            assert "canary" not in text
            assert "776655" not in text

    async def test_a_truncated_body_is_not_quoted(self, ada_alone: aiohttp.ClientSession) -> None:
        detail = await refused_bytes(ada_alone, b'{"leads": [{"signal": [776655, canary', 400)

        assert "776655" not in detail
        assert "canary" not in detail
