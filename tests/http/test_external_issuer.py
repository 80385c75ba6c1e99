from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.jwks import FETCH_BURST, FETCH_EVERY_S, MAX_AGE_S, open_jwks_client
from gateway.auth.refused_tokens import RefusedTokenLog
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.settings import ExternalIssuerSettings, GatewayOnlySettings, read_settings
from tests.http.conftest import TOKENS, open_client, open_test_gateway, problem_of
from tests.support.builders import an_ecg_body
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_AUDIENCE: Final = "isoline-api"
_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_JWK: Final[dict[str, Any]] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


def unavailable(_: web.Request) -> web.Response:
    return web.Response(status=503)


def a_page(_: web.Request) -> web.Response:
    return web.Response(text="<html>Back soon</html>", content_type="text/html")


def half_a_document(_: web.Request) -> web.Response:
    return web.Response(body=b'{"keys": [', content_type="application/json")


def reset(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Issuer:
    """An OpenID Connect issuer with keys that a test rotates."""

    def __init__(self) -> None:
        self.url = ""
        self.is_away = False
        self.fault: Callable[[web.Request], web.Response] = unavailable
        self.delay_s = 0.0
        self.asked = 0
        self.jwks_path = "/keys"
        self.first: list[Any] = []
        self.more: list[Any] = []
        self.document: Any = None
        self.responses: list[web.Response] = []
        self.rotated = 1
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa-1": ("RS256", _RSA),
            "ec-1": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed-1": ("EdDSA", Ed25519PrivateKey.generate()),
        }

    def token(self, key_id: str = "rsa-1", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token; a claim of None is left out."""
        algorithm, key = self.keys[key_id]
        now = int(time.time())
        payload = {
            "iss": self.url,
            "aud": _AUDIENCE,
            "sub": "8f3a",
            "iat": now,
            "exp": now + 300,
            "realm_access": {"roles": ["user", "offline_access"]},
        } | claims
        present = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(present, key, algorithm=algorithm, headers={"kid": key_id, **(header or {})})

    def rotate(self) -> None:
        self.rotated += 1
        self.keys = {f"ed-{self.rotated}": ("EdDSA", Ed25519PrivateKey.generate())}

    def respond_with_present_keys(self) -> None:
        """Respond to requests under way with the present keys."""
        self.responses = [self._respond()]

    async def until_asked(self, count: int) -> None:
        await until(lambda: self.asked >= count)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": self.url + self.jwks_path})

    async def jwks(self, request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.is_away:
            return self.fault(request)
        return self.responses.pop() if self.responses else self._respond()

    async def moved(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": []}, status=302, headers={"Location": f"{self.url}/keys"})

    def _respond(self) -> web.Response:
        keys = [
            {**_JWK[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}
            for key_id, (algorithm, key) in self.keys.items()
        ]
        return web.json_response(self.document or {"keys": [*self.first, *keys, *self.more]})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer, app = Issuer(), web.Application()
    app.router.add_get("/realms/ecg/.well-known/openid-configuration", issuer.discovery)
    app.router.add_get("/realms/ecg/keys", issuer.jwks)
    app.router.add_get("/realms/ecg/moved", issuer.moved)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/realms/ecg"
    yield issuer
    await runner.cleanup()


OpenTrusting: TypeAlias = tuple[Issuer, Callable[..., AbstractAsyncContextManager[aiohttp.ClientSession]]]


@asynccontextmanager
async def open_trusting_gateway(
    issuer: Issuer, database: Database, broker: InProcessBroker, **settings: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway that accepts the issuer's tokens."""
    values: dict[str, Any] = {
        "oidc_issuer": issuer.url,
        "oidc_audience": _AUDIENCE,
        "oidc_roles_claim": "realm_access.roles",
    }
    trusting = GatewayOnlySettings(host="127.0.0.1", port=0, **(values | settings))
    async with (
        open_test_gateway(database, broker.publisher(), settings=trusting) as address,
        open_client(address) as client,
    ):
        yield client


@pytest.fixture
def open_trusting(issuer: Issuer, database: Database, broker: InProcessBroker) -> OpenTrusting:
    """The issuer, and how to open a client of a gateway that trusts it, with settings of its own."""
    return issuer, partial(open_trusting_gateway, issuer, database, broker)


@pytest.fixture
async def client(open_trusting: OpenTrusting) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_trusting[1]() as client:
        yield client


async def status_of(client: aiohttp.ClientSession, token: str, path: str = "/ecg/nothing") -> int:
    async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
        if response.status not in {200, 404}:
            await problem_of(response, response.status)
        return response.status


class TestAcceptedTokens:
    @pytest.mark.parametrize("key_id", ["rsa-1", "ec-1", "ed-1"])
    async def test_tokens_of_each_algorithm_are_accepted(
        self, client: aiohttp.ClientSession, issuer: Issuer, key_id: str
    ) -> None:
        assert await status_of(client, issuer.token(key_id)) == 404

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": [_AUDIENCE, "account"]},
            {"aud": None, "client_id": _AUDIENCE, "token_use": "access"},
            {"typ": "Bearer", "azp": "somebody", "scope": "openid"},
            {"sub": "auth0|123456"},
        ],
    )
    async def test_tokens_of_keycloak_auth0_and_cognito_are_accepted(
        self, client: aiohttp.ClientSession, issuer: Issuer, claims: dict[str, Any]
    ) -> None:
        assert await status_of(client, issuer.token(**claims)) == 404

    async def test_our_own_tokens_are_still_accepted(
        self, client: aiohttp.ClientSession, gateway: str, nobody: aiohttp.ClientSession
    ) -> None:
        del gateway
        async with nobody.post("/token", json={"user": "ada", "password": "a good password"}) as response:
            token = (await response.json())["access_token"]

        assert await status_of(client, token) == 404

    async def test_the_owner_is_the_issuer_and_the_subject(
        self, client: aiohttp.ClientSession, issuer: Issuer, database: Database, broker: InProcessBroker
    ) -> None:
        headers = {"Authorization": f"Bearer {issuer.token(sub='ada')}"}
        async with client.post("/ecg/process", json=an_ecg_body(id="10"), headers=headers) as response:
            assert response.status == 202

        assert await status_of(client, issuer.token("ed-1", sub="ada"), "/ecg/10") == 200
        assert await status_of(client, issuer.token(sub="bob"), "/ecg/10") == 404
        async with (
            open_test_gateway(database, broker.publisher()) as address,
            open_client(address, "ada") as ada,
            ada.get("/ecg/10") as response,
        ):
            assert response.status == 404
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT owner FROM ecg") == f"{issuer.url}#ada"

    @pytest.mark.parametrize(
        ("path", "claims", "status"),
        [
            ("realm_access.roles", {"realm_access": {"roles": ["user"]}}, 404),
            ("cognito:groups", {"cognito:groups": ["user"]}, 404),
            ("https://isoline.example/roles", {"https://isoline.example/roles": ["user"]}, 404),
            ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, 403),
            ("realm_access.roles", {"realm_access": {"roles": []}}, 403),
            ("realm_access.roles", {"realm_access": {"roles": "user"}}, 403),
            ("realm_access.roles", {"realm_access": {"roles": [["user"], {"user": 1}, None]}}, 403),
            ("realm_access.roles", {"realm_access": ["roles"]}, 403),
            ("realm_access.roles", {"realm_access": None}, 403),
            ("realm_access.roles", {"realm_access": None, "roles": ["user"]}, 403),
        ],
    )
    async def test_roles_are_read_from_the_configured_claim(
        self, open_trusting: OpenTrusting, path: str, claims: dict[str, Any], status: int
    ) -> None:
        issuer, open_client = open_trusting
        async with open_client(oidc_roles_claim=path) as client:
            assert await status_of(client, issuer.token(**claims)) == status

    async def test_an_external_admin_administers_accounts(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        token = issuer.token(realm_access={"roles": ["admin"]})

        assert await status_of(client, token, "/user") == 200

    async def test_an_external_account_has_no_webhooks_for_nobody_would_tell_when_it_ended(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        headers = {"Authorization": f"Bearer {issuer.token()}"}
        body = {"url": "https://hooks.example.org/"}
        async with client.post("/webhook", json=body, headers=headers) as response:
            posted = await problem_of(response, 403)
        async with client.get("/webhook", headers=headers) as response:
            got = await problem_of(response, 403)

        expected = "Your account is kept by another issuer; only accounts of this one have webhooks."
        assert posted["detail"] == got["detail"] == expected


def hmac_of_a_public_key(issuer: Issuer) -> str:
    public = _RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = issuer.token().split(".")[1]
    confused = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"rsa-1","typ":"JWT"}').decode()
    signature = hmac.digest(public, f"{confused}.{claims}".encode(), hashlib.sha256)
    return f"{confused}.{claims}.{jwt.utils.base64url_encode(signature).decode()}"


def unsigned(issuer: Issuer) -> str:
    claims = issuer.token().split(".")[1]
    return jwt.utils.base64url_encode(b'{"alg":"none","kid":"rsa-1"}').decode() + f".{claims}."


def of_another_key(issuer: Issuer) -> str:
    other = Issuer()
    other.url = issuer.url
    other.keys = {"rsa-1": ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048))}
    return other.token()


