from __future__ import annotations

import base64

import pytest

from gateway.auth.signing_keys import new_seed, read_keys, rotate_keys
from shared.domain.errors import ConfigurationError

_SEED = base64.b64encode(bytes(range(32))).decode()
_OTHER = base64.b64encode(bytes(32)).decode()

# RFC 8037, appendix A: this seed, its public key and the key's thumbprint.
_RFC_SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
_RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
_RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_has_the_public_half_and_the_id_of_the_rfc() -> None:
    [key] = read_keys(_RFC_SEED)

    assert key.jwk() == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _RFC_X,
        "kid": _RFC_THUMBPRINT,
        "use": "sig",
        "alg": "EdDSA",
    }


@pytest.mark.parametrize("between", [",", ", ", "\n", " "])
def test_two_keys_may_be_given_the_newer_first(between: str) -> None:
    newer, older = read_keys(f"{_SEED}{between}{_OTHER}\n")

    assert newer.id == read_keys(_SEED)[0].id
    assert older.id == read_keys(_OTHER)[0].id


@pytest.mark.parametrize(
    "text",
    ["", " ", "canary", _SEED[:-4], f"{_SEED},", f"{_SEED},canary", f"{_SEED},{_OTHER},{_SEED}", "ü" * 44],
)
def test_anything_else_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_keys(text)

    assert str(caught.value).startswith("ISOLINE_TOKEN_KEY: expected 32 random bytes in base64")
    assert "canary" not in str(caught.value)


def test_rotation_signs_with_a_new_key_and_keeps_the_one_before() -> None:
    once = rotate_keys(_SEED)
    twice = rotate_keys(once)

    assert [key.id for key in read_keys(once)][1] == read_keys(_SEED)[0].id
    assert [key.id for key in read_keys(twice)][1] == read_keys(once)[0].id
    assert len({key.id for key in (*read_keys(once), *read_keys(twice))}) == 3


def test_a_new_seed_is_new_each_time() -> None:
    assert new_seed() != new_seed()


def test_the_repr_of_a_key_hides_its_private_half() -> None:
    [key] = read_keys(_SEED)

    assert repr(key) == f"SigningKey(id='{key.id}')"
