"""Generate the OpenAPI 3.1 document from the route table and its models."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from gateway.contract.parameters import HEADER_PARAMETERS, PATH_PARAMETERS
from gateway.http.problems import CONTENT_TYPE, ProblemError, problem_document, title_of
from gateway.http.validation import ResponseBody, schema_name
from shared.domain.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core.core_schema import NullableSchema, WithDefaultSchema

    from gateway.contract.route import BinaryForm, Example, Route, RouteResponse
    from shared.runtime.settings import GatewayOnlySettings

Json = dict[str, Any]


class ErrorResponse(ResponseBody):
    """One problem of a body."""

    pointer: Annotated[str, Field(description="JSON pointer (RFC 6901); empty for the whole body.")]
    detail: str


class ProblemResponse(ResponseBody):
    """An error, by RFC 9457."""

    type: Annotated[str, Field(pattern="^urn:isoline:problem:[a-z-]+$")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What was found and what was expected.")]
    errors: Annotated[list[ErrorResponse], Field(description="All that is wrong with the body.")] = []


_DESCRIPTION: Final = """
Submit ECGs, have them measured in the background, and get what was found.

Every error is `application/problem+json` (RFC 9457); a body that does not fit is answered with all that is
wrong with it. After a 429, a 503, a time-out or a lost connection send the same request again, after
`Retry-After` seconds or after a second that doubles: nothing happens twice. A path that exists answers
another method with 405 and `Allow`. Answers of 1 KiB or more are gzipped for clients that accept it.