def of_another_algorithm(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    return jwt.encode(claims, _RSA, algorithm="RS512", headers={"kid": "rsa-1"})


class TestRefusedTokens:
    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://somebody.example"},
            {"iss": None},
            {"aud": "somebody"},
            {"aud": ["somebody", "account"]},
            {"aud": None},
            {"aud": None, "client_id": _AUDIENCE},
            {"sub": None},
            {"sub": ""},
            {"sub": "a\0b"},
            {"sub": "x" * 256},
            {"exp": None},
            {"exp": 1},
            {"exp": 1e300},
            {"exp": int(time.time()) + 2 * 24 * 3600},
            {"exp": "soon"},
            {"iat": None},
            {"iat": int(time.time()) + 3600},
            {"nbf": int(time.time()) + 3600},
            {"token_use": "id"},
            {"typ": "ID"},
            {"typ": "Refresh"},
        ],
    )
    async def test_a_token_with_invalid_claims_is_refused(
        self, client: aiohttp.ClientSession, issuer: Issuer, claims: dict[str, Any]
    ) -> None:
        assert await status_of(client, issuer.token(**claims)) == 401

    @pytest.mark.parametrize(
        "header",
        [
            {"kid": "unknown"},
            {"kid": "../../../etc/passwd"},
            {"kid": "' OR 1=1 --"},
            {"kid": "ec-1"},
            {"typ": "secevent+jwt"},
            {"crit": ["exp"]},
            {"jku": "http://127.0.0.1:1/", "kid": "mine"},
        ],
    )
    async def test_a_token_with_an_invalid_header_is_refused(
        self, client: aiohttp.ClientSession, issuer: Issuer, header: dict[str, Any]
    ) -> None:
        assert await status_of(client, issuer.token(header=header)) == 401

    @pytest.mark.parametrize("forge", [hmac_of_a_public_key, unsigned, of_another_key, of_another_algorithm])
    async def test_a_forged_token_is_refused(
        self, client: aiohttp.ClientSession, issuer: Issuer, forge: Any
    ) -> None:
        assert await status_of(client, forge(issuer)) == 401

    @pytest.mark.parametrize("token", ["x" * 8000, "..", "garbage", "a.b.c"])
    async def test_a_malformed_token_causes_no_fetch(
        self, client: aiohttp.ClientSession, issuer: Issuer, token: str
    ) -> None:
        assert await status_of(client, token) == 401
        assert issuer.asked == 0

    async def test_an_external_issuer_can_not_sign_our_own_tokens(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        token = issuer.token(iss="isoline", aud="isoline", roles=["admin"], sub="root")
        kid = jwt.get_unverified_header(TOKENS.issue("x", [], now=datetime.now(UTC)))["kid"]

        assert await status_of(client, token, "/user") == 401
        assert await status_of(client, issuer.token(header={"kid": kid}), "/user") == 401


class TestKeys:
    async def test_concurrent_requests_share_one_fetch(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        issuer.delay_s = 0.2

        found = await asyncio.gather(*(status_of(client, issuer.token()) for _ in range(20)))

        assert found == [404] * 20
        assert issuer.asked == 1

    async def test_a_flood_of_made_up_key_ids_causes_few_fetches(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        await status_of(client, issuer.token())
        begun = time.monotonic()

        for index in range(50):
            assert await status_of(client, issuer.token(header={"kid": f"made-up-{index}"})) == 401

        more = math.ceil((time.monotonic() - begun) / FETCH_EVERY_S)
        assert issuer.asked <= 1 + FETCH_BURST + more

    async def test_a_rotated_key_is_accepted_at_once_and_the_old_one_refused(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        for _ in range(3):
            before = issuer.token(next(iter(issuer.keys)))
            assert await status_of(client, before) == 404
            issuer.rotate()

            assert await status_of(client, issuer.token(next(iter(issuer.keys)))) == 404
            assert await status_of(client, before + "x") == 401

    async def test_a_new_key_is_accepted_within_seconds_of_a_flood_of_made_up_ones(
        self, issuer: Issuer
    ) -> None:
        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            assert await keys.find("rsa-1")
            for index in range(100):
                assert not await keys.find(f"made-up-{index}")
            asked = issuer.asked
            issuer.rotate()
            assert not await keys.find("ed-2")

            now += FETCH_EVERY_S

            assert await keys.find("ed-2")
            assert not await keys.find("rsa-1")
        assert asked == 1 + FETCH_BURST
        assert issuer.asked == asked + 1

    async def test_a_key_added_during_a_fetch_is_found_by_the_next(self, issuer: Issuer) -> None:
        issuer.delay_s = 0.3
        async with open_jwks_client(issuer.url, None) as keys:
            await keys.find("rsa-1")
            asking = asyncio.create_task(keys.find("made-up"))
            await issuer.until_asked(2)
            issuer.respond_with_present_keys()  # what is under way was answered before the rotation
            issuer.rotate()

            assert await keys.find("ed-2")
            assert not await asking

    async def test_tokens_of_known_keys_do_not_wait_for_a_fetch(self, issuer: Issuer) -> None:
        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            await keys.find("rsa-1")
            now += 2 * 3600
            issuer.delay_s = 60

            async with asyncio.timeout(3):
                assert await keys.find("rsa-1")
                await issuer.until_asked(2)

    async def test_known_keys_stay_in_use_while_the_issuer_is_unavailable(self, issuer: Issuer) -> None:
        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            await keys.find("rsa-1")
            issuer.is_away = True
            for _ in range(10):
                now += 3600
                assert await keys.find("rsa-1")

    async def test_an_unknown_key_is_a_503_while_the_issuer_is_unavailable(self, issuer: Issuer) -> None:
        """The issuer may have the key: the token may be valid."""
        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            await keys.find("rsa-1")
            issuer.rotate()
            issuer.is_away = True
            for _ in range(100):
                with pytest.raises(UnavailableError):
                    await keys.find("ed-2")
            asked = issuer.asked
            issuer.is_away = False
            now += FETCH_EVERY_S

            assert await keys.find("ed-2")
            assert not await keys.find("made-up")
        assert asked <= 1 + FETCH_BURST

    @pytest.mark.parametrize("fault", [unavailable, a_page, half_a_document, reset])
    async def test_a_token_of_a_new_key_is_a_503_for_each_failure_of_the_issuer(
        self,
        client: aiohttp.ClientSession,
        issuer: Issuer,
        fault: Callable[[web.Request], web.Response],
    ) -> None:
        before = issuer.token()
        assert await status_of(client, before) == 404
        issuer.rotate()
        issuer.is_away, issuer.fault = True, fault

        headers, begun = {"Authorization": f"Bearer {issuer.token('ed-2')}"}, time.monotonic()
        with capture_logs() as records:
            for _ in range(20):
                async with client.get("/ecg/nothing", headers=headers) as response:
                    problem = await problem_of(response, 503)
                    assert int(response.headers["Retry-After"]) > 0

        assert "issuer" in problem["detail"]
        assert not refusals_of(records)
        logged = [record["message"] for record in records if record["level"] == "warning"]
        assert logged == ["the keys of the external issuer could not be fetched"]
        more = math.ceil((time.monotonic() - begun) / FETCH_EVERY_S)
        assert issuer.asked <= 1 + 2 * more  # aiohttp asks once more where a connection was reset
        assert await status_of(client, before) == 404

    async def test_while_the_issuer_fails_only_one_request_waits_for_the_fetch(self, issuer: Issuer) -> None:
        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            await keys.find("rsa-1")
            issuer.is_away = True
            with pytest.raises(UnavailableError):
                await keys.find("ed-2")
            issuer.delay_s = 60
            now += FETCH_EVERY_S
            waiting = asyncio.create_task(keys.find("ed-2"))
            await issuer.until_asked(3)

            async with asyncio.timeout(3):
                for index in range(100):
                    with pytest.raises(UnavailableError):
                        await keys.find(f"made-up-{index}")
                assert await keys.find("rsa-1")
            waiting.cancel()
        assert issuer.asked == 3

    async def test_a_key_replaced_under_its_id_is_accepted_at_once(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        for algorithm, key in (
            ("RS256", _RSA),
            ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            ("EdDSA", Ed25519PrivateKey.generate()),
        ):
            issuer.keys = {"default": (algorithm, key)}

            assert await status_of(client, issuer.token("default")) == 404

    async def test_a_flood_of_wrong_signatures_causes_few_fetches(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        await status_of(client, issuer.token())
        forged, begun = of_another_key(issuer), time.monotonic()

        for _ in range(50):
            assert await status_of(client, forged) == 401
        issuer.is_away = True
        for _ in range(50):
            assert await status_of(client, forged) == 401

        more = math.ceil((time.monotonic() - begun) / FETCH_EVERY_S)
        assert issuer.asked <= 1 + FETCH_BURST + more

    async def test_a_withdrawn_key_is_refused_soon_without_other_fetches(self, issuer: Issuer) -> None:
        async def is_refused() -> bool:
            return not await keys.find("rsa-1")

        now = 0.0
        async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
            keys.check()
            assert issuer.asked == 0  # keys are fetched on demand
            await keys.find("rsa-1")
            del issuer.keys["rsa-1"]
            now += MAX_AGE_S
            keys.check()
            assert await keys.find("rsa-1")
            now += 1
            keys.check()

            await until(is_refused)

    async def test_an_unavailable_issuer_is_a_degraded_part_until_it_recovers(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        async def part() -> dict[str, Any]:
            async with client.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
                assert response.status == 200
                found: dict[str, Any] = (await response.json())["parts"]["issuer"]
                return found

        async def has_recovered() -> bool:
            return bool((await part())["state"] == "ok")

        issuer.is_away = True
        before = await part()
        assert await status_of(client, issuer.token()) == 503
        away = await part()
        issuer.is_away = False
        await until(has_recovered)

        assert before["state"] == "ok"
        assert away["state"] == "degraded"
        assert "answers 503" in away["reason"]
        assert await status_of(client, issuer.token()) == 404

    async def test_an_issuer_that_was_never_available_is_a_503_and_fetched_again_soon(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        issuer.is_away = True
        first = await status_of(client, issuer.token())
        issuer.is_away = False
        await asyncio.sleep(1.1)

        assert first == 503
        assert await status_of(client, issuer.token()) == 404

    async def test_keys_of_unsupported_types_or_for_encryption_are_skipped(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        issuer.more = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
            {"kty": "new", "kid": "new"},
            {"kty": "RSA", "kid": "broken"},
            {"kid": 5},
            {**_JWK["RS256"].to_jwk(_RSA.public_key(), as_dict=True), "kid": "enc", "use": "enc"},
        ]

        assert await status_of(client, issuer.token()) == 404
        assert await status_of(client, issuer.token(header={"kid": "enc"})) == 401

    @pytest.mark.parametrize(
        "odd",
        [
            "x",
            5,
            None,
            [],
            ["kid"],
            {},
            {"kty": "RSA"},
            {"kty": ["RSA"], "kid": "rsa-1"},
            {"kty": "RSA", "kid": ["rsa-1"], "n": "AQAB", "e": "AQAB"},
            {"kty": "RSA", "kid": "rsa-1", "n": "!!!", "e": "AQAB"},
            {"kty": "RSA", "kid": "rsa-1", "n": 5, "e": None},
            {"kty": "RSA", "kid": "rsa-1", "n": "é", "e": "AQAB"},
            {"kty": "EC", "kid": "rsa-1", "crv": "P-256", "x": "AA", "y": "AA"},
            {"kty": "OKP", "kid": "rsa-1", "crv": "X25519", "x": "AA"},
            {"kty": "OKP", "kid": "rsa-1", "crv": {}, "x": "AA"},
            {"kty": "RSA", "kid": "rsa-1", "alg": [], "n": "AQAB", "e": "AQAB"},
            {"kty": "oct", "kid": "rsa-1", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "rsa-1", "key_ops": 5},
        ],
        ids=repr,
    )
    async def test_an_odd_entry_is_skipped_in_any_position(self, issuer: Issuer, odd: object) -> None:
        issuer.more, issuer.first = [odd], [odd]
        async with open_jwks_client(issuer.url, None) as keys:
            assert [len(await keys.find(key_id)) for key_id in issuer.keys] == [1, 1, 1]

    @pytest.mark.parametrize(
        "document", [{"keys": "x"}, {"keys": {"kid": "x"}}, {"keys": None}, {"x": 1}, ["x"], "x", 5]
    )
    async def test_a_document_without_a_list_of_keys_is_a_failed_fetch(
        self, issuer: Issuer, document: object
    ) -> None:
        issuer.document = document
        async with open_jwks_client(issuer.url, None) as keys:
            with pytest.raises(UnavailableError):
                await keys.find("rsa-1")

    @pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
    async def test_weak_or_unsuitable_keys_are_skipped(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
        public = _JWK["RS256"].to_jwk(_RSA.public_key(), as_dict=True)
        issuer.more = [
            {**_JWK["RS256"].to_jwk(weak.public_key(), as_dict=True), "kid": "weak"},
            {**_JWK["RS256"].to_jwk(_RSA, as_dict=True), "kid": "private", "key_ops": ["verify"]},
            {**public, "kid": "enc", "use": "enc"},
            {**public, "kid": "wraps", "key_ops": ["wrapKey"]},
            {**public, "kid": "other", "alg": "RS512"},
            {**public, "kid": "good"},
        ]
        keys = {"weak": weak} | dict.fromkeys(("private", "enc", "wraps", "other", "good"), _RSA)

        statuses = {}
        for key_id, key in keys.items():
            claims = jwt.decode(issuer.token(), options={"verify_signature": False})
            token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": key_id})
            statuses[key_id] = await status_of(client, token)

        assert statuses == dict.fromkeys(("weak", "private", "enc", "wraps", "other"), 401) | {"good": 404}

    async def test_each_of_several_keys_with_one_id_verifies_its_tokens(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        issuer.first = [{**_JWK["RS256"].to_jwk(other.public_key(), as_dict=True), "kid": "rsa-1"}]
        claims = jwt.decode(issuer.token(), options={"verify_signature": False})

        assert await status_of(client, issuer.token()) == 404
        for signer, status in ((other, 404), (rsa.generate_private_key(65537, 2048), 401)):
            token = jwt.encode(claims, signer, algorithm="RS256", headers={"kid": "rsa-1"})
            assert await status_of(client, token) == status

    async def test_usable_keys_are_found_among_thousands_of_odd_ones(self, issuer: Issuer) -> None:
        issuer.first = [{"kty": "RSA", "kid": f"odd-{index}"} for index in range(5000)]
        async with open_jwks_client(issuer.url, None) as keys:
            assert await keys.find("rsa-1")

    async def test_too_large_a_document_is_not_read_to_its_end(self, issuer: Issuer) -> None:
        issuer.first = [{"kty": "RSA", "kid": "x" * 1000} for _ in range(300)]
        async with open_jwks_client(issuer.url, None) as keys:
            with pytest.raises(UnavailableError):
                await keys.find("rsa-1")

    async def test_a_redirect_is_not_followed(self, issuer: Issuer) -> None:
        issuer.jwks_path = "/moved"
        async with open_jwks_client(issuer.url, None) as keys:
            with pytest.raises(UnavailableError):
                await keys.find("rsa-1")
        assert issuer.asked == 0

    async def test_an_outage_of_the_issuer_is_logged_once(self, issuer: Issuer) -> None:
        now = 0.0
        issuer.is_away = True
        with capture_logs() as records:
            async with open_jwks_client(issuer.url, None, clock=lambda: now) as keys:
                for _ in range(5):
                    now += 10
                    with pytest.raises(UnavailableError):
                        await keys.find("rsa-1")
                issuer.is_away = False
                now += 10
                assert await keys.find("rsa-1")

        assert [record["message"] for record in records] == [
            "the keys of the external issuer could not be fetched",
            "the keys of the external issuer were fetched again",
        ]
        assert "answers 503" in records[0]["reason"]

    async def test_a_discovery_document_of_another_issuer_is_refused_and_both_are_named(
        self, issuer: Issuer
    ) -> None:
        with capture_logs() as records:
            async with open_jwks_client(issuer.url + "/", None) as keys:
                with pytest.raises(UnavailableError):
                    await keys.find("rsa-1")

        [record] = records
        assert f"'{issuer.url}'" in record["reason"]
        assert f"'{issuer.url}/'" in record["reason"]

    @pytest.mark.parametrize("path", ["/nothing", "/.well-known/openid-configuration"])
    async def test_an_invalid_document_of_the_issuer_is_a_503(self, issuer: Issuer, path: str) -> None:
        issuer.jwks_path = path
        async with open_jwks_client(issuer.url, None) as keys:
            with pytest.raises(UnavailableError):
                await keys.find("rsa-1")

    async def test_the_url_of_the_keys_may_be_configured(self, issuer: Issuer) -> None:
        async with open_jwks_client("http://nobody.invalid", f"{issuer.url}/keys") as keys:
            assert await keys.find("rsa-1")

    async def test_an_https_issuer_may_not_lead_to_http(self, issuer: Issuer) -> None:
        with capture_logs() as records:
            async with open_jwks_client("https://id.example.org", f"{issuer.url}/keys") as keys:
                with pytest.raises(UnavailableError):
                    await keys.find("rsa-1")

        assert issuer.asked == 0
        assert "an issuer with https leads to a URL without" in records[0]["reason"]


class TestLongTokens:
    @pytest.mark.parametrize("key_id", ["rsa-1", "ed-1"])
    async def test_a_token_with_150_roles_is_accepted(
        self, client: aiohttp.ClientSession, issuer: Issuer, key_id: str
    ) -> None:
        roles = [f"department-{index}-physician" for index in range(150)]
        token = issuer.token(key_id, realm_access={"roles": [*roles, "user"]})

        assert len(token) > 4607
        assert await status_of(client, token) == 404

    async def test_a_token_of_maximal_length_is_accepted_and_a_longer_one_is_a_431(
        self, client: aiohttp.ClientSession, issuer: Issuer
    ) -> None:
        def token_of(length: int) -> str:
            """The longest token up to this length: 3 bytes of claims take 4 in base64."""
            for padding in range(length * 3 // 4, 0, -1):
                token = issuer.token("ed-1", padding="x" * padding)
                if len(token) <= length:
                    return token
            raise AssertionError

        longest = 8190 - len("Bearer ")
        token = token_of(longest)
        assert longest - 2 <= len(token) <= longest

        assert await status_of(client, token) == 404
        async with client.get(
            "/ecg/nothing", headers={"Authorization": f"Bearer {token}{'x' * 8}"}
        ) as response:
            assert response.status == 431


def refusals_of(records: list[Any]) -> list[dict[str, Any]]:
    names = {"reason", "claim", "expected", "found", "more"}
    return [
        {name: value for name, value in record.items() if name in names}
        for record in records
        if record["message"] == "a token was refused"
    ]


class TestLogging:
    @pytest.mark.parametrize(
        ("claims", "logged"),
        [
            ({"exp": 1_000_000_000, "iat": 999_999_900}, {"reason": "it has expired", "claim": "exp"}),
            (
                {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 3700},
                {"reason": "it is not valid yet", "claim": "iat"},
            ),
            ({"nbf": int(time.time()) + 3600}, {"reason": "it is not valid yet", "claim": "nbf"}),
            ({"exp": None}, {"reason": "a claim is missing", "claim": "exp"}),
            (
                {"aud": "canary"},
                {"reason": "it is for another audience", "claim": "aud", "expected": _AUDIENCE},
            ),
            ({"sub": "canary\0"}, {"reason": "its subject is no name", "claim": "sub"}),
            ({"typ": "canary"}, {"reason": "it is no access token", "claim": "typ"}),
        ],
    )
    async def test_a_refused_token_is_logged_with_reason_and_claim_and_without_values(
        self, client: aiohttp.ClientSession, issuer: Issuer, claims: dict[str, Any], logged: dict[str, str]
    ) -> None:
        token = issuer.token(**({"sub": "canary", "email": "canary"} | claims))
        with capture_logs() as records:
            assert await status_of(client, token) == 401

        assert refusals_of(records) == [logged]
        assert "canary" not in str(records)
        assert not any(part in str(records) for part in token.split("."))

    @pytest.mark.parametrize("found", ["{}/", "https://id.example.org/\n\u202e\x1b[31m", "x" * 5000])
    async def test_another_issuer_is_logged_with_the_expected_one_truncated_and_escaped(
        self, client: aiohttp.ClientSession, issuer: Issuer, found: str
    ) -> None:
        found = found.format(issuer.url)
        with capture_logs() as records:
            assert await status_of(client, issuer.token(iss=found)) == 401
            assert await status_of(client, issuer.token(iss=found, header={"kid": "unknown"})) == 401

        for logged in refusals_of(records):
            assert logged["claim"] == "iss"
            assert logged["expected"] == issuer.url
            assert logged["found"] == found.encode("unicode_escape").decode()[:200]
            assert logged["found"].isprintable()
            assert logged["found"].isascii()
        assert len(refusals_of(records)) == 2

    async def test_a_flood_of_one_reason_is_sampled_and_hides_no_other(self) -> None:
        now = 0.0
        log = RefusedTokenLog(lambda: now)
        with capture_logs() as records:
            for _ in range(1000):
                log.add(InvalidTokenError("its signature is wrong"))
            log.add(InvalidTokenError("it has expired", claim="exp"))
            now += 1
            log.add(InvalidTokenError("its signature is wrong"))

        logged = refusals_of(records)
        assert logged[:10] == [{"reason": "its signature is wrong"}] * 10
        assert logged[10:] == [
            {"reason": "it has expired", "claim": "exp"},
            {"reason": "its signature is wrong", "more": 990},
        ]

    async def test_refused_tokens_of_our_own_are_logged_too(self, client: aiohttp.ClientSession) -> None:
        old = TOKENS.issue("ada", [], now=datetime.now(UTC) - timedelta(hours=1))
        with capture_logs() as records:
            assert await status_of(client, old) == 401
            assert await status_of(client, "canary") == 401

        assert refusals_of(records) == [
            {"reason": "it has expired", "claim": "exp"},
            {"reason": "it is no JSON Web Token"},
        ]
        assert "canary" not in str(records)


def test_an_issuer_without_an_audience_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_OIDC_ISSUER", "https://id.example.org")

    with pytest.raises(ConfigurationError, match="ISOLINE_OIDC_AUDIENCE is needed"):
        read_settings(ExternalIssuerSettings)


def test_an_issuer_with_https_and_keys_without_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_OIDC_ISSUER", "https://id.example.org")
    monkeypatch.setenv("ISOLINE_OIDC_AUDIENCE", _AUDIENCE)
    monkeypatch.setenv("ISOLINE_OIDC_JWKS_URL", "http://id.example.org/keys")

    with pytest.raises(ConfigurationError, match="ISOLINE_OIDC_JWKS_URL: the keys of an issuer with https"):
        read_settings(ExternalIssuerSettings)
