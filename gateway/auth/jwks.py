"""A client for the JSON Web Key Set of an external issuer: fetches on demand, caches, outlasts outages."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.auth.token_bucket import TokenBucket
from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from typing import Any

# Asymmetric only: a public key must never be accepted as the secret of an HMAC.
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

# An unknown key id causes a fetch at once; a flood of tokens with made-up key ids causes a burst, then one
# every few seconds.
FETCH_BURST: Final = 10
FETCH_EVERY_S: Final = 5.0

# Until the first success.
_FIRST_FETCH_EVERY_S: Final = 1.0
# For so long a withdrawn key stays valid, as in PyJWT, Spring and Envoy.
MAX_AGE_S: Final = 300.0
_REFRESH_EVERY_S: Final = 60.0
_FETCH_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
_DISCOVERY: Final = "/.well-known/openid-configuration"
_MAX_LOGGED: Final = 300
_NO_KEYS: Final = ()

_KEY_TYPES: Final = {"RSA", "EC", "OKP"}
# NIST SP 800-131A; and not larger than in use, for verifying with a key of 64 kbit takes seconds.
_RSA_BITS: Final = range(2048, 8192 + 1)
_MAX_EXPONENT_BITS: Final = 32

_log = Logger(__name__)


class JwksClient:
    """Public keys of one issuer, by key id.

    Args:
        issuer: Its discovery document has the URL of the keys.
        jwks_url: The URL of the keys, if configured.
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
        self._keys: Mapping[str, tuple[jwt.PyJWK, ...]] | None = None
        self._failure = ""  # of the last fetch
        self._skipped = 0
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._bucket = TokenBucket(FETCH_BURST, every_s=FETCH_EVERY_S, clock=clock)
        self._fetch_task: asyncio.Task[None] | None = None
        self._logged_failures: set[str] = set()

    async def find(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        """The keys of this id: none, one, or several if the issuer reuses ids.

        Concurrent calls share one fetch; a known key is returned without waiting, and stays in use while the
        issuer is unavailable.

        Raises:
            UnavailableError: The key is unknown, and the fetch that might find it failed.
        """
        if found := self._known(key_id):
            self._refresh()
            return found
        if self._fetch_task is not None and not self._failure:
            await asyncio.shield(self._fetch_task)  # it may have begun before the key existed
        if not self._known(key_id) and self._may_fetch():
            await asyncio.shield(self._start_fetch())
        found = self._known(key_id)
        if not found and self._failure:
            raise self._unavailable()
        return found

    async def refetch(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        """The present keys of a known id, fetched anew; none if that fails or is rate-limited."""
        if not self._may_fetch():
            return _NO_KEYS
        await asyncio.shield(self._start_fetch())
        return _NO_KEYS if self._failure else self._known(key_id)

    def check(self) -> None:
        """Return if the last fetch succeeded; refreshes old keys though no token arrives.

        Raises:
            UnavailableError: It failed, for this reason.
        """
        if self._failure:
            if self._may_fetch():
                self._start_fetch()
            raise self._unavailable()
        if self._keys is not None:
            self._refresh()

    async def stop(self) -> None:
        """Cancel a running fetch."""
        if self._fetch_task is not None:
            self._fetch_task.cancel()
            await asyncio.wait([self._fetch_task])

    def _known(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        return (self._keys or {}).get(key_id, _NO_KEYS)

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._fetched_at > MAX_AGE_S and now - self._attempted_at >= _REFRESH_EVERY_S:
            self._start_fetch()

    def _may_fetch(self) -> bool:
        """Whether to wait for a fetch; after a failure only the call that starts the next one waits."""
        if self._failure:
            every_s = _FIRST_FETCH_EVERY_S if self._keys is None else FETCH_EVERY_S
            return self._fetch_task is None and self._clock() - self._attempted_at >= every_s
        return self._fetch_task is not None or self._keys is None or self._bucket.take()

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            f"the keys of the external issuer can't be fetched: {self._failure}",
            for_sender="The keys of the token's issuer can't be fetched at the moment.",
            is_logged=True,
        )

    def _start_fetch(self) -> asyncio.Task[None]:
        if self._fetch_task is None:
            self._fetch_task = asyncio.create_task(self._fetch())
        return self._fetch_task

    async def _fetch(self) -> None:
        try:
            url = self._jwks_url or await self._discover_url()
            keys, skipped = await asyncio.to_thread(_usable_keys, await self._get(url))
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
            LookupError,
            TypeError,
            RecursionError,
        ) as error:
            self._failure = repr(error)[:_MAX_LOGGED]
            self._log_failure(self._failure)
        else:
            self._failure = ""
            self._keys, self._fetched_at = keys, self._clock()
            self._log_success(skipped)
        finally:
            self._attempted_at = self._clock()  # only now: until then other calls wait for this fetch
            self._fetch_task = None

    def _log_failure(self, reason: str) -> None:
        """Log each reason once until the next success."""
        if reason not in self._logged_failures:
            self._logged_failures.add(reason)
            _log.warning("the keys of the external issuer could not be fetched", reason=reason)

    def _log_success(self, skipped: int) -> None:
        if self._logged_failures:
            self._logged_failures.clear()
            _log.info("the keys of the external issuer were fetched again")
        if skipped != self._skipped:
            self._skipped = skipped
            _log.info("unusable keys of the external issuer were skipped", count=skipped)

    async def _discover_url(self) -> str:
        document = await self._get(self._issuer.rstrip("/") + _DISCOVERY)
        issuer, url = document["issuer"], document["jwks_uri"]
        if issuer != self._issuer:
            raise ValueError(
                f"the discovery document is of {issuer!a:.200}, and {self._issuer!a} is expected"
            )
        if not isinstance(url, str):
            raise TypeError("the discovery document's jwks_uri is no text")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        if urlsplit(self._issuer).scheme == "https" != urlsplit(url).scheme:
            raise ValueError("an issuer with https leads to a URL without")
        async with self._session.get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - redirects too: they could lead to another host
                raise ValueError(f"{url!a:.200} answers {response.status}")
            content = await response.content.read(_MAX_BYTES + 1)
            while len(content) <= _MAX_BYTES and (more := await response.content.read(_MAX_BYTES)):
                content += more
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        document = orjson.loads(content)
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
        return document


@asynccontextmanager
async def open_jwks_client(
    issuer: str, jwks_url: str | None, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[JwksClient]:
    """Yield a client, which fetches keys when they are first needed."""
    timeout = aiohttp.ClientTimeout(_FETCH_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        keys = JwksClient(session, issuer=issuer, jwks_url=jwks_url, clock=clock)
        try:
            yield keys
        finally:
            await keys.stop()


def _usable_keys(document: Mapping[str, Any]) -> tuple[dict[str, tuple[jwt.PyJWK, ...]], int]:
    """The keys for signatures of supported types, and how many entries were skipped."""
    entries = document["keys"]
    if not isinstance(entries, list):
        raise TypeError("its keys are no list")
    keys: dict[str, tuple[jwt.PyJWK, ...]] = {}
    skipped = count = 0
    for entry in entries:
        key = _usable_key(entry) if count < _MAX_KEYS else None
        if key is None:
            skipped += 1
        else:
            count += 1
            keys[entry["kid"]] = (*keys.get(entry["kid"], ()), key)
    return keys, skipped


def _usable_key(entry: object) -> jwt.PyJWK | None:
    try:
        if not isinstance(entry, dict) or not _is_for_signatures(entry):
            return None
        key = jwt.PyJWK(entry)
    except Exception:  # noqa: BLE001 - an odd entry must not make the others unusable
        return None
    return key if key.algorithm_name in ALGORITHMS and _is_strong(key.key) else None


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    """Whether it has an id and is a public key for signatures.

    An entry with its private half, ``d``, is refused: that key is compromised.
    """
    operations = entry.get("key_ops", ["verify"])
    return (
        isinstance(entry.get("kid"), str)
        and entry.get("kty") in _KEY_TYPES
        and "d" not in entry
        and entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _is_strong(key: object) -> bool:
    match key:
        case RSAPublicKey():
            exponent_bits = key.public_numbers().e.bit_length()
            return key.key_size in _RSA_BITS and exponent_bits <= _MAX_EXPONENT_BITS
        case EllipticCurvePublicKey():
            return isinstance(key.curve, SECP256R1)
        case _:
            return isinstance(key, Ed25519PublicKey | Ed448PublicKey)
