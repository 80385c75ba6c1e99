"""A URL that names several hosts: a primary and its standbys, tried one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
from asyncpg.exceptions import (
    CannotConnectNowError,
    ClientConfigurationError,
    TargetServerAttributeNotMatched,
)

from shared.domain.errors import ConfigurationError
from shared.storage.pool.errors import OTHER_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTRIBUTE: Final = "target_session_attrs"


class Hosts:
    """Connects to the first host that accepts writes, starting with the one that did so last.

    The library tries all hosts too, but within one time limit: a host that does not answer uses it up, and
    the next one is never tried. Here each host has a share of the limit.

    Args:
        url: Of one host, or of several with commas between them; of several, one that accepts writes is used
            unless the URL says otherwise.
    """

    def __init__(self, url: str) -> None:
        self._urls = _urls_of_hosts(url)
        is_given = len(self._urls) == 1 or _ATTRIBUTE in parse_qs(urlsplit(url).query)
        self._settings: dict[str, Any] = {} if is_given else {_ATTRIBUTE: "read-write"}

    async def connect(
        self,
        *_: object,
        timeout: float,  # noqa: ASYNC109 - asyncpg's name
        **settings: Any,
    ) -> asyncpg.Connection[asyncpg.Record]:
        """A connection; asyncpg's pool passes the URL again, which is ignored.

        Args:
            timeout: For all hosts together.
            settings: For asyncpg.

        Raises:
            ConfigurationError: A variable of libpq (PGPORT) is invalid.
            OSError: Why each host could not be connected to.
        """
        failures: list[str] = []
        for url in self._urls:
            parts = urlsplit(url)
            try:
                connection = await asyncpg.connect(
                    url, timeout=timeout / len(self._urls), **self._settings, **settings
                )
            except ClientConfigurationError:
                raise
            except ValueError as error:  # of a variable of libpq, for the URL was checked
                raise ConfigurationError(f"ISOLINE_DATABASE_URL, or PGPORT beside it: {error}") from error
            except (OSError, CannotConnectNowError, TargetServerAttributeNotMatched) as error:
                if len(self._urls) == 1:
                    raise
                is_other = isinstance(error, TargetServerAttributeNotMatched)
                reason = OTHER_ATTRIBUTES if is_other else str(error) or "no answer in time"
                failures.append(f"{parts.netloc.rpartition('@')[2]}: {reason}")
            else:
                self._urls = [url, *(other for other in self._urls if other != url)]
                return connection  # type: ignore[no-any-return] # the settings are any
        raise OSError("; ".join(failures))


def _urls_of_hosts(url: str) -> Sequence[str]:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]
