"""A URL that names several hosts: a primary and its standbys, tried one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
from asyncpg.exceptions import CannotConnectNowError, TargetServerAttributeNotMatched

if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTRIBUTE: Final = "target_session_attrs"


class Hosts:
    """Connects to the first host that takes writes, beginning with the one that did so last.

    The library tries them too, all within one time limit: a host that is gone and does not even refuse takes
    it all, and the next one is never asked. Here each has its share.

    Args:
        url: Of one host, or of several with commas between them. Of several one that takes writes is looked
            for, unless the URL says otherwise.
    """

    def __init__(self, url: str) -> None:
        self._urls = _urls_of_hosts(url)
        is_told = len(self._urls) == 1 or _ATTRIBUTE in parse_qs(urlsplit(url).query)
        self._settings: dict[str, Any] = {} if is_told else {_ATTRIBUTE: "read-write"}

    async def connect(
        self,
        *_: object,
        timeout: float,  # noqa: ASYNC109 - asyncpg's name
        **settings: Any,
    ) -> asyncpg.Connection[asyncpg.Record]:
        """A connection; asyncpg's pool gives the URL once more.

        Args:
            timeout: For all hosts together.
            settings: What asyncpg is to be told.

        Raises:
            OSError: Why each host could not be connected to.
        """
        failures: list[str] = []
        for url in self._urls:
            parts = urlsplit(url)
            try:
                connection = await asyncpg.connect(
                    url, timeout=timeout / len(self._urls), **self._settings, **settings
                )
            except (OSError, CannotConnectNowError, TargetServerAttributeNotMatched) as error:
                if len(self._urls) == 1:
                    raise
                failures.append(f"{parts.netloc.rpartition('@')[2]}: {str(error) or 'no answer in time'}")
            else:
                self._urls = [url, *(other for other in self._urls if other != url)]
                return connection  # type: ignore[no-any-return] # the settings are any
        raise OSError("; ".join(failures))


def _urls_of_hosts(url: str) -> Sequence[str]:
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]
