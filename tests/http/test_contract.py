"""The contract against a running gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from gateway.app import ROUTES, contract
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import ROLES, open_client
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

_CONTRACT: Final = contract(GatewayOnlySettings())
_OPERATIONS: Final = [
    pytest.param(method.upper(), path, operation, id=f"{method.upper()} {path}")
    for path, operations in _CONTRACT["paths"].items()
    for method, operation in operations.items()
]
# Of no ECG and no account; what differs from request to request by its nature.
_PASSING_HEADERS: Final = {"x-request-id", "date", "ratelimit", "ratelimit-policy"}


async def answer_of(
    client: aiohttp.ClientSession, method: str, path: str, operation: dict[str, Any], ecg_id: str = "10"
) -> tuple[int, dict[str, str], bytes]:
    """The response to a request with the example of the contract as its body."""
    body = None
    if "requestBody" in operation:
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        body = next(iter(examples.values()))["value"]
    path = path.replace("{id}", ecg_id).replace("{name}", "nobody.known").replace("{file}", "page.js")
    path = path.replace("{owner}", "ada").replace("{type}", "ecg.failed").replace("{version}", "1")
    path = path.replace("{key_id}", str(UUID(int=0)))
    path = path.replace("{webhook_id}", str(UUID(int=0))).replace("{delivery_id}", "1")
    async with client.request(method, path, json=body) as response:
        headers = {
            name: value for name, value in response.headers.items() if name.lower() not in _PASSING_HEADERS
        }
        is_endless = response.content_type == "text/event-stream"
        return response.status, headers, b"" if is_endless else await response.read()


async def test_the_contract_is_served_as_it_is_exported(nobody: aiohttp.ClientSession) -> None:
    async with nobody.get("/openapi.json", headers={"Accept-Encoding": "identity"}) as response:
        served = await response.json()

    settings = GatewayOnlySettings()
    assert served == contract(settings)
    assert len(ROUTES) == sum(len(operations) for operations in served["paths"].values())


@pytest.mark.parametrize(("method", "path", "operation"), _OPERATIONS)
@pytest.mark.parametrize("name", [None, *ROLES])
async def test_a_route_requires_its_role(
    gateway: str, method: str, path: str, operation: dict[str, Any], name: str | None
) -> None:
    roles = operation["x-isoline-roles"]
    async with open_client(gateway, name) as client:
        status, headers, _ = await answer_of(client, method, path, operation)

    assert str(status) in operation["responses"]
    if not roles:
        assert status != 403
    elif name is None:
        assert status == 401
        assert headers["WWW-Authenticate"] == "Bearer"
    elif not set(roles) & set(ROLES[name]):
        assert status == 403
    elif (method, path) == ("PUT", "/user/{name}/password") and "admin" not in ROLES[name]:
        assert status == 403  # without the role admin only one's own password may be changed
    elif (method, path) == ("POST", "/key") and "user" not in ROLES[name]:
        assert status == 403  # the account of the example's key has to have its role
    else:
        assert status not in {401, 403}


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [operation for operation in _OPERATIONS if operation.values[1].startswith("/ecg/{id}")],  # type: ignore[union-attr]
)
@pytest.mark.parametrize("is_finished", [False, True])
async def test_another_owners_ecg_looks_like_none(
    ada: aiohttp.ClientSession,
    bob: aiohttp.ClientSession,
    method: str,
    path: str,
    operation: dict[str, Any],
    *,
    is_finished: bool,
) -> None:
    async with ada.post("/ecg/process", json=an_ecg_body(id="adas")) as response:
        assert response.status == 202
    if is_finished:
        await ada.get("/ecg/adas", params={"wait": "10"})

    others = await answer_of(bob, method, path, operation, ecg_id="adas")
    nobodys = await answer_of(bob, method, path, operation, ecg_id="none")

    assert others == nobodys
    assert others[0] == 404
    async with ada.get("/ecg/adas") as response:
        assert response.status == 200


async def test_two_owners_may_use_one_id(ada: aiohttp.ClientSession, bob: aiohttp.ClientSession) -> None:
    for client, date in ((ada, "2023-07-30"), (bob, "2024-07-30")):
        async with client.post("/ecg/process", json=an_ecg_body(id="10", date=date)) as response:
            assert response.status == 202

    async with bob.delete("/ecg/10") as response:
        assert response.status == 204
    async with ada.get("/ecg/10") as response:
        assert response.status == 200
    async with bob.get("/ecg") as response:
        assert await response.json() == {"ecgs": []}
