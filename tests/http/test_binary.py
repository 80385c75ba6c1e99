"""ECGs in binary form: the same ECGs, and longer ones."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import zstandard

from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import (
    open_client,
    open_gateway_alone,
    open_raw,
    open_test_gateway,
    problem_of,
)
from tests.support.builders import a_binary_body, a_binary_ecg, an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_BINARY: Final = {"Content-Type": "application/vnd.isoline.ecg"}
_PACKING: Final[dict[str, Callable[[bytes], bytes]]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
}
_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "binary.md"
_LIMIT_S: Final = 20
# More than 10 samples go to disk, and parts of a recording are crossed by hand in `tests.contracts`.
_SHORT: Final = {"max_lead_samples": 6, "max_ecg_samples": 10}
# One caller may hold a quarter of it, as much as the longest recording takes.
_LITTLE_DISK: Final = {"max_spooled_bytes": 2**20, "max_recording_samples": 2**16}
_ORDINARY: Final = an_ecg_body(
    leads=[
        {"name": "I", "signal": [1, -1, 1], "baseline": 0, "adc_gain": 200},
        {"name": "II", "signal": [1024, 1030, 1020, 1024, 1025], "baseline": 1024},
    ]
)
_LONG: Final = an_ecg_body(
    leads=[
        {"name": "I", "signal": [1, -1] * 50},
        {"name": "II", "signal": [1023, 1024, 1025] * 40, "baseline": 1024, "adc_gain": 0.5},
    ],
    sampling_rate_hz=250,
    unit="mV",
)
_CROSSINGS_OF_LONG: Final = [{"I": {"zero_crossings": 99}}, {"II": {"zero_crossings": 79}}]

# Optional fields of a header: a lead's own rate, missing samples, another name.
_GAPS: Final = an_ecg_body(
    leads=[
        {
            "name": "MDC_ECG_ELEC_POTL_I",
            "signal": [1, -1, 5, 1],
            "missing_value": 5,
            "sampling_rate_hz": 62.5,
        },
        {"name": "Lead aVR", "signal": [1, -1, 1], "missing_value": -32768},
    ]
)
_FOUND_IN_GAPS: Final = [
    {
        "MDC_ECG_ELEC_POTL_I": {
            "zero_crossings": 1,
            "warnings": ["missing_samples"],
            "missing_samples": 1,
            "canonical_name": "I",
        }
    },
    {"Lead aVR": {"zero_crossings": 2, "canonical_name": "aVR"}},
]


def header(**fields: Any) -> dict[str, Any]:
    """A header of one lead of three samples, which are 6 bytes; ``fields`` win."""
    lead = {"name": "I", "num_samples": 3, "sample_type": "int16"}
    return {"id": "10", "date": "2023-07-30", "leads": [lead], **fields}


def with_lead(**fields: Any) -> dict[str, Any]:
    return header(leads=[{"name": "I", "num_samples": 3, "sample_type": "int16", **fields}])


@asynccontextmanager
async def open_gateway_on(
    database: Database, broker: InProcessBroker, **settings: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway with the given settings."""
    async with (
        open_test_gateway(
            database,
            broker.publisher(),
            settings=GatewayOnlySettings(host="127.0.0.1", port=0, **settings),
        ) as address,
        open_client(address, "ada") as ada,
    ):
        yield ada


