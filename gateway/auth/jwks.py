"""The public keys of another issuer: fetched when they are needed, kept, and kept on when it is away."""

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

# Signatures alone: a public key must never be taken for the secret of an HMAC.
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

# A new key is asked for as soon as a token names it. Of tokens with made-up keys some become requests, of a
# flood of them one every few seconds.
ASKS_AT_ONCE: Final = 10
ASK_EVERY_S: Final = 5.0

# Until there are keys at all.
_FIRST_ASK_EVERY_S: Final = 1.0
# So long a key is good that the issuer has taken away: usual elsewhere too (PyJWT, Spring, Envoy).
FRESH_S: Final = 300.0
_REFRESH_EVERY_S: Final = 60.0
_FETCH_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
_DISCOVERY: Final = "/.well-known/openid-configuration"
_MAX_LOGGED: Final = 300
_NO_KEYS: Final = ()

_PUBLIC_KINDS: Final = {"RSA", "EC", "OKP"}
# NIST SP 800-131A; and no more than anybody uses, for a signature of 64 kbit takes seconds.
_RSA_BITS: Final = range(2048, 8192 + 1)
_MAX_EXPONENT_BITS: Final = 32

_log = Logger(__name__)


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
        self._keys: Mapping[str, tuple[jwt.PyJWK, ...]] | None = None
        self._failure = ""  # why they could not be fetched the last time
        self._passed_over = 0
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._allowance = TokenBucket(ASKS_AT_ONCE, every_s=ASK_EVERY_S, clock=clock)
        self._fetching: asyncio.Task[None] | None = None
        self._told: set[str] = set()

    async def find(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        """The keys of this name: none, one, or several where the issuer gives them one name.

        However many ask at once, one request goes out, and nobody waits for it whose key is known. Old keys
        serve on while the issuer is away.

        Raises:
            UnavailableError: It is not known, and the issuer could not be asked: it may have the key since.
        """
        if found := self._known(key_id):
            self._refresh()
            return found
        if self._fetching is not None and not self._failure:
            await asyncio.shield(self._fetching)  # it may have been asked before there was this key
        if not self._known(key_id) and self._may_ask():
            await asyncio.shield(self._begin_fetching())
        found = self._known(key_id)
        if not found and self._failure:
            raise self._unavailable()
        return found

    async def find_replaced(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        """The keys that the issuer has under a known name by now; none if it can't, or may not, be asked."""
        if not self._may_ask():
            return _NO_KEYS
        await asyncio.shield(self._begin_fetching())
        return _NO_KEYS if self._failure else self._known(key_id)

    def check(self) -> None:
        """Return if the keys could be fetched the last time; keeps them fresh though no token comes.

        Raises:
            UnavailableError: They could not, for this reason.
        """
        if self._failure:
            if self._may_ask():
                self._begin_fetching()
            raise self._unavailable()
        if self._keys is not None:
            self._refresh()

    async def stop(self) -> None:
        """Fetch no more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _known(self, key_id: str) -> tuple[jwt.PyJWK, ...]:
        return (self._keys or {}).get(key_id, _NO_KEYS)

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._fetched_at > FRESH_S and now - self._asked_at >= _REFRESH_EVERY_S:
            self._begin_fetching()

    def _may_ask(self) -> bool:
        """Whether to wait for the issuer. While it fails only the one that asks waits, the others know."""
        if self._failure:
            every_s = _FIRST_ASK_EVERY_S if self._keys is None else ASK_EVERY_S
            return self._fetching is None and self._clock() - self._asked_at >= every_s
        return self._fetching is not None or self._keys is None or self._allowance.take()

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(
            f"the keys of the external issuer can't be fetched: {self._failure}",
            for_sender="The keys of the token's issuer can't be fetched at the moment.",
            is_logged=True,
        )

    def _begin_fetching(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            url = self._jwks_url or await self._discovered_url()
            keys, passed_over = await asyncio.to_thread(_usable_keys, await self._get(url))
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
            self._tell_of_failure(self._failure)
        else:
            self._failure = ""
            self._keys, self._fetched_at = keys, self._clock()
            self._tell_of_success(passed_over)
        finally:
            self._asked_at = self._clock()  # not before: until then others wait for this answer
            self._fetching = None

    def _tell_of_failure(self, reason: str) -> None:
        """Once for each reason, until there are keys again."""
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("the keys of the external issuer could not be fetched", reason=reason)

    def _tell_of_success(self, passed_over: int) -> None:
        if self._told:
            self._told.clear()
            _log.info("the keys of the external issuer were fetched again")
        if passed_over != self._passed_over:
            self._passed_over = passed_over
            _log.info("keys of the external issuer are of no use here", count=passed_over)

    async def _discovered_url(self) -> str:
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
        async with self._session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004 - a redirect is no answer either: it could lead to anybody
                raise ValueError(f"{url!a:.200} answers {answer.status}")
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
        keys = IssuerKeys(session, issuer=issuer, jwks_url=jwks_url, clock=clock)
        try:
            yield keys
        finally:
            await keys.stop()


def _usable_keys(document: Mapping[str, Any]) -> tuple[dict[str, tuple[jwt.PyJWK, ...]], int]:
    """The keys that are for signatures and of a kind that we know, and how many entries were passed over."""
    entries = document["keys"]
    if not isinstance(entries, list):
        raise TypeError("its keys are no list")
    keys: dict[str, tuple[jwt.PyJWK, ...]] = {}
    passed_over = count = 0
    for entry in entries:
        key = _usable_key(entry) if count < _MAX_KEYS else None
        if key is None:
            passed_over += 1
        else:
            count += 1
            keys[entry["kid"]] = (*keys.get(entry["kid"], ()), key)
    return keys, passed_over


def _usable_key(entry: object) -> jwt.PyJWK | None:
    try:
        if not isinstance(entry, dict) or not _is_for_signatures(entry):
            return None
        key = jwt.PyJWK(entry)
    except Exception:  # noqa: BLE001 - whatever a library makes of an odd entry, the others are of use
        return None
    return key if key.algorithm_name in ALGORITHMS and _is_strong(key.key) else None


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    """Whether it has a name and is a public key, for signatures.

    With its private half, ``d``, it would prove nothing: everybody could have read it.
    """
    operations = entry.get("key_ops", ["verify"])
    return (
        isinstance(entry.get("kid"), str)
        and entry.get("kty") in _PUBLIC_KINDS
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
