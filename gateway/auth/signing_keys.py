"""The keys of access tokens: the first signs, each verifies, which allows rotation."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.domain.errors import ConfigurationError

ALGORITHM: Final = "EdDSA"
MAX_KEYS: Final = 2

_SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key (RFC 8032) and its id (RFC 7638)."""

    private: Ed25519PrivateKey = field(repr=False)
    id: str

    @property
    def public(self) -> Ed25519PublicKey:
        """The public key."""
        return self.private.public_key()

    def jwk(self) -> dict[str, str]:
        """The public half as a JSON Web Key (RFC 8037)."""
        return {**_public_jwk(self.public), "kid": self.id, "use": "sig", "alg": ALGORITHM}


def read_keys(text: str) -> tuple[SigningKey, ...]:
    """The keys of a setting: one or two seeds of 32 bytes in base64, the newest first.

    Raises:
        ConfigurationError: It is something else; the message does not quote it.
    """
    seeds = [_seed(part) for part in _parts(text)]
    if not 1 <= len(seeds) <= MAX_KEYS or None in seeds:
        raise ConfigurationError(
            "ISOLINE_TOKEN_KEY: expected 32 random bytes in base64 (openssl rand -base64 32), "
            "or two such keys with a comma between them, the newer first"
        )
    return tuple(_key(seed) for seed in seeds if seed is not None)


def new_seed() -> str:
    """A new value of the setting, with one key."""
    return base64.b64encode(secrets.token_bytes(_SEED_BYTES)).decode()


def rotate_keys(text: str) -> str:
    """The setting with a new signing key, followed by the present one.

    Raises:
        ConfigurationError: It has no key.
    """
    read_keys(text)
    return f"{new_seed()},{_parts(text)[0]}"


def _parts(text: str) -> list[str]:
    return re.split(r"[\s,]+", text.strip())


def _seed(part: str) -> bytes | None:
    try:
        seed = base64.b64decode(part, validate=True)
    except (binascii.Error, ValueError):
        return None
    return seed if len(seed) == _SEED_BYTES else None


def _key(seed: bytes) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    canonical = orjson.dumps(_public_jwk(private.public_key()))
    return SigningKey(private, _base64url(hashlib.sha256(canonical).digest()))


def _public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The required members, in alphabetical order, as RFC 7638 hashes them."""
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
