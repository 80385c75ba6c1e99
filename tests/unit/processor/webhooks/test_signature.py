"""Signatures, held against the reference library of Standard Webhooks."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from processor.webhooks.signature import signature_headers
from shared.domain.webhook import new_webhook_secret

if TYPE_CHECKING:
    from collections.abc import Callable

_ID: Final = "0b0f7a1e-8f2b-5d0c-9c55-4f1f6f2f4d11"
_BODY: Final = '{"id":"1","note":"Zürich"}'.encode()
_OLD: Final = "whsec_" + base64.b64encode(b"o" * 32).decode()
_NEW: Final = "whsec_" + base64.b64encode(b"n" * 32).decode()


def test_the_example_of_the_reference_library_gives_its_signature() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    headers = signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', secrets=[secret], timestamp=1614265330
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(text=st.text(), key=st.binary(min_size=24, max_size=64), timestamp=st.integers(0, 2**32))
def test_the_reference_library_signs_alike(text: str, key: bytes, timestamp: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    body = text.encode()

    headers = signature_headers(_ID, body, secrets=[secret], timestamp=timestamp)

    at = datetime.fromtimestamp(timestamp, UTC)
    assert headers["webhook-signature"] == Webhook(secret).sign(_ID, at, text)


@pytest.mark.parametrize("secret", [_OLD, _NEW], ids=["old", "new"])
def test_a_receiver_with_either_secret_verifies_what_both_have_signed(secret: str) -> None:
    headers = signature_headers(_ID, _BODY, secrets=[_NEW, _OLD], timestamp=int(time.time()))

    assert len(headers["webhook-signature"].split(" ")) == 2
    assert Webhook(secret).verify(_BODY, headers) == {"id": "1", "note": "Zürich"}


def test_a_receiver_verifies_a_secret_that_was_made_for_a_webhook() -> None:
    secret = new_webhook_secret()

    headers = signature_headers(_ID, _BODY, secrets=[secret], timestamp=int(time.time()))

    assert Webhook(secret).verify(_BODY, headers)


@pytest.mark.parametrize(
    ("name", "change"),
    [("webhook-id", lambda it: it + "1"), ("webhook-timestamp", lambda it: str(int(it) - 1))],
    ids=["id", "timestamp"],
)
def test_a_receiver_refuses_a_changed_header(name: str, change: Callable[[str], str]) -> None:
    headers = signature_headers(_ID, _BODY, secrets=[_NEW], timestamp=int(time.time()))

    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(_NEW).verify(_BODY, headers | {name: change(headers[name])})


def test_a_receiver_refuses_a_changed_body() -> None:
    headers = signature_headers(_ID, _BODY, secrets=[_NEW], timestamp=int(time.time()))

    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(_NEW).verify(_BODY + b" ", headers)


def test_a_receiver_refuses_what_is_old() -> None:
    headers = signature_headers(_ID, _BODY, secrets=[_NEW], timestamp=int(time.time()) - 301)

    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(_NEW).verify(_BODY, headers)


def test_a_receiver_with_another_secret_refuses() -> None:
    headers = signature_headers(_ID, _BODY, secrets=[_OLD], timestamp=int(time.time()))

    with pytest.raises(WebhookVerificationError):
        Webhook(_NEW).verify(_BODY, headers)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        _NEW.removeprefix("whsec_"),
        _NEW.replace("whsec_", "whsk_"),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        _NEW[:-1],
        _NEW.replace("b", "!"),
        _NEW + "é",
    ],
)
def test_a_secret_of_another_form_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^a secret is not whsec_ and the Base64 of 24 to 64 bytes$"):
        signature_headers(_ID, _BODY, secrets=[_OLD, secret], timestamp=1)


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="no secret"):
        signature_headers(_ID, _BODY, secrets=[], timestamp=1)


@pytest.mark.parametrize("message_id", ["", "a.b", "1.1614265330."])
def test_an_id_that_could_move_the_borders_of_the_signed_text_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="empty or has a dot"):
        signature_headers(message_id, _BODY, secrets=[_NEW], timestamp=1)
