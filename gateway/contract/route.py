"""The words in which a route says what it takes, what it answers and who may ask.

The same table of `Route` serves the requests and is written out as OpenAPI.
"""

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
"""A JSON value as a client would see or send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One way in which a request succeeds.

    Attributes:
        description: When it is given.
        model: The shape of its JSON body; None for no body, or one that is not JSON.
        examples: Filled-in bodies by what they show.
        headers: What its headers say, beside those that every answer has.
        content_type: Of its body.
    """

    description: str
    model: type[BaseModel] | None = None
    examples: Mapping[str, Example] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """Another form of a request's body: a JSON header, and what JSON would make long.

    Attributes:
        content_type: By which it is told from the others.
        header: The shape of the header.
        description: How its bytes follow each other, in Markdown.
    """

    content_type: str
    header: type[BaseModel]
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, who may ask for it, and what it promises.

    Attributes:
        method: Of HTTP.
        path: With names in braces; each of them is a key of ``gateway.contract.parameters.PATH_PARAMETERS``.
        handler: Method of the object that answers it, unbound.
        role: Who may ask: a role, any of several, or None for anybody.
        takes_password: Whether each request costs what a password does, and is limited accordingly.
        tag: The heading under which it is shown.
        summary: What it does, in a few words.
        description: What a caller must know beside that, in Markdown.
        query: What may stand behind the question mark.
        request: The shape of the body; None for none.
        examples: Filled-in bodies by what they show.
        forms: Other forms in which the body may come.
        answers: How it succeeds, by status.
        problems: How it fails beside what all of its kind do, by status, each with an example of the detail.
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
    forms: tuple[Binary, ...] = ()
    answers: Mapping[HTTPStatus, Answer]
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    takes_password: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """Any of these may ask; none means anybody."""
        if self.role is None:
            return frozenset()
        return self.role if isinstance(self.role, frozenset) else frozenset([self.role])