Isoline is not a diagnostic device.
"""

# The type of a body that is told by its first bytes. Generators of clients know no type of ours.
_ANY_BYTES: Final = "application/octet-stream"

# A true example of each problem, by kind of route; a route adds its own.
_BODY_PROBLEMS: Final = {
    HTTPStatus.BAD_REQUEST: "The body is empty; expected JSON.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time; send it again, faster.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body, unpacked, may have 16777216 bytes at most.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "The body is declared as text/csv; expected Content-Type: application/json."
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: "The body does not fit: 1 problem, see errors.",
}
_ROLE_PROBLEMS: Final = {
    HTTPStatus.UNAUTHORIZED: (
        "This needs a token: send Authorization: Bearer and the access_token of POST /token."
    ),
    HTTPStatus.FORBIDDEN: "This needs a role that your token does not have.",
}
_COMMON_PROBLEMS: Final = {
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests: send this one again later.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something in Isoline failed; the request may be sent again.",
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The gateway can't use its database at the moment."
        " Send the same request again: nothing happens twice."
    ),
}
_HEADERS_OF: Final = {
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: {"Accept-Encoding": "What `Content-Encoding` may say."},
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "`Bearer`, where a token is missing or not valid."},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "Seconds."},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "Seconds."},
}
_REQUEST_ID: Final = {"X-Request-Id": "Name it when you report something: the logs know it."}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `access_token` of `POST /token`.",
}
_API_KEY: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The `key` of `POST /key`, in the same header: for services and devices.",
}


def openapi_document(routes: Iterable[Route], settings: GatewayOnlySettings, *, version: str) -> Json:
    """The contract of a gateway with these settings."""
    table = list(routes)
    paths: Json = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Isoline",
            "version": version,
            "description": _DESCRIPTION.strip(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": settings.path_prefix or "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in table)],
        "paths": paths,
        "components": {
            "schemas": _with_limits(_schemas(table), settings),
            "securitySchemes": {"bearer": _BEARER, "apiKey": _API_KEY},
        },
    }


def _operation(route: Route) -> Json:
    required_role = f"Role: {' or '.join(sorted(route.roles))}." if route.roles else "Anybody may ask."
    operation: Json = {
        "operationId": route.handler.__name__,
        "tags": [route.tag],
        "summary": route.summary,
        "description": f"{route.description}\n\n{required_role}".strip(),
        "x-isoline-roles": sorted(route.roles),
        "security": _security(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            **{str(status.value): _response(declared) for status, declared in route.responses.items()},
            **{str(status.value): _problem(status, detail) for status, detail in _problems(route).items()},
        },
    }
    if route.request:
        content = {"application/json": _content(route.request, route.examples)}
        if route.form:
            content[_ANY_BYTES] = _binary_content(route.form)
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(route: Route) -> list[Json]:
    """Any one of these proves the caller."""
    if not route.roles:
        return []
    return [{"bearer": []}, {"apiKey": []}] if route.takes_api_keys else [{"bearer": []}]


def _path_parameters(route: Route) -> list[Json]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]} for name in names]


def _query_parameters(route: Route) -> list[Json]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    return [_query_parameter(name, dict(field)) for name, field in schema["properties"].items()]


def _query_parameter(name: str, schema: Json) -> Json:
    description, [example] = schema.pop("description"), schema.pop("examples")
    schema.pop("title", None)
    if "anyOf" in schema:  # without the None of an absent parameter, which a query can't contain
        schema = schema["anyOf"][0]
    return {"name": name, "in": "query", "description": description, "schema": schema, "example": example}


def _header_parameters(route: Route) -> list[Json]:
    return [{"name": name, "in": "header", **HEADER_PARAMETERS[name]} for name in route.headers]


def _response(declared: RouteResponse) -> Json:
    response = {"description": declared.description, "headers": _headers(declared.headers)}
    if declared.model:
        response["content"] = {declared.content_type: _content(declared.model, declared.examples)}
    elif declared.content_type != "application/json":
        response["content"] = {name: {} for name in (declared.content_type, *declared.other_content_types)}
    return response


def _problems(route: Route) -> dict[HTTPStatus, str]:
    """The problems of a route by status, in order; its own examples take precedence."""
    problems = {
        **(_BODY_PROBLEMS if route.request else {}),
        **(_ROLE_PROBLEMS if route.role else {}),
        **_COMMON_PROBLEMS,
        **route.problems,
    }
    return {status: problems[status] for status in sorted(problems) if status not in route.responses}


def _problem(status: HTTPStatus, detail: str) -> Json:
    errors: Sequence[Problem] = ()
    if status is HTTPStatus.UNPROCESSABLE_ENTITY:
        errors = [Problem("/leads/0/num_samples", "the signal has 3 samples, not 2")]
    example = problem_document(ProblemError(status, detail, errors=errors))
    return {
        "description": title_of(status),
        "headers": _headers(_HEADERS_OF.get(status, {})),
        "content": {CONTENT_TYPE: _content(ProblemResponse, {"a problem": example})},
    }


def _content(model: type[BaseModel], examples: Mapping[str, Example]) -> Json:
    shown = {title.replace(" ", "-"): {"summary": title, "value": value} for title, value in examples.items()}
    return {"schema": {"$ref": f"#/components/schemas/{schema_name(model.__name__)}"}, "examples": shown}


def _binary_content(form: BinaryForm) -> Json:
    """OpenAPI can't describe bytes: in words, and with the schema of the header beside them.

    ``format: binary`` is of OpenAPI 3.0, but generators of clients know bytes by nothing else.
    """
    return {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": f"As this type, or as `{form.content_type}`: {form.description}",
            "x-isoline-header": {"$ref": f"#/components/schemas/{form.header.__name__}"},
        }
    }


def _headers(headers: Mapping[str, str]) -> Json:
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in {**_REQUEST_ID, **headers}.items()
    }


def _schemas(routes: Iterable[Route]) -> Json:
    models: dict[type[BaseModel], None] = {ProblemResponse: None}
    for route in routes:
        models |= {declared.model: None for declared in route.responses.values() if declared.model}
        models |= {route.request: None} if route.request else {}
        models |= {route.form.header: None} if route.form else {}
    return _schemas_of(tuple(models))


@cache  # half the time in which a gateway starts, and tests start many in one process
def _schemas_of(models: tuple[type[BaseModel], ...]) -> Json:
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_NamedSchemas,
    )
    schemas: Json = definitions["$defs"]
    return schemas


class _NamedSchemas(GenerateJsonSchema):
    def normalize_name(self, name: str) -> str:
        return schema_name(super().normalize_name(name))

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """Without the default: generators take a field that has one for always present, and for required."""
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """With the description beside both types, where generators and readers look for it."""
        nullable = super().nullable_schema(schema)
        for member in nullable.get("anyOf", ()):
            if "description" in member:
                nullable["description"] = member.pop("description")
        return nullable


def _with_limits(schemas: Json, settings: GatewayOnlySettings) -> Json:
    """The schemas with the limits of these settings, which models get only at validation."""
    limits = {
        ("EcgBody", "leads"): {"maxItems": settings.max_leads},
        ("BinaryHeader", "leads"): {"maxItems": settings.max_leads},
        ("BinaryLead", "num_samples"): {"maximum": settings.max_recording_samples},
        ("LeadBody", "signal"): {"maxItems": settings.max_lead_samples},
        ("AccountBody", "password"): {"minLength": settings.password_min_length},
        ("PasswordBody", "password"): {"minLength": settings.password_min_length},
    }
    limited = dict(schemas)
    for (model, name), limit in limits.items():
        if model in limited:
            properties = limited[model]["properties"]
            limited[model] = limited[model] | {"properties": properties | {name: properties[name] | limit}}
    return limited
