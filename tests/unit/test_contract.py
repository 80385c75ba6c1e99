from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.accounts.routes import ACCOUNT_ROUTES
from gateway.app import ROUTES, contract
from gateway.contract.openapi import ProblemResponse
from gateway.contract.parameters import PATH_PARAMETERS
from shared.event_models import DeletedEvent, FailedEvent, ProcessedEvent
from shared.runtime.settings import GatewayOnlySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.contract.route import Route

_CONTRACT: Final = contract(GatewayOnlySettings())
_ROOT: Final = Path(__file__).parents[2]
_PAGE_FOLDERS: Final = ("gateway/pages/events", "gateway/pages/ops", "gateway/pages/parts")
_FILE_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


def _contents(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place of the contract where a schema stands beside its examples."""
    if isinstance(node, dict):
        if "schema" in node and ("examples" in node or "example" in node):
            yield where, node
        for key, value in node.items():
            yield from _contents(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _contents(value, f"{where}/{index}")


@pytest.mark.parametrize(("where", "content"), list(_contents(_CONTRACT["paths"])))
def test_every_example_fits_its_schema(where: str, content: dict[str, Any]) -> None:
    registry = Registry().with_resource("urn:contract", Resource.from_contents(_CONTRACT, DRAFT202012))
    schema = _absolute(content["schema"])
    validator = Draft202012Validator(
        schema, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    examples = (
        [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
    )

    assert examples, where
    for example in examples:
        assert not [error.message for error in validator.iter_errors(example)], where


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
class TestEveryRoute:
    def test_says_who_may_ask_and_what_it_does(self, route: Route) -> None:
        assert route.role is None or route.roles
        assert route.summary
        assert route.tag
        assert route.responses

    def test_shows_every_body_filled_in(self, route: Route) -> None:
        assert (route.request is None) == (not route.examples)
        for response in route.responses.values():
            assert (response.model is None) == (not response.examples)

    def test_declares_each_status_of_a_failure(self, route: Route) -> None:
        operation = _CONTRACT["paths"][route.path][route.method.lower()]
        expected = {429, 500, 503}
        expected |= {401, 403} if route.role else set()
        expected |= {400, 413, 415, 422} if route.request else set()
        expected |= {404} if "{" in route.path else set()

        assert expected <= set(map(int, operation["responses"]))


def test_each_name_in_a_path_is_described() -> None:
    names = {part[1:-1] for route in ROUTES for part in route.path.split("/") if part.startswith("{")}

    assert names <= PATH_PARAMETERS.keys()


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [route.handler.__name__ for route in ROUTES]

    assert len(set(names)) == len(names)


def test_limits_are_those_of_the_gateway_that_shows_them() -> None:
    settings = GatewayOnlySettings(max_leads=3, max_lead_samples=7, password_min_length=20)

    schemas = contract(settings)["components"]["schemas"]

    assert schemas["EcgBody"]["properties"]["leads"]["maxItems"] == 3
    assert schemas["LeadBody"]["properties"]["signal"]["maxItems"] == 7
    assert schemas["AccountBody"]["properties"]["password"]["minLength"] == 20


@pytest.mark.parametrize("lead", ["LeadBody", "BinaryLead"])
def test_a_gain_that_is_refused_is_refused_by_the_schema_too(lead: str) -> None:
    [gain, _] = _CONTRACT["components"]["schemas"][lead]["properties"]["adc_gain"]["anyOf"]

    assert gain["exclusiveMinimum"] == 0


@pytest.mark.parametrize("event", [ProcessedEvent, FailedEvent, DeletedEvent])
def test_an_event_may_gain_keys_here_too(event: type) -> None:
    schemas = _CONTRACT["components"]["schemas"]
    data = schemas[event.__name__]["properties"]["data"]["$ref"].rpartition("/")[2]

    assert schemas["EventsAnswer"]["additionalProperties"] is False
    assert schemas[event.__name__]["additionalProperties"] is True
    assert schemas[data]["additionalProperties"] is True


def test_the_contract_has_the_version_of_the_project() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == _CONTRACT["info"]["version"]


def test_problems_are_described_with_an_example_of_their_own_status() -> None:
    for route in ACCOUNT_ROUTES:
        responses = _CONTRACT["paths"][route.path][route.method.lower()]["responses"]
        for status, response in responses.items():
            problem = response.get("content", {}).get("application/problem+json")
            if problem:
                [example] = problem["examples"].values()
                assert ProblemResponse(**example["value"]).status == int(status)


def test_no_schema_names_a_default() -> None:
    # Generators take a field with one for always present in an answer, and for required in a body.
    assert not list(_defaults(_CONTRACT["components"]["schemas"]))


@pytest.mark.parametrize("model", ["EcgBody", "LeadBody"])
def test_each_optional_field_of_an_ecg_says_what_it_is(model: str) -> None:
    fields = _CONTRACT["components"]["schemas"][model]["properties"]

    assert [name for name, field in fields.items() if "anyOf" in field and "description" not in field] == []
    assert [
        name for name, field in fields.items() if any("description" in of for of in field.get("anyOf", []))
    ] == []


def test_a_body_of_bytes_is_described_as_such() -> None:
    content = _CONTRACT["paths"]["/ecg/process"]["post"]["requestBody"]["content"]

    assert list(content) == ["application/json", "application/octet-stream"]
    schema = content["application/octet-stream"]["schema"]
    assert (schema["type"], schema["format"]) == ("string", "binary")
    assert "application/vnd.isoline.ecg" in schema["description"]
    header = schema["x-isoline-header"]["$ref"].rpartition("/")[2]
    assert header in _CONTRACT["components"]["schemas"]


def test_files_are_described_by_the_types_that_they_have() -> None:
    folders = {"/docs/{file}": ["gateway/contract/docs"], "/pages/{folder}/{file}": _PAGE_FOLDERS}
    for path, names in folders.items():
        files = [file for name in names for file in (_ROOT / name).iterdir() if file.is_file()]
        found = {_FILE_TYPES[file.suffix] for file in files}
        assert found <= _CONTRACT["paths"][path]["get"]["responses"]["200"]["content"].keys(), path


def _defaults(node: Any, where: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "default" and not where.endswith("/properties"):
                yield where
            yield from _defaults(value, f"{where}/{key}")


def _absolute(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return {"$ref": f"urn:contract{reference}"} if reference else schema
