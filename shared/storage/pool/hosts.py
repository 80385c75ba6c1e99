"""A URL that names several hosts: a primary and its standbys, tried one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
from asyncpg.exceptions import (
    ClientConfigurationError,
    OperatorInterventionError,
    PostgresConnectionError,
    TargetServerAttributeNotMatched,
)

from shared.domain.errors import ConfigurationError
from shared.observability.logs import Logger
from shared.storage.pool.errors import OTHER_ATTRIBUTES
from shared.storage.pool.pooler import is_pooled, is_refusal_by_pooler, name_behind_pooler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ATTRIBUTE: Final = "target_session_attrs"
_NAME: Final = "application_name"

# Errors with which another host is tried: this one is away, starting, leaving or of another kind. A balancer
# whose server is away accepts a connection and closes it, which is a PostgresConnectionError.
_OF_HOST: Final = (
    OSError,
    OperatorInterventionError,
    PostgresConnectionError,
    TargetServerAttributeNotMatched,
)

_log = Logger(__name__)


class Hosts:
    """Connects to the first host that accepts writes, starting with the one that did so last.

    The library tries all hosts too, but within one time limit: a host that does not answer uses it up, and
    the next one is never tried. Here each host has a share of the limit.

    Args:
        url: Of one host, or of several with commas between them; of several, one that accepts writes is used
            unless the URL says otherwise.

    Attributes:
        is_pooled: Whether a pooler answered, for good: then no statement is prepared under a name, and of the
            settings of a session only its name is asked for.
    """

    def __init__(self, url: str) -> None:
        self.is_pooled = False
        self._urls = _urls_of_hosts(url)
        is_given = len(self._urls) == 1 or _ATTRIBUTE in parse_qs(urlsplit(url).query)
        self._settings: dict[str, Any] = {} if is_given else {_ATTRIBUTE: "read-write"}

    async def connect(
        self,
        *_: object,
        timeout: float,  # noqa: ASYNC109 - asyncpg's name
        server_settings: Mapping[str, str],
        **settings: Any,
    ) -> asyncpg.Connection[asyncpg.Record]:
        """A connection; asyncpg's pool passes the URL again, which is ignored.

        Args:
            timeout: For all hosts together.
            server_settings: Of the session, its name among them.
            settings: For asyncpg.

        Raises:
            ConfigurationError: A variable of libpq (PGPORT) is invalid.
            OSError: Why each host could not be connected to.
        """
        failures: list[str] = []
        for url in self._urls:
            parts = urlsplit(url)
            try:
                connection = await self._connect_to(
                    url, timeout / len(self._urls), server_settings, **self._settings, **settings
                )
            except ClientConfigurationError:
                raise
            except _OF_HOST as error:
                if len(self._urls) == 1:
                    raise
                is_other = isinstance(error, TargetServerAttributeNotMatched)
                reason = OTHER_ATTRIBUTES if is_other else str(error) or "no answer in time"
                failures.append(f"{parts.netloc.rpartition('@')[2]}: {reason}")
            # Of a variable of libpq, for the URL was checked. An untrusted certificate is an OSError as well.
            except ValueError as error:
                raise ConfigurationError(f"ISOLINE_DATABASE_URL, or PGPORT beside it: {error}") from error
            else:
                self._urls = [url, *(other for other in self._urls if other != url)]
                return connection
        raise OSError("; ".join(failures))

    async def _connect_to(
        self, url: str, timeout_s: float, server_settings: Mapping[str, str], **settings: Any
    ) -> asyncpg.Connection[asyncpg.Record]:
        if not self.is_pooled:
            connection = await _connect_directly(url, timeout_s, server_settings, **settings)
            if connection is not None:
                return connection
            if not self.is_pooled:  # else another connection found it meanwhile
                _log.info("connections go through a pooler")
            self.is_pooled = True
        pooled: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            url,
            timeout=timeout_s,
            statement_cache_size=0,
            server_settings={_NAME: name_behind_pooler(server_settings[_NAME])},
            **settings,
        )
        return pooled


async def _connect_directly(
    url: str, timeout_s: float, server_settings: Mapping[str, str], **settings: Any
) -> asyncpg.Connection[asyncpg.Record] | None:
    """A connection to PostgreSQL itself; None if a pooler answers."""
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            url, timeout=timeout_s, server_settings=dict(server_settings), **settings
        )
    except asyncpg.ProtocolViolationError as error:
        if is_refusal_by_pooler(error):
            return None
        raise
    try:
        pooled = await is_pooled(connection, timeout_s=timeout_s)
    except BaseException:
        connection.terminate()
        raise
    if not pooled:
        return connection
    connection.terminate()
    return None


def _urls_of_hosts(url: str) -> Sequence[str]:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]
