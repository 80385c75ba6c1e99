from __future__ import annotations

import hashlib
import zlib

import pytest

from shared.domain.account import Role
from shared.domain.api_key import (
    KEY_ROLES,
    hash_secret,
    is_secret,
    looks_like_secret,
    new_secret,
    shown_prefix,
)

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_secret_begins_with_isk_and_ends_with_its_checksum_in_base_62() -> None:
    secret = new_secret()

    content, checksum = secret[:-6], secret[-6:]
    value = 0
    for digit in checksum:
        value = value * 62 + _DIGITS.index(digit)
    assert len(content) == 4 + 40
    assert content.startswith("isk_")
    assert value == zlib.crc32(content.encode())


def test_new_secrets_are_secrets_and_differ() -> None:
    secrets = [new_secret() for _ in range(100)]

    assert all(map(is_secret, secrets))
    assert len(set(secrets)) == 100


def test_each_change_of_one_character_is_noticed() -> None:
    secret = new_secret()

    changed = [
        secret[:index] + ("a" if secret[index] != "a" else "b") + secret[index + 1 :] for index in range(50)
    ]

    assert not any(map(is_secret, changed))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "isk_",
        "isk_" + "0" * 46,
        new_secret()[:-1],
        new_secret() + "0",
        new_secret() + "\n",
        new_secret().upper(),
        " " + new_secret(),
        "isk_" + "ü" * 46,
        "isk_" + "٣" * 46,
    ],
    ids=["empty", "prefix", "checksum", "short", "long", "line", "capitals", "space", "letters", "digits"],
)
def test_any_other_text_is_none(text: str) -> None:
    assert not is_secret(text)


def test_it_is_told_from_a_token_by_its_beginning() -> None:
    assert looks_like_secret("isk_0")
    assert not looks_like_secret("eyJhbGciOiJFZERTQSJ9.e30.c2ln")


def test_what_is_stored_is_a_hash_and_what_is_shown_leaves_most_of_it_secret() -> None:
    secret = new_secret()

    assert hash_secret(secret) == hashlib.sha256(secret.encode()).digest()
    assert shown_prefix(secret) == secret[:12]


def test_a_key_may_have_each_role_but_that_of_administrators() -> None:
    assert set(Role) - KEY_ROLES == {Role.ADMIN}
