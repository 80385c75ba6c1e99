from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.access_tokens import AccessTokens, InvalidTokenError
from gateway.auth.database_clock import LEEWAY_S
from gateway.auth.signing_keys import rotate_keys
from shared.domain.account import Role
from tests.http.conftest import TOKEN_KEY, open_client, problem_of
from tests.http.login_requests import log_in
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

_CANARY = "canary-of-a-secret"


def now() -> datetime:
    return datetime.now(UTC)


def a_token(*, issuer: str = "isoline", audience: str = "isoline", age_s: float = 0) -> str:
    tokens = AccessTokens(key=TOKEN_KEY, issuer=issuer, audience=audience, lifetime_s=900)
    return tokens.issue("ada", [Role.USER], now=now() - timedelta(seconds=age_s))


def our_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(TOKEN_KEY))


def signed(*, header: dict[str, Any] | None = None, without: str = "", **claims: Any) -> str:
    """A token of our own key with another header, with other claims or with one claim fewer."""
    token = a_token()
    ours = jwt.get_unverified_header(token)
    ours.pop("alg")
    payload = jwt.decode(token, options={"verify_signature": False}) | claims
    payload.pop(without, None)
    headers: dict[str, Any] = {**ours, **(header or {})}
    return jwt.encode(payload, our_key(), algorithm="EdDSA", headers=headers)


def by_another_key() -> str:
    key = base64.b64encode(bytes(32)).decode()
    tokens = AccessTokens(key=key, issuer="isoline", audience="isoline", lifetime_s=900)
    return tokens.issue("ada", [Role.USER], now=now())


def by_another_key_under_our_kid() -> str:
    token = a_token()
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    header.pop("alg")
    return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)


def with_its_own_key() -> str:
    """A token whose header has its own key, by value and by URL."""
    key = Ed25519PrivateKey.generate()
    x = base64.urlsafe_b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x.rstrip(b"=").decode(), "kid": "mine"}
    header = {"typ": "at+jwt", "kid": "mine", "jwk": jwk, "jku": "http://127.0.0.1:1/jwks.json"}
    claims = jwt.decode(a_token(), options={"verify_signature": False})
    return jwt.encode(claims, key, algorithm="EdDSA", headers=header)


def reassembled(header: dict[str, Any], signature: Callable[[bytes], bytes]) -> str:
    """A token with our claims and an arbitrary header and signature."""
    claims = a_token().split(".")[1].encode()
    signed = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=") + b"." + claims
    return (signed + b"." + base64.urlsafe_b64encode(signature(signed)).rstrip(b"=")).decode()


def with_algorithm_none() -> str:
    header = {**jwt.get_unverified_header(a_token()), "alg": "none"}
    return reassembled(header, lambda _: b"")


def signed_with_our_public_key_as_a_password() -> str:
    public = our_key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    header = {**jwt.get_unverified_header(a_token()), "alg": "HS256"}
    return reassembled(header, lambda signed: hmac.digest(public, signed, hashlib.sha256))


def unsigned() -> str:
    return a_token().rpartition(".")[0] + "."


def with_a_changed_claim() -> str:
    header, claims, signature = a_token().split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": "root", "roles": ["admin"]}
    return ".".join([header, base64.urlsafe_b64encode(json.dumps(changed).encode()).decode(), signature])


