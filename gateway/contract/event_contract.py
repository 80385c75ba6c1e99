"""The contract of events as documents: AsyncAPI, and the JSON Schemas that events name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.contract.event_schemas import event_schemas
from gateway.http.responses import JSON, JSON_SCHEMA
from gateway.http.static_files import page_headers, prebuilt_file
from shared.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.content_negotiation import PrebuiltResponse
    from gateway.http.request import Request
    from gateway.http.responses import Response

_HEADERS: Final = page_headers("default-src 'none'; frame-ancestors 'none'")


class EventContractHandlers:
    """Serve the contract of events.

    Args:
        asyncapi: The AsyncAPI document.
    """

    def __init__(self, asyncapi: Mapping[str, Any]) -> None:
        self._asyncapi = prebuilt_file(orjson.dumps(asyncapi), JSON, _HEADERS)
        schemas = event_schemas()
        self._data = {(type_.value, of.version): _schema(of.data) for type_, of in schemas.items()}
        self._events = {(type_.value, of.version): _schema(of.event) for type_, of in schemas.items()}

    async def get_asyncapi(self, request: Request) -> Response:
        """The AsyncAPI document."""
        return self._asyncapi.response(request)

    async def get_data_schema(self, request: Request) -> Response:
        """The schema of an event's data."""
        return _found(self._data, request)

    async def get_event_schema(self, request: Request) -> Response:
        """The schema of a whole event."""
        return _found(self._events, request)


def _schema(schema: Mapping[str, Any]) -> PrebuiltResponse:
    return prebuilt_file(orjson.dumps(schema), JSON_SCHEMA, _HEADERS)


def _found(schemas: Mapping[tuple[str, str], PrebuiltResponse], request: Request) -> Response:
    schema = schemas.get((request.parameters["type"], request.parameters["version"]))
    if schema is None:
        raise NotFoundError("There is no event of this type and version.")
    return schema.response(request)
