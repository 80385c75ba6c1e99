"""Types of the route table, from which both the router and the OpenAPI document are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from http import HTTPStatus

    from pydantic import BaseModel

    from gateway.http.request import Request
    from gateway.http.responses import Response
    from shared.domain.account import Role

Example: TypeAlias = Any
"""A JSON value as a client receives or sends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteResponse:
    """A successful response of a route.

    Attributes:
        description: What it means.
        model: The schema of its JSON body; None for no body, or one that is not JSON.
        examples: Bodies by title.
        headers: Descriptions of its headers, besides those of every response.
        content_type: Of its body.
        other_content_types: That a body without a model may have instead.
    """

    description: str
    model: type[BaseModel] | None = None
    examples: Mapping[str, Example] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    other_content_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryForm:
    """A binary form of a request's body: a JSON header, followed by samples.

    Attributes:
        content_type: Of the body; the contract names ``application/octet-stream``, which is taken too.
        header: The schema of the header.
        description: The layout of its bytes, in Markdown.
    """

    content_type: str
    header: type[BaseModel]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: method and path, its handler, the required role, and its part of the contract.

    Attributes:
        method: Of HTTP.
        path: A template; each name in braces is a key of ``gateway.contract.parameters.PATH_PARAMETERS``.
        handler: Unbound method of the feature's handlers.
        role: The required role, or any of several, or None if no token is needed.
        takes_password: Whether it verifies a password, and so is limited as a login.
        takes_api_keys: Whether an API key may do it, where a role is required.
        tag: The heading in the contract.
        summary: What it does, in a few words.
        description: What a client must know besides, in Markdown.
        query: The schema of the query parameters.
        request: The schema of the JSON body; None for no body.
        examples: Bodies by title.
        form: The other form of the body.
        headers: Those of requests that matter here, each a key of ``HEADER_PARAMETERS``.
        responses: Successful responses by status.
        problems: Example details of problems by status, besides those of all routes of its kind.
    """

    method: str
    path: str
    handler: Callable[[Any, Request], Awaitable[Response]]
    role: Role | frozenset[Role] | None
    tag: str
    summary: str
    description: str = ""
    query: type[BaseModel] | None = None
    request: type[BaseModel] | None = None
    examples: Mapping[str, Example] = field(default_factory=dict)
    form: BinaryForm | None = None
    headers: tuple[str, ...] = ()
    responses: Mapping[HTTPStatus, RouteResponse]
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    takes_password: bool = False
    takes_api_keys: bool = True

    @property
    def roles(self) -> frozenset[Role]:
        """Any of these is required; empty if no token is needed."""
        if self.role is None:
            return frozenset()
        return self.role if isinstance(self.role, frozenset) else frozenset([self.role])