@asynccontextmanager
async def open_alone(**settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway without database or broker."""
    async with open_gateway_alone(**settings) as address, open_client(address, "ada") as ada:
        yield ada


async def posted(ada: aiohttp.ClientSession, body: Any, **headers: str) -> tuple[int, Any]:
    async with ada.post("/ecg/process", data=body, headers=_BINARY | headers) as response:
        return response.status, await response.json(content_type=None)


async def refused(ada: aiohttp.ClientSession, body: Any, status: int, **headers: str) -> dict[str, Any]:
    async with ada.post("/ecg/process", data=body, headers=_BINARY | headers) as response:
        return await problem_of(response, status)


async def rows(database: Database) -> list[int]:
    async with database.connection() as connection:
        tables = ("ecg", "ecg_signal", "recording_part")
        return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(0)


class TestTheSameEcg:
    @pytest.mark.parametrize("sample_type", ["int16", "int32"])
    async def test_is_the_same_in_binary_form_as_in_json(
        self, ada: aiohttp.ClientSession, sample_type: str
    ) -> None:
        async with ada.post("/ecg/process", json=_ORDINARY) as response:
            assert response.status == 202
        body = a_binary_ecg(_ORDINARY, sample_type=sample_type)

        assert await posted(ada, body) == (202, {"id": "10", "status": "queued"})
        other = a_binary_ecg({**_ORDINARY, "date": "2023-07-31"}, sample_type=sample_type)
        assert (await refused(ada, other, 409))["detail"].startswith("You have another ECG")

    @pytest.mark.usefixtures("processor")
    async def test_is_measured_in_binary_form_as_in_json(self, ada: aiohttp.ClientSession) -> None:
        await posted(ada, a_binary_ecg(_ORDINARY))

        async with ada.get("/ecg/10", params={"wait": "10"}) as response:
            found = await response.json()
        assert found["leads"] == [{"I": {"zero_crossings": 2}}, {"II": {"zero_crossings": 2}}]

    @pytest.mark.parametrize("encoding", _PACKING)
    @pytest.mark.parametrize("ecg", [_ORDINARY, _LONG])
    async def test_may_arrive_in_any_pieces_compressed_or_not(
        self, database: Database, broker: InProcessBroker, encoding: str, ecg: dict[str, Any]
    ) -> None:
        body = _PACKING[encoding](a_binary_ecg(ecg))
        async with open_gateway_on(database, broker, **_SHORT) as ada:
            for size in (1, 7, 10_000):
                assert await posted(ada, in_pieces(body, size), **{"Content-Encoding": encoding}) == (
                    202,
                    {"id": "10", "status": "queued"},
                )

        assert (await rows(database))[0] == 1

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    async def test_may_be_compressed_with_its_length_stated(
        self, ada: aiohttp.ClientSession, encoding: str
    ) -> None:
        body = _PACKING[encoding](a_binary_ecg(_ORDINARY))

        assert (await posted(ada, body, **{"Content-Encoding": encoding}))[0] == 202

    async def test_may_have_leads_of_both_widths(self, ada: aiohttp.ClientSession) -> None:
        leads = [
            {"name": "I", "num_samples": 2, "sample_type": "int16"},
            {"name": "II", "num_samples": 2, "sample_type": "int32"},
        ]
        samples = b"\x01\x00\xff\xff" + b"\xa0\x86\x01\x00" + b"\x00\x00\x00\x80"

        assert (await posted(ada, a_binary_body(header(leads=leads), samples)))[0] == 202

        as_json = an_ecg_body(
            leads=[{"name": "I", "signal": [1, -1]}, {"name": "II", "signal": [100_000, -(2**31)]}]
        )
        async with ada.post("/ecg/process", json=as_json) as response:
            assert response.status == 202


class TestAnOptionalHeaderField:
    @pytest.mark.usefixtures("processor")
    @pytest.mark.parametrize("limits", [{}, _SHORT], ids=["held", "spooled"])
    async def test_is_stored_and_used_in_either_form(
        self, database: Database, broker: InProcessBroker, limits: dict[str, int]
    ) -> None:
        async with open_gateway_on(database, broker, **(limits and {**limits, "max_ecg_samples": 6})) as ada:
            assert (await posted(ada, a_binary_ecg(_GAPS)))[0] == 202
            async with ada.get("/ecg/10", params={"wait": "10"}) as response:
                in_binary_form = await response.json()
        async with open_gateway_on(database, broker) as ada:
            async with ada.post("/ecg/process", json=_GAPS) as response:  # the same content is the same ECG
                assert (response.status, await response.json()) == (202, {"id": "10", "status": "completed"})
            async with ada.post("/ecg/process", json={**_GAPS, "id": "11"}) as response:
                assert response.status == 202
            async with ada.get("/ecg/11", params={"wait": "10"}) as response:
                in_json = await response.json()

        assert in_binary_form["leads"] == in_json["leads"] == _FOUND_IN_GAPS


class TestTheSpecification:
    async def test_shows_bytes_that_are_accepted(self, ada: aiohttp.ClientSession) -> None:
        dump = re.findall(r"^[0-9a-f]{8}  ([0-9a-f ]+?) *\|", _DOCUMENT.read_text(), re.MULTILINE)

        assert (await posted(ada, bytes.fromhex("".join(dump))))[0] == 202
        async with ada.post("/ecg/process", json=an_ecg_body()) as response:
            assert response.status == 202

    async def test_shows_code_whose_bytes_are_accepted(self, ada: aiohttp.ClientSession) -> None:
        [code] = re.findall(r"```python\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
        made: dict[str, Any] = {}
        exec(code, made)  # noqa: S102 - ours

        assert (await posted(ada, made["body"]))[0] == 202
        leads = [{"name": "I", "signal": [1, -1, 1]}, {"name": "II", "signal": [2, -2]}]
        async with ada.post("/ecg/process", json=an_ecg_body(leads=leads)) as response:
            assert response.status == 202


class TestAGenericContentType:
    @pytest.mark.parametrize("declared", ["application/octet-stream", None])
    @pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
    async def test_is_resolved_by_the_first_bytes(
        self, database: Database, broker: InProcessBroker, declared: str | None, piece_bytes: int
    ) -> None:
        headers = {"Content-Type": declared} if declared else {}
        async with (
            open_gateway_on(database, broker, **_SHORT) as ada,
            ada.post(
                "/ecg/process",
                data=in_pieces(a_binary_ecg(_LONG), piece_bytes),
                headers=headers,
                skip_auto_headers=["Content-Type"],
            ) as response,
        ):
            assert response.status == 202

        assert await rows(database) == [1, 1, 2]

    @pytest.mark.parametrize("body", [json.dumps(an_ecg_body()).encode(), b"ISOLIN"])
    async def test_with_unknown_first_bytes_is_refused(
        self, ada_alone: aiohttp.ClientSession, body: bytes
    ) -> None:
        problem = await refused(ada_alone, body, 415, **{"Content-Type": "application/octet-stream"})

        assert problem["detail"].endswith("expected Content-Type: application/json.")

    @pytest.mark.parametrize("size", [1, 10_000])
    async def test_that_is_absent_is_json(self, ada: aiohttp.ClientSession, size: int) -> None:
        body = json.dumps(an_ecg_body()).encode()
        async with ada.post(
            "/ecg/process", data=in_pieces(body, size), skip_auto_headers=["Content-Type"]
        ) as response:
            assert response.status == 202

    async def test_may_be_of_a_format_with_a_higher_limit_than_the_others(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        body = a_binary_ecg(an_ecg_body(leads=[{"name": "I", "signal": [1, -1] * 300}]))
        assert len(body) > 1024
        generic = {"Content-Type": "application/octet-stream"}

        async with open_gateway_on(database, broker, max_body_bytes=1024) as ada:
            assert (await posted(ada, body, **generic))[0] == 202

    @pytest.mark.parametrize(
        ("encoding", "detail"),
        [
            ("", "The body, unpacked, may have 16777216 bytes at most."),
            ("Content-Encoding: gzip\r\n", "The body, packed, may have 8388608 bytes at most."),
        ],
    )
    async def test_is_refused_unread_past_the_limits_of_all_formats(self, encoding: str, detail: str) -> None:
        async with (
            asyncio.timeout(_LIMIT_S),
            open_alone(max_recording_samples=1) as ada,
            open_raw(str(ada._base_url)) as (reader, writer),
        ):
            head = _head(ada, 2**24 + 1, more=encoding)
            writer.write(head.replace(b"vnd.isoline.ecg", b"octet-stream"))
            response = await reader.read()

        assert response.startswith(b"HTTP/1.1 413 ")
        assert detail in response.decode()

    async def test_is_no_other_content_type_that_is_unknown(self, ada_alone: aiohttp.ClientSession) -> None:
        await refused(ada_alone, a_binary_ecg(_ORDINARY), 415, **{"Content-Type": "text/csv"})

    async def test_sends_100_continue_once(self, database: Database, broker: InProcessBroker) -> None:
        body = a_binary_ecg(_LONG)
        async with (
            asyncio.timeout(_LIMIT_S),
            open_gateway_on(database, broker) as ada,
            open_raw(str(ada._base_url)) as (reader, writer),
        ):
            writer.write(_head(ada, len(body), expect=True).replace(b"vnd.isoline.ecg", b"octet-stream"))
            assert b" 100 " in await reader.readline()
            writer.write(body[:3])
            await writer.drain()
            writer.write(body[3:])
            response = await reader.readuntil(b"}")

        assert response.count(b"HTTP/1.1 ") == 1
        assert b" 202 " in response


class TestALongRecording:
    @pytest.mark.usefixtures("processor")
    @pytest.mark.parametrize("sample_type", ["int16", "int32"])
    async def test_is_measured_as_a_whole(
        self, database: Database, broker: InProcessBroker, sample_type: str
    ) -> None:
        async with open_gateway_on(database, broker, **_SHORT) as ada:
            assert (await posted(ada, a_binary_ecg(_LONG, sample_type=sample_type)))[0] == 202
            async with ada.get("/ecg/10", params={"wait": "10"}) as response:
                found = await response.json()

        assert found["leads"] == _CROSSINGS_OF_LONG
        assert await rows(database) == [1, 1, 2]

    async def test_is_the_same_ecg_in_either_form_each_time(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        async with ada.post("/ecg/process", json=_LONG) as response:
            assert response.status == 202
        async with open_gateway_on(database, broker, **_SHORT) as at_another:
            assert (await posted(at_another, a_binary_ecg(_LONG)))[0] == 202
            assert (await posted(at_another, a_binary_ecg(_LONG, sample_type="int32")))[0] == 202
            other = a_binary_ecg({**_LONG, "unit": "uV"})
            await refused(at_another, other, 409)

        assert await rows(database) == [1, 1, 0]

    async def test_submitted_twice_at_once_is_stored_once(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        async with open_gateway_on(database, broker, **_SHORT) as ada:
            responses = await asyncio.gather(*(posted(ada, a_binary_ecg(_LONG)) for _ in range(4)))

        assert [status for status, _ in responses] == [202] * 4
        assert await rows(database) == [1, 1, 2]

    async def test_is_another_ecg_for_another_owner(
        self, database: Database, broker: InProcessBroker, bob: aiohttp.ClientSession
    ) -> None:
        async with open_gateway_on(database, broker, **_SHORT) as ada:
            await posted(ada, a_binary_ecg(_LONG))

        async with bob.get("/ecg/10") as response:
            await problem_of(response, 404)
        assert (await posted(bob, a_binary_ecg(an_ecg_body())))[0] == 202

    async def test_can_be_erased_and_its_id_submitted_again(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        async with open_gateway_on(database, broker, **_SHORT) as ada:
            await posted(ada, a_binary_ecg(_LONG))
            async with ada.delete("/ecg/10") as response:
                assert response.status == 204
            assert await rows(database) == [1, 0, 0]

            assert (await posted(ada, a_binary_ecg({**_LONG, "unit": "uV"})))[0] == 202

    async def test_whose_client_disconnects_half_way_leaves_nothing(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        leads = [{"name": "I", "num_samples": 50_000, "sample_type": "int32"}]
        body = a_binary_body(header(leads=leads), bytes(200_000))
        # A caller's quarter of the budget holds one at a time.
        async with (
            asyncio.timeout(_LIMIT_S),
            open_gateway_on(database, broker, **_SHORT, **_LITTLE_DISK) as ada,
        ):
            for _ in range(3):
                async with open_raw(str(ada._base_url)) as (reader, writer):
                    writer.write(_head(ada, len(body), expect=True))
                    assert b" 100 " in await reader.readline()
                    writer.write(body[:-100])
                    await writer.drain()
            while (await posted(ada, body))[0] == 503:
                await asyncio.sleep(0.05)

            assert (await posted(ada, body))[0] == 202
        assert await rows(database) == [1, 1, 1]

    async def test_being_received_when_the_gateway_stops_is_accepted(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        body = a_binary_ecg(_LONG)
        async with asyncio.timeout(_LIMIT_S), AsyncExitStack() as client:
            async with open_gateway_on(database, broker, **_SHORT) as ada:
                reader, writer = await client.enter_async_context(open_raw(str(ada._base_url)))
                writer.write(_head(ada, len(body), expect=True))
                assert b" 100 " in await reader.readline()
                writer.write(body[:-100])
                rest = asyncio.get_running_loop().call_later(0.2, writer.write, body[-100:])

            response = await reader.read()
        assert rest.when() < asyncio.get_running_loop().time()
        assert b" 202 " in response
        assert await rows(database) == [1, 1, 2]

    async def test_is_a_503_while_storage_is_unavailable(self) -> None:
        async with (
            open_alone(**_SHORT) as ada,
            ada.post("/ecg/process", data=a_binary_ecg(_LONG), headers=_BINARY) as response,
        ):
            await problem_of(response, 503)

        assert "Retry-After" in response.headers

    @pytest.mark.parametrize(
        ("encoding", "limit", "detail"),
        [
            ("", 12 + 2**16 + 4 * 1000, "The body, unpacked, may have 69548 bytes at most."),
            (
                "Content-Encoding: gzip\r\n",
                69_548 + 69_548 // 8 + 2**18,
                "The body, packed, may have 340385 bytes at most.",
            ),
        ],
    )
    async def test_is_refused_unread_if_no_recording_has_so_many_bytes(
        self, encoding: str, limit: int, detail: str
    ) -> None:
        async with asyncio.timeout(_LIMIT_S), open_alone(max_recording_samples=1000) as ada:
            async with open_raw(str(ada._base_url)) as (reader, writer):
                writer.write(_head(ada, limit, expect=True, more=encoding))
                assert b" 100 " in await reader.readline()
            async with open_raw(str(ada._base_url)) as (reader, writer):
                writer.write(_head(ada, limit + 1, expect=True, more=encoding))
                response = await reader.read()

        assert response.startswith(b"HTTP/1.1 413 ")
        assert detail in response.decode()

    async def test_has_its_own_limit(self) -> None:
        async with open_alone(**_SHORT, max_recording_samples=219) as ada:
            problem = await refused(ada, a_binary_ecg(_LONG), 422)

        assert problem["errors"] == [
            {"pointer": "/leads", "detail": "expected at most 219 samples in all leads, found 220"}
        ]

    async def test_that_arrives_too_slowly_is_a_408(self) -> None:
        body = a_binary_ecg(_LONG)
        async with (
            asyncio.timeout(_LIMIT_S),
            open_alone(**_SHORT, read_timeout_s=0.3) as ada,
            open_raw(str(ada._base_url)) as (reader, writer),
        ):
            writer.write(_head(ada, len(body)) + body[:-100])

            assert b" 408 " in await reader.readline()


class TestProblems:
    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (b"", "The body is empty; expected application/vnd.isoline.ecg."),
            (b"ISOLINE", "The body breaks off in its header."),
            (a_binary_body(header(), b"")[:-1], "The body breaks off in its header."),
            (
                b'{"id": "10", "date": "2023-07-30"}',
                "The body is declared as application/vnd.isoline.ecg and does not begin with ISOLINE.",
            ),
            (
                a_binary_body(header(), bytes(6), version=2),
                "The body is of version 2; only version 1 is known here.",
            ),
            (a_binary_body(b"", bytes(6)), "The header is empty; expected JSON."),
            (a_binary_body(b'{"id": 1, "id": 2}', b""), "The key 'id' stands twice in one object."),
        ],
    )
    async def test_another_format_is_a_400(
        self, ada_alone: aiohttp.ClientSession, body: bytes, detail: str
    ) -> None:
        assert (await refused(ada_alone, body, 400))["detail"] == detail

    async def test_invalid_json_in_the_header_is_reported_with_its_position(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        detail = (await refused(ada_alone, a_binary_body(b"{]", b""), 400))["detail"]

        assert detail.startswith("The header is not JSON: ")

    async def test_a_header_of_a_megabyte_is_a_413(self, ada_alone: aiohttp.ClientSession) -> None:
        detail = (await refused(ada_alone, a_binary_body(b"{}", b"", size=2**20), 413))["detail"]

        assert detail == "The header may have 65536 bytes at most, and this one has 1048576."

    async def test_a_header_may_have_64_kib_or_512_bytes_for_each_lead(
        self, ada: aiohttp.ClientSession
    ) -> None:
        text = json.dumps(header()).encode()

        assert (await posted(ada, a_binary_body(text.ljust(2**16), bytes(6))))[0] == 202
        await refused(ada, a_binary_body(text.ljust(2**16 + 1), bytes(6)), 413)
        async with open_alone(max_leads=200) as with_many_leads:
            body = a_binary_body(b"{}", b"", size=512 * 200 + 1)
            detail = (await refused(with_many_leads, body, 413))["detail"]

        assert detail == "The header may have 102400 bytes at most, and this one has 102401."

    @pytest.mark.parametrize("settings", [{}, {"max_lead_samples": 1}])
    @pytest.mark.parametrize("encoding", _PACKING)
    async def test_missing_or_extra_samples_are_a_400(self, settings: dict[str, int], encoding: str) -> None:
        pack, packed = _PACKING[encoding], {"Content-Encoding": encoding}
        async with open_alone(**settings) as ada:
            short = await refused(ada, in_pieces(pack(a_binary_body(header(), bytes(5))), 9), 400, **packed)
            long = await refused(ada, in_pieces(pack(a_binary_body(header(), bytes(7))), 9), 400, **packed)

        assert short["detail"] == "The body breaks off: expected 6 bytes of samples, found 5."
        assert long["detail"] == "Something follows the samples that the header tells of."

    async def test_a_contradicting_content_length_is_refused_before_the_samples_arrive(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        body = a_binary_body(header(), bytes(6))
        async with asyncio.timeout(_LIMIT_S), open_raw(str(ada_alone._base_url)) as (reader, writer):
            writer.write(_head(ada_alone, len(body) + 1) + body[:-6])
            assert b" 400 " in await reader.readline()
            response = await reader.read()

        total = len(body)
        assert (
            f"The header tells of {total} bytes in all, Content-Length of {total + 1}." in response.decode()
        )

    @pytest.mark.parametrize(
        ("wrong", "pointer", "detail"),
        [
            ([], "", "expected an object, found an array"),
            (header(leads=[]), "/leads", "expected 1 or more, found 0"),
            (header(patient="x"), "/patient", "this field is not known here"),
            (header(date="soon"), "/date", "expected an ISO 8601 date or date-time, e.g. 2023-07-30"),
            (with_lead(signal=[1]), "/leads/0/signal", "this field is not known here"),
            (
                with_lead(num_samples=0),
                "/leads/0/num_samples",
                "expected a number greater than or equal to 1",
            ),
            (with_lead(num_samples=None), "/leads/0/num_samples", "expected a valid integer, found null"),
            (
                with_lead(missing_value=2**31),
                "/leads/0/missing_value",
                "expected a number less than or equal to 2147483647",
            ),
            (
                with_lead(sampling_rate_hz=0.5),
                "/leads/0/sampling_rate_hz",
                "expected a number greater than or equal to 1",
            ),
            (with_lead(sample_type="int64"), "/leads/0/sample_type", "expected 'int16' or 'int32'"),
            (
                with_lead(adc_gain=0),
                "/leads/0/adc_gain",
                (
                    "expected a number greater than 0; "
                    "0 is how WFDB says uncalibrated: leave out adc_gain and unit"
                ),
            ),
        ],
    )
    async def test_an_invalid_header_field_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, wrong: Any, pointer: str, detail: str
    ) -> None:
        problem = await refused(ada_alone, a_binary_body(wrong, bytes(6)), 422)

        assert problem["errors"] == [{"pointer": pointer, "detail": detail}]

    async def test_all_problems_of_a_header_are_reported(self, ada_alone: aiohttp.ClientSession) -> None:
        lead = {"name": "I", "sample_type": "float"}
        problem = await refused(ada_alone, a_binary_body(header(id="", leads=[lead, lead]), b""), 422)

        assert {error["pointer"] for error in problem["errors"]} == {
            "/id",
            "/leads/0/num_samples",
            "/leads/0/sample_type",
            "/leads/0/name",
            "/leads/1/num_samples",
            "/leads/1/sample_type",
            "/leads/1/name",
        }

    async def test_too_many_leads_are_one_problem(self, ada_alone: aiohttp.ClientSession) -> None:
        leads = [{"name": str(index), "num_samples": 1, "sample_type": "int16"} for index in range(33)]
        problem = await refused(ada_alone, a_binary_body(header(leads=leads), bytes(66)), 422)

        assert problem["errors"] == [{"pointer": "/leads", "detail": "expected 1 to 32 leads, found 33"}]

    @pytest.mark.parametrize(("name", "status"), [("root", 403), (None, 401)])
    async def test_a_missing_role_is_a_403_before_the_body_is_read(
        self, gateway_alone: str, name: str | None, status: int
    ) -> None:
        async with open_client(gateway_alone, name) as client:
            await refused(client, a_binary_ecg(an_ecg_body()), status)

    async def test_a_decompression_bomb_is_refused_at_the_length_in_its_header(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        body = zstandard.compress(a_binary_body(header(), bytes(2**28)))

        problem = await refused(ada_alone, body, 400, **{"Content-Encoding": "zstd"})

        assert problem["detail"] == "Something follows the samples that the header tells of."

    async def test_json_declared_as_binary_and_binary_declared_as_json_are_refused(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        await refused(ada_alone, json.dumps(_ORDINARY).encode(), 400)
        headers = {"Content-Type": "application/json"}
        async with ada_alone.post("/ecg/process", data=a_binary_ecg(_ORDINARY), headers=headers) as response:
            await problem_of(response, 400)


def _head(ada: aiohttp.ClientSession, size: int, *, expect: bool = False, more: str = "") -> bytes:
    """The head of a submission, with more fields, for a test that sends the body itself."""
    expected = "Expect: 100-continue\r\n" if expect else ""
    return (
        f"POST /ecg/process HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        f"{expected}{more}Content-Type: application/vnd.isoline.ecg\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
