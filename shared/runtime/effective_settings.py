"""The settings that a process would run with, and where each comes from, without their secrets."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from shared.runtime.settings import PREFIX, is_in_environment, is_set, read_settings

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

HIDDEN: Final = "***"

_BETWEEN_URLS: Final = re.compile(r",(?=\w+://)")
# Parameters of URLs that are no secrets. The value of any other is hidden.
_OPEN_PARAMETERS: Final = frozenset(
    {
        *("host", "port", "dbname", "target_session_attrs", "sslmode", "sslrootcert", "sslcert", "sslkey"),
        *("application_name", "heartbeat", "connection_timeout", "channel_max", "frame_max", "auth"),
        *("cafile", "certfile", "keyfile", "no_verify_ssl", "statement_cache_size"),
    }
)


class Source(StrEnum):
    """Where the value of a setting comes from."""

    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class EffectiveSetting(NamedTuple):
    """A setting as a process would have it.

    Attributes:
        name: Of its environment variable.
        value: Its value; in place of a secret, `HIDDEN`.
        source: Where the value comes from.
    """

    name: str
    value: str
    source: Source


def effective_settings(kind: type[BaseSettings]) -> list[EffectiveSetting]:
    """All settings of a process, in the order of their class.

    Raises:
        ConfigurationError: As `read_settings`.
    """
    settings = read_settings(kind)
    return [
        EffectiveSetting(f"{PREFIX}{name}".upper(), _shown(value), _source(kind, name))
        for name, value in settings
    ]


def _source(kind: type[BaseSettings], name: str) -> Source:
    if is_in_environment(name):
        return Source.ENVIRONMENT
    return Source.FILE if is_set(kind, name) else Source.DEFAULT


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return shown_url(secret) if "://" in secret else HIDDEN if secret else ""
    text = "" if value is None else str(value)
    return shown_url(text) if "://" in text else text


def shown_url(urls: str) -> str:
    """A URL, or several with commas between them, without passwords and unknown parameters."""
    return ",".join(map(_shown_url, _BETWEEN_URLS.split(urls)))


def _shown_url(url: str) -> str:
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{scheme}://{HIDDEN}"
    login, at, hosts = parts.netloc.rpartition("@")
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # it ends a password with a / ? or # in it
        return f"{scheme}://{HIDDEN}"
    user, colon, _ = login.partition(":")
    shown_login = f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@" if at else ""
    query = "&".join(
        f"{name}={value if name in _OPEN_PARAMETERS else HIDDEN}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return (
        f"{scheme}://{shown_login}{hosts}{parts.path}"
        f"{f'?{query}' if query else ''}{f'#{HIDDEN}' if parts.fragment else ''}"
    )
