"""What a request leaves behind: nothing that only the garbage collector would find."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.support.builders import a_binary_ecg, an_ecg_body

if TYPE_CHECKING:
    import aiohttp

_WARM_UP: Final = 3
_TIMES: Final = 20
_BINARY: Final = {"Content-Type": "application/vnd.isoline.ecg"}


class _Kind(NamedTuple):
    method: str
    path: str
    status: int
    json: dict[str, Any] | None = None
    data: bytes | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


_KINDS: Final = {
    "submitted": _Kind("POST", "/ecg/process", 202, json=an_ecg_body(id="")),
    "repeated": _Kind("POST", "/ecg/process", 202, json=an_ecg_body(id="there")),
    "binary": _Kind("POST", "/ecg/process", 202, data=a_binary_ecg(an_ecg_body(id="there")), headers=_BINARY),
    "refused": _Kind("POST", "/ecg/process", 422, json=an_ecg_body(leads=[])),
    "of another content": _Kind(
        "POST", "/ecg/process", 409, json=an_ecg_body(id="there", leads=[{"name": "V1", "signal": [1]}])
    ),
    "no JSON": _Kind("POST", "/ecg/process", 400, data=b"{", headers={"Content-Type": "application/json"}),
    "read": _Kind("GET", "/ecg/there?wait=10", 200),
    "unknown": _Kind("GET", "/ecg/unknown", 404),
    "listed": _Kind("GET", "/ecg", 200),
    "events": _Kind("GET", "/events", 200),
    "erased": _Kind("DELETE", "/ecg/unknown", 404),
    "without a token": _Kind("GET", "/ecg", 401, headers={"Authorization": "Bearer x"}),
    "without the role": _Kind("GET", "/ops/api/overview", 403),
    "probe": _Kind("GET", "/health/ready", 200),
}


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("name", _KINDS)
async def test_requests_leave_no_cycles(ada: aiohttp.ClientSession, name: str) -> None:
    """A cycle keeps a request, its body and all that hangs on it until the next collection."""
    kind = _KINDS[name]
    async with ada.post("/ecg/process", json=an_ecg_body(id="there")) as response:
        assert response.status == 202
    statuses = []
    gc.disable()
    try:
        for number in range(_WARM_UP + _TIMES):
            if number == _WARM_UP:
                gc.collect()
            statuses.append(await _send(ada, kind, number))
        unreachable = gc.collect()
    finally:
        gc.enable()

    assert statuses == [kind.status] * (_WARM_UP + _TIMES)
    assert unreachable < _TIMES


async def _send(client: aiohttp.ClientSession, kind: _Kind, number: int) -> int:
    json = kind.json
    if json is not None and not json["id"]:
        json = {**json, "id": str(number)}
    async with client.request(
        kind.method, kind.path, json=json, data=kind.data, headers=kind.headers
    ) as response:
        await response.read()
        return response.status
