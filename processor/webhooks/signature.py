"""Sign requests by the scheme of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Final

from shared.domain.webhook import SECRET_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY_BYTES: Final = range(24, 64 + 1)


def signature_headers(
    message_id: str, body: bytes, *, secrets: Sequence[str], timestamp: int
) -> dict[str, str]:
    """The headers by which a receiver verifies the body, with one signature for each secret.

    A receiver takes a request if any of the signatures is right: with both of its secrets here, it may go
    over from one to the other at any time.

    Args:
        message_id: The same in each attempt. It has no dot: the signed text is divided by dots.
        body: The bytes that will be sent.
        secrets: ``whsec_`` and a Base64 of 24 to 64 bytes, each; at least one.
        timestamp: Of this attempt, in whole seconds since 1970; receivers refuse what is older than minutes.

    Raises:
        ValueError: The id has a dot, there is no secret, or one has another form. It repeats no secret.
    """
    if not message_id or "." in message_id:
        raise ValueError("the id of a webhook's message is empty or has a dot")
    if not secrets:
        raise ValueError("there is no secret to sign with")
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(_key(secret), content) for secret in secrets),
    }


def _signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in _KEY_BYTES:
        raise ValueError("a secret is not whsec_ and the Base64 of 24 to 64 bytes")
    return key
