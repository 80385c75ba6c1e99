"""The public keys of another issuer: fetched when they are needed, kept, and kept on when it is away."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import jwt
import orjson
import structlog

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

# An unknown key is asked for at most so often: tokens with made-up keys must not become requests.
ASK_EVERY_S: Final = 60.0

# Until there are keys at all.
_FIRST_ASK_EVERY_S: Final = 1.0
_FRESH_S: Final = 3600.0
_FETCH_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
_DISCOVERY: Final = "/.well-known/openid-configuration"

_log = structlog.get_logger(__name__)


class IssuerKeys:
    """Keys by their names.

    Args:
        issuer: Whose; its discovery document says where the keys are.
        jwks_url: Where they are, if that is known.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        issuer: str,
        jwks_url: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of this name; None when the issuer has none.

        However many ask at once, one request goes out. Old keys serve on while the issuer is away.

        Raises:
            UnavailableError: No keys could be had yet.
        """
        # A known key is not waited for while somebody asks for newer ones.
        is_asking_for_known = self._one_at_a_time.locked() and key_id in (self._keys or {})
        if self._needs_fetching(key_id) and not is_asking_for_known:
            async with self._one_at_a_time:
                if self._needs_fetching(key_id):
                    await self._fetch()
        if self._keys is None:
            raise UnavailableError(
                "the keys of the external issuer can't be had",
                for_sender="The keys of the token's issuer can't be fetched at the moment.",
            )
        return self._keys.get(key_id)

    def _needs_fetching(self, key_id: str) -> bool:
        now = self._clock()
        if now - self._asked_at < (_FIRST_ASK_EVERY_S if self._keys is None else ASK_EVERY_S):
            return False
        return self._keys is None or key_id not in self._keys or now - self._fetched_at > _FRESH_S

    async def _fetch(self) -> None:
        try:
            url = self._jwks_url or await self._discovered_url()
            self._keys = _usable_keys(await self._get(url))
            self._fetched_at = self._clock()
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            _log.warning("the keys of the external issuer could not be fetched", reason=repr(error))
        finally:
            self._asked_at = self._clock()  # not before: until then others wait for this answer

    async def _discovered_url(self) -> str:
        document = await self._get(self._issuer.rstrip("/") + _DISCOVERY)
        if document["issuer"] != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        return str(document["jwks_uri"])

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._session.get(url, allow_redirects=False, raise_for_status=True) as answer:
            content = await answer.content.read(_MAX_BYTES + 1)
            while len(content) <= _MAX_BYTES and (more := await answer.content.read(_MAX_BYTES)):
                content += more
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        document = orjson.loads(content)
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        return document


@asynccontextmanager
async def open_issuer_keys(
    issuer: str, jwks_url: str | None, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[IssuerKeys]:
    """Yield the keys of an issuer, fetched when first needed."""
    timeout = aiohttp.ClientTimeout(_FETCH_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield IssuerKeys(session, issuer=issuer, jwks_url=jwks_url, clock=clock)


def _usable_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that are for signatures and of a kind that we know; others are passed over."""
    keys: dict[str, jwt.PyJWK] = {}
    for entry in document["keys"][:_MAX_KEYS]:
        if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
            continue
        try:
            keys[entry["kid"]] = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return keys
