"""Set permissions of users by RabbitMQ's management API."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from shared.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shared.broker.permissions import Permissions

_TIMEOUT_S: Final = 10.0
_PORTS: Final = {"amqp": 15672, "amqps": 15671}
_NOT_FOUND: Final = 404
_REFUSED: Final = 400


class UserChange(NamedTuple):
    """A user's permissions as they are now, and whether they were others before."""

    user: str
    permissions: Permissions
    is_changed: bool


def virtual_host_of(amqp_url: str) -> str:
    """The virtual host that a URL of RabbitMQ names."""
    return URL(amqp_url).path.removeprefix("/") or "/"


def management_url_of(amqp_url: str, given: str | None = None) -> str:
    """Where RabbitMQ's management API is: beside this URL, and as its user, by default."""
    url = URL(amqp_url)
    user, password = url.user or "guest", url.password or "guest"
    if given is not None:
        named = URL(given)
        return given if named.user else str(named.with_user(user).with_password(password))
    is_tls = url.scheme == "amqps"
    base = URL.build(
        scheme="https" if is_tls else "http",
        user=user,
        password=password,
        host=url.host or "localhost",
        port=_PORTS[url.scheme],
    )
    return str(base.with_query(cafile=url.query["cafile"]) if "cafile" in url.query else base)


async def set_permissions(
    management_url: str, users: Mapping[str, Permissions], *, virtual_host: str
) -> list[UserChange]:
    """Give each user these permissions in a virtual host, in place of those that it has there; the changes.

    Args:
        management_url: Of the API, with an administrator's name and password, and ``?cafile=`` of a CA.
        users: What each may do, by its name.
        virtual_host: Where.

    Raises:
        ConfigurationError: A user does not exist, or no permission would limit it. Nothing is changed.
        UnavailableError: The API does not answer, or refuses.
    """
    async with _open_session(management_url) as session:
        for user in users:
            await _check_user(session, user)
        return [
            await _set_permissions(session, user, permissions, virtual_host)
            for user, permissions in users.items()
        ]


@asynccontextmanager
async def _open_session(management_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    url = URL(management_url)
    auth = aiohttp.BasicAuth(url.user or "guest", url.password or "guest")
    try:
        context = ssl.create_default_context(cafile=url.query.get("cafile"))
        async with aiohttp.ClientSession(
            url.with_user(None).with_query(None).with_path("/"),
            auth=auth,
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            raise_for_status=False,
        ) as session:
            yield session
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        words = str(error) or "no answer in time"
        raise UnavailableError(f"RabbitMQ's management API: {words}") from error


async def _check_user(session: aiohttp.ClientSession, name: str) -> None:
    user = await _request(session, "GET", f"/api/users/{_quoted(name)}")
    if user is None:
        raise ConfigurationError(f"RabbitMQ has no user {name}; make it with rabbitmqctl add_user {name}")
    if "administrator" in user["tags"]:
        raise ConfigurationError(
            f"the user {name} is an administrator, whom no permission limits; give the service one of its own"
        )


async def _set_permissions(
    session: aiohttp.ClientSession, user: str, permissions: Permissions, virtual_host: str
) -> UserChange:
    path = f"/api/permissions/{_quoted(virtual_host)}/{_quoted(user)}"
    wanted = permissions._asdict()
    present = await _request(session, "GET", path)
    is_changed = present is None or {name: present[name] for name in wanted} != wanted
    if is_changed:
        await _request(session, "PUT", path, json=wanted)
    return UserChange(user, permissions, is_changed)


async def _request(session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Any:
    """The document of an answer; None if there is none, or no such thing."""
    async with session.request(method, URL(path, encoded=True), **options) as answer:
        if method == "GET" and answer.status == _NOT_FOUND:
            return None
        if answer.status >= _REFUSED:
            raise UnavailableError(
                f"RabbitMQ's management API refuses: {answer.status} {answer.reason}", needs_operator=True
            )
        return await answer.json() if method == "GET" else None


def _quoted(name: str) -> str:
    return quote(name, safe="")