class TestTokens:
    async def test_a_valid_token_is_accepted(self, nobody: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {a_token()}"}

        async with nobody.get("/ecg/10", headers=headers) as response:
            assert response.status == 404

    async def test_the_scheme_is_read_ignoring_case(self, nobody: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"bearer {a_token()}"}

        async with nobody.get("/ecg/10", headers=headers) as response:
            assert response.status == 404

    @pytest.mark.parametrize(
        "token",
        [
            pytest.param(by_another_key(), id="another key"),
            pytest.param(by_another_key_under_our_kid(), id="another key under our kid"),
            pytest.param(with_a_changed_claim(), id="a changed claim"),
            pytest.param(unsigned(), id="no signature"),
            pytest.param(unsigned().rstrip("."), id="two parts"),
            pytest.param(with_algorithm_none(), id="algorithm none"),
            pytest.param(signed_with_our_public_key_as_a_password(), id="HS256 with the public key"),
            pytest.param(a_token(age_s=900 + LEEWAY_S + 1), id="expired"),
            pytest.param(a_token(age_s=-3600), id="not yet valid"),
            pytest.param(a_token(issuer="somebody"), id="another issuer"),
            pytest.param(a_token(audience="somebody"), id="another audience"),
            pytest.param(signed(header={"typ": "JWT"}), id="another type"),
            pytest.param(signed(header={"kid": "1"}), id="another kid"),
            pytest.param(signed(header={"kid": "../../../dev/null"}), id="a path as kid"),
            pytest.param(signed(header={"kid": "' OR 1=1; DROP TABLE account; --"}), id="SQL as kid"),
            pytest.param(signed(header={"jku": "http://127.0.0.1/"}), id="a header that we do not send"),
            pytest.param(signed(header={"crit": ["b64"], "b64": True}), id="a critical extension"),
            pytest.param(with_its_own_key(), id="its own key in its header"),
            pytest.param(signed(nbf=int(now().timestamp()) + 600), id="valid in ten minutes"),
            pytest.param(signed(iat=1.5), id="a time with a fraction"),
            pytest.param(signed(ver="x"), id="a version in words"),
            pytest.param(signed(aud=["isoline", "somebody"]), id="a second audience"),
            pytest.param(signed(exp=1e300), id="an expiry beyond all time"),
            pytest.param(signed(exp="soon"), id="an expiry in words"),
            pytest.param(signed(roles=["emperor"]), id="an unknown role"),
            pytest.param(signed(roles=5), id="roles that are no list"),
            *(
                pytest.param(signed(without=claim), id=f"no {claim}")
                for claim in ("exp", "iat", "nbf", "iss", "aud", "sub", "jti", "roles", "ver")
            ),
            pytest.param("x" * 8000, id="8 KB long"),
            pytest.param("garbage", id="garbage"),
            pytest.param("..", id="dots"),
            pytest.param("\xfc.\xfc.\xfc", id="not ASCII"),
        ],
    )
    async def test_any_other_token_is_refused(self, nobody_alone: aiohttp.ClientSession, token: str) -> None:
        async with nobody_alone.get("/ecg/10", headers={"Authorization": f"Bearer {token}"}) as response:
            problem = await problem_of(response, 401)

        expected = "The token is not valid, or no longer: get a new one from POST /token."
        assert problem["detail"] == expected
        assert response.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YWRhOng=", "ada"])
    async def test_a_401_without_a_token_names_the_scheme_and_the_token_route(
        self, nobody_alone: aiohttp.ClientSession, header: str | None
    ) -> None:
        headers = {} if header is None else {"Authorization": header}

        async with nobody_alone.post("/ecg/process", json=an_ecg_body(), headers=headers) as response:
            problem = await problem_of(response, 401)

        expected = "This needs a token: send Authorization: Bearer and the access_token of POST /token."
        assert problem["detail"] == expected
        assert response.headers["WWW-Authenticate"] == "Bearer"

    async def test_a_refused_token_is_not_quoted(self, nobody_alone: aiohttp.ClientSession) -> None:
        async with nobody_alone.get("/ecg/10", headers={"Authorization": f"Bearer {_CANARY}"}) as response:
            assert _CANARY not in await response.text()


class TestKeys:
    async def test_the_public_keys_verify_a_token(self, nobody: aiohttp.ClientSession) -> None:
        token = (await log_in(nobody))["access_token"]
        async with nobody.get("/.well-known/jwks.json") as response:
            keys = jwt.PyJWKSet.from_dict(await response.json())

        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.key, algorithms=["EdDSA"], audience="isoline", issuer="isoline")
        assert claims["sub"] == "ada"

    async def test_the_jwks_has_no_private_key(self, nobody: aiohttp.ClientSession) -> None:
        async with nobody.get("/.well-known/jwks.json") as response:
            document = await response.json()

        assert [key.keys() for key in document["keys"]] == [{"kty", "crv", "x", "kid", "use", "alg"}]

    def test_tokens_of_a_key_stay_valid_after_one_rotation_and_not_after_two(self) -> None:
        def tokens(key: str) -> AccessTokens:
            return AccessTokens(key=key, issuer="isoline", audience="isoline", lifetime_s=900)

        once = rotate_keys(TOKEN_KEY)
        twice = rotate_keys(once)
        token = tokens(TOKEN_KEY).issue("ada", [Role.USER], now=datetime.now(UTC))

        assert tokens(once).verify(token, now=time.time()).caller.name == "ada"
        with pytest.raises(InvalidTokenError):
            tokens(twice).verify(token, now=time.time())
        new = tokens(once).issue("ada", [Role.USER], now=datetime.now(UTC))
        with pytest.raises(InvalidTokenError):
            tokens(TOKEN_KEY).verify(new, now=time.time())


class TestRoles:
    async def test_an_admin_who_is_no_user_has_no_access_to_ecgs(
        self, root_alone: aiohttp.ClientSession
    ) -> None:
        async with root_alone.post("/ecg/process", json=an_ecg_body()) as response:
            posted = await problem_of(response, 403)
        async with root_alone.get("/ecg/10") as response:
            got = await problem_of(response, 403)

        assert posted["detail"] == got["detail"] == "This needs the role user; your token has admin."

    async def test_a_user_who_is_no_admin_creates_no_accounts(self, ada_alone: aiohttp.ClientSession) -> None:
        async with ada_alone.post("/user", json={"user": "eve", "password": "12345678"}) as response:
            problem = await problem_of(response, 403)

        assert problem["detail"] == "This needs the role admin; your token has user."

    async def test_an_account_with_both_roles_may_do_both(self, gateway: str) -> None:
        async with open_client(gateway, "both") as both:
            async with both.post("/ecg/process", json=an_ecg_body()) as response:
                assert response.status == 202
            async with both.post("/user", json={"user": "eve", "password": "12345678"}) as response:
                assert response.status == 201

    async def test_the_role_is_checked_before_the_body_is_read(
        self, ada_alone: aiohttp.ClientSession
    ) -> None:
        async with ada_alone.post("/user", data=b"not JSON") as response:
            assert response.status == 403
