"""The client sends arrays in binary form, and the ECG stays what it is as lists."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from aiohttp import web

import isoline.client
from isoline.client import RefusedError, open_client
from tests.http.conftest import PASSWORD
from tests.http.test_client import serving
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoline.client import Client

_NUMBERS: Final = [1, -1, 300, -300, 32767, -32768]
_COLUMNS: Final = np.array([_NUMBERS, _NUMBERS], np.int16).T
_ARRAYS: Final = {
    "int16": np.array(_NUMBERS, np.int16),
    "int32": np.array(_NUMBERS, np.int32),
    "array of the standard library": array("h", _NUMBERS),
    "memoryview": memoryview(array("i", _NUMBERS)),
    "column of a matrix": _COLUMNS[:, 0],
    "backwards": np.array(_NUMBERS[::-1], np.int16)[::-1],
    "big-endian, 16 bits": np.array(_NUMBERS, ">i2"),
    "big-endian, 32 bits": np.array(_NUMBERS, ">i4"),
    "read-only": np.frombuffer(np.array(_NUMBERS, np.int16).tobytes(), np.int16),
}


@pytest.fixture
async def client(gateway: str) -> AsyncIterator[Client]:
    async with open_client(gateway, user="ada", password=PASSWORD) as client:
        yield client


def with_signals(*signals: Any) -> dict[str, Any]:
    leads = [{"name": str(index), "signal": signal} for index, signal in enumerate(signals)]
    return an_ecg_body(leads=leads)


@pytest.mark.parametrize("signal", _ARRAYS.values(), ids=_ARRAYS.keys())
async def test_an_array_is_the_same_ecg_as_a_list(
    client: Client, signal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isoline.client, "_PIECE_SAMPLES", 4)
    await client.submit(with_signals(_NUMBERS))

    assert (await client.submit(with_signals(signal))).status == "queued"
    with pytest.raises(RefusedError, match="409"):
        await client.submit(with_signals(np.array([*_NUMBERS, 0], np.int16)))


async def test_lists_and_arrays_may_be_mixed(client: Client) -> None:
    await client.submit(with_signals(_NUMBERS, _NUMBERS))

    assert (await client.submit(with_signals(_NUMBERS, np.array(_NUMBERS, np.int16)))).status == "queued"


@pytest.mark.usefixtures("processor")
async def test_an_array_longer_than_json_may_be_is_measured(client: Client) -> None:
    signal = np.tile(np.array([1, -1], np.int16), 600_000)

    result = await client.submit_and_wait(with_signals(signal))

    assert result.leads[0].findings == {"zero_crossings": 1_199_999}


@pytest.mark.parametrize(
    "signal",
    [
        np.array([1, 2]),
        np.array([1, 2], np.uint16),
        np.array([1.0]),
        np.array([[1, 2]], np.int16),
        b"\1\2",
        np.array([True]),
    ],
    ids=["int64", "uint16", "float", "two dimensions", "bytes", "boolean"],
)
async def test_another_kind_of_array_is_refused_before_anything_is_sent(signal: Any) -> None:
    async with open_client("http://127.0.0.1:1", token="t") as client:
        with pytest.raises(TypeError, match="the signal of lead '0': expected integers of 16 or 32 bits"):
            await client.submit(with_signals(signal))


async def test_masked_samples_are_not_sent_as_if_they_were_measured() -> None:
    signal = np.ma.masked_equal(np.array([5, -9999, 5], np.int16), -9999)

    async with open_client("http://127.0.0.1:1", token="t") as client:
        with pytest.raises(TypeError, match=r"lead '0' is a masked array.*send signal.filled\(VALUE\)"):
            await client.submit(with_signals(signal))


async def test_problems_of_a_header_are_raised(client: Client) -> None:
    with pytest.raises(RefusedError, match="/leads/0/num_samples") as caught:
        await client.submit(with_signals(np.array([], np.int16)))

    assert caught.value.status == 422


async def test_arrays_are_sent_again_in_full_after_a_lost_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isoline.client, "_FIRST_BACKOFF_S", 0.01)
    bodies: list[bytes] = []

    async def response(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        assert request.content_type == "application/vnd.isoline.ecg"
        assert request.content_length == len(bodies[-1])
        return web.Response(status=503 if len(bodies) < 3 else 400)

    async with serving(response) as url, open_client(url, token="t") as client:
        with pytest.raises(RefusedError, match="400"):
            await client.submit(with_signals(np.array(_NUMBERS, np.int16)))

    assert bodies[0].endswith(np.array(_NUMBERS, "<i2").tobytes())
    assert bodies == [bodies[0]] * 3
