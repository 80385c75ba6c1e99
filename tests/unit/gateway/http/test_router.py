from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.http.problems import ProblemError
from gateway.http.router import Router

if TYPE_CHECKING:
    from gateway.http.request import Request


async def submit(_: Request) -> Any: ...
async def result(_: Request) -> Any: ...
async def erasure(_: Request) -> Any: ...
async def roles(_: Request) -> Any: ...


@pytest.fixture
def router() -> Router:
    router = Router()
    router.add("POST", "/ecg/process", submit)
    router.add("GET", "/ecg/{id}", result)
    router.add("DELETE", "/ecg/{id}", erasure)
    router.add("PUT", "/user/{name}/roles", roles)
    router.add("GET", "/.well-known/jwks.json", result)
    return router


def test_a_handler_is_found_by_method_and_path(router: Router) -> None:
    assert router.find("POST", "/ecg/process").handler is submit
    assert router.find("DELETE", "/ecg/10").handler is erasure
    assert router.find("GET", "/.well-known/jwks.json").path == "/.well-known/jwks.json"


def test_parameters_are_found_with_the_path_template(router: Router) -> None:
    found = router.find("PUT", "/user/ada/roles")

    assert (found.path, found.parameters) == ("/user/{name}/roles", {"name": "ada"})


def test_an_encoded_slash_or_percent_sign_is_part_of_a_parameter(router: Router) -> None:
    assert router.find("GET", "/ecg/a%2Fb%252F").parameters == {"id": "a/b%2F"}


def test_a_static_path_without_the_method_falls_back_to_a_template(router: Router) -> None:
    found = router.find("GET", "/ecg/process")

    assert (found.handler, found.parameters) == (result, {"id": "process"})


@pytest.mark.parametrize(
    "path",
    ["", "/", "/ecg", "/ecg/", "/ecg//", "/ecg/10/", "/ecg/{id}", "/Ecg/10", "/xwell-known/jwks.json"],
)
def test_there_is_nothing_at_another_path(router: Router, path: str) -> None:
    with pytest.raises(ProblemError) as raised:
        router.find("GET", path)

    assert raised.value.status == 404


@pytest.mark.parametrize(
    ("path", "allowed"), [("/ecg/process", "POST"), ("/ecg/10", "DELETE, GET"), ("/user/ada/roles", "PUT")]
)
def test_another_method_is_refused_and_those_allowed_are_named(
    router: Router, path: str, allowed: str
) -> None:
    with pytest.raises(ProblemError) as raised:
        router.find("PATCH", path)

    assert raised.value.status == 405
    assert raised.value.headers == {"Allow": allowed}
