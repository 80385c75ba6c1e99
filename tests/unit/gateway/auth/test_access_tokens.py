from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any, Final

import jwt
import orjson
import pytest

from gateway.auth.access_tokens import (
    MAX_TOKEN_BYTES,
    AccessTokens,
    InvalidTokenError,
    VerifiedToken,
    check_times,
    unknown_key_error,
    unverified_header,
)
from gateway.auth.database_clock import LEEWAY_S
from gateway.auth.signing_keys import read_keys
from gateway.http.caller import Caller
from shared.domain.account import Role

_KEY: Final = base64.b64encode(bytes(range(32))).decode()
_OTHER_KEY: Final = base64.b64encode(bytes(range(1, 33))).decode()
_NOW_S: Final = 1_800_000_000
_NOW: Final = datetime.fromtimestamp(_NOW_S, UTC)
_LIFETIME_S: Final = 900
_CLAIMS: Final[dict[str, Any]] = {
    "iss": "isoline",
    "aud": "isoline",
    "sub": "ada",
    "roles": ["user"],
    "ver": 3,
    "iat": _NOW_S,
    "nbf": _NOW_S,
    "exp": _NOW_S + _LIFETIME_S,
    "jti": "1",
}


@pytest.fixture
def tokens() -> AccessTokens:
    return AccessTokens(key=_KEY, issuer="isoline", audience="isoline", lifetime_s=_LIFETIME_S)


def a_token(
    *, key: str = _KEY, header: dict[str, str | None] | None = None, left_out: str = "", **claims: Any
) -> str:
    """A token as of ours, but with these claims and in this header, and without a claim."""
    signing = read_keys(key)[0]
    said = {name: claim for name, claim in (_CLAIMS | claims).items() if name != left_out}
    headers = {"typ": "at+jwt", "kid": signing.id, **(header or {})}
    return jwt.PyJWS().encode(orjson.dumps(said), signing.private, "EdDSA", headers)


def refusal(tokens: AccessTokens, token: str, *, now: float = _NOW_S) -> InvalidTokenError:
    with pytest.raises(InvalidTokenError) as caught:
        tokens.verify(token, now=now)
    return caught.value


class TestVerifying:
    def test_a_token_proves_its_caller_until_it_expires(self, tokens: AccessTokens) -> None:
        token = tokens.issue("ada", Role, now=_NOW, version=3)

        assert tokens.verify(token, now=_NOW_S) == VerifiedToken(
            Caller("ada", frozenset(Role), 3), _NOW_S + _LIFETIME_S + LEEWAY_S
        )
        assert tokens.may_have_issued(token)

    def test_only_the_given_time_matters_and_not_the_clock_of_the_machine(self, tokens: AccessTokens) -> None:
        for year in (2001, 2099):
            now = datetime(year, 1, 1, tzinfo=UTC)

            token = tokens.issue("ada", [Role.USER], now=now)

            assert tokens.verify(token, now=now.timestamp()).caller.name == "ada"

    def test_two_tokens_issued_in_the_same_second_differ(self, tokens: AccessTokens) -> None:
        assert len({tokens.issue("ada", [Role.USER], now=_NOW) for _ in range(2)}) == 2

    def test_the_id_of_a_token_is_128_random_bits_in_hexadecimal(self, tokens: AccessTokens) -> None:
        token = tokens.issue("ada", [Role.USER], now=_NOW)

        claims = jwt.decode(token, options={"verify_signature": False})
        assert re.fullmatch("[0-9a-f]{32}", claims["jti"])

    def test_the_published_keys_verify_a_token(self) -> None:
        tokens = AccessTokens(
            key=f"{_KEY},{_OTHER_KEY}", issuer="isoline", audience="isoline", lifetime_s=_LIFETIME_S
        )

        keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(dict(tokens.jwks())).keys}

        assert keys.keys() == {read_keys(key)[0].id for key in (_KEY, _OTHER_KEY)}
        for key in (_KEY, _OTHER_KEY):
            verified = jwt.PyJWS().decode(a_token(key=key), keys[read_keys(key)[0].id], ["EdDSA"])
            assert orjson.loads(verified) == _CLAIMS

    @pytest.mark.parametrize("claim", _CLAIMS)
    def test_every_claim_is_required(self, tokens: AccessTokens, claim: str) -> None:
        assert refusal(tokens, a_token(left_out=claim)).claim in {claim, ""}

    @pytest.mark.parametrize(
        ("claims", "about"),
        [
            ({"sub": "a/b"}, "sub"),
            ({"sub": ""}, "sub"),
            ({"sub": "ada "}, "sub"),
            ({"roles": "user"}, "roles"),
            ({"roles": {"user": 1}}, "roles"),
            ({"roles": ["user", "root"]}, "roles"),
            ({"roles": [["user"]]}, ""),
            ({"ver": "3"}, "ver"),
            ({"ver": True}, "ver"),
            ({"ver": 3.0}, "ver"),
            ({"exp": _NOW_S + 1.5}, "exp, iat, nbf"),
            ({"iat": float(_NOW_S)}, "exp, iat, nbf"),
            ({"nbf": True}, "exp, iat, nbf"),
            ({"iss": "isoline/"}, "iss"),
            ({"aud": "another"}, "aud"),
            ({"aud": ["isoline"]}, "aud"),
        ],
    )
    def test_an_invalid_claim_is_named(
        self, tokens: AccessTokens, claims: dict[str, Any], about: str
    ) -> None:
        assert refusal(tokens, a_token(**claims)).claim == about

    @pytest.mark.parametrize("roles", [[], ["user"], ["admin", "user"]])
    def test_each_role_is_accepted(self, tokens: AccessTokens, roles: list[str]) -> None:
        assert tokens.verify(a_token(roles=roles), now=_NOW_S).caller.roles == set(roles)

    @pytest.mark.parametrize("header", [{"typ": "JWT"}, {"typ": None}, {"cty": "x"}])
    def test_a_header_with_other_fields_is_refused(
        self, tokens: AccessTokens, header: dict[str, str | None]
    ) -> None:
        assert refusal(tokens, a_token(header=header)).reason == "its header is not one of ours"

    def test_a_token_signed_by_another_key_under_our_key_id_is_refused(self, tokens: AccessTokens) -> None:
        forged = a_token(key=_OTHER_KEY, header={"kid": read_keys(_KEY)[0].id})

        assert refusal(tokens, forged).reason == "its signature is wrong"
        assert tokens.may_have_issued(forged)  # which proves nothing

    def test_a_token_of_an_unknown_key_has_its_own_reason(self, tokens: AccessTokens) -> None:
        unknown = a_token(key=_OTHER_KEY)

        assert refusal(tokens, unknown).reason == "its issuer has no such key"
        assert not tokens.may_have_issued(unknown)

    def test_both_keys_verify_and_the_first_signs(self) -> None:
        both = AccessTokens(
            key=f"{_OTHER_KEY},{_KEY}", issuer="isoline", audience="isoline", lifetime_s=_LIFETIME_S
        )

        assert both.verify(a_token(), now=_NOW_S).caller.name == "ada"
        issued = both.issue("ada", [Role.USER], now=_NOW)
        assert jwt.get_unverified_header(issued)["kid"] == read_keys(_OTHER_KEY)[0].id


class TestTimes:
    @pytest.mark.parametrize(
        ("after_s", "reason"),
        [
            (-LEEWAY_S - 0.1, "it is not valid yet"),
            (-LEEWAY_S, None),
            (_LIFETIME_S + LEEWAY_S - 0.1, None),
            (_LIFETIME_S + LEEWAY_S, "it has expired"),
        ],
    )
    def test_a_token_is_valid_from_nbf_to_exp_with_a_leeway_on_both_sides(
        self, tokens: AccessTokens, after_s: float, reason: str | None
    ) -> None:
        token = a_token()

        if reason is None:
            assert tokens.verify(token, now=_NOW_S + after_s).caller.name == "ada"
        else:
            assert refusal(tokens, token, now=_NOW_S + after_s).reason == reason

    @pytest.mark.parametrize(
        ("life_s", "is_taken"), [(1, True), (900, True), (901, False), (0, False), (-1, False)]
    )
    def test_a_lifetime_must_be_positive_and_not_too_long(
        self, tokens: AccessTokens, life_s: int, *, is_taken: bool
    ) -> None:
        token = a_token(exp=_NOW_S + life_s)

        if is_taken:
            assert tokens.verify(token, now=_NOW_S).until == _NOW_S + life_s + LEEWAY_S
        else:
            assert refusal(tokens, token).reason == "it was to live too long"

    @pytest.mark.parametrize("name", ["iat", "nbf"])
    def test_neither_iat_nor_nbf_may_be_in_the_future(self, name: str) -> None:
        times = {"iat": 100, "nbf": 100, "exp": 200}

        check_times(times | {name: 110}, now=100, leeway_s=10, longest_s=100)
        with pytest.raises(InvalidTokenError, match="not valid yet"):
            check_times(times | {name: 111}, now=100, leeway_s=10, longest_s=100)

    def test_a_token_without_nbf_is_valid_from_iat(self) -> None:
        check_times({"iat": 100, "exp": 200}, now=100, leeway_s=0, longest_s=100)

    @pytest.mark.parametrize(
        "time", [float("nan"), float("inf"), 1e12, 10**400, -(10**400), "100", True, None]
    )
    @pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
    def test_a_time_that_is_no_number_is_refused(self, name: str, time: object) -> None:
        with pytest.raises(InvalidTokenError, match="no numbers"):
            check_times({"iat": 100, "nbf": 100, "exp": 200, name: time}, now=100, leeway_s=0, longest_s=1000)


class TestWhatIsSaidOfOthers:
    def test_too_long_a_token_is_not_parsed(self) -> None:
        with pytest.raises(InvalidTokenError, match="no JSON Web Token"):
            unverified_header("x" * MAX_TOKEN_BYTES)
        with pytest.raises(InvalidTokenError, match=f"longer than {MAX_TOKEN_BYTES} bytes"):
            unverified_header("x" * (MAX_TOKEN_BYTES + 1))

    def test_another_issuer_is_named_with_the_expected_one(self) -> None:
        error = unknown_key_error(a_token(iss="https://issuer.test/"), expected_issuer="https://issuer.test")

        assert (error.claim, error.expected, error.found) == (
            "iss",
            "https://issuer.test",
            "https://issuer.test/",
        )

    @pytest.mark.parametrize(
        ("issuer", "found"),
        [
            ("é" * 300, "\\xe9" * 50),
            ("x" * 201, "x" * 200),
            (7, "no text but int"),
            (None, "no text but NoneType"),
        ],
    )
    def test_the_claimed_issuer_is_escaped_and_truncated(self, issuer: object, found: str) -> None:
        assert unknown_key_error(a_token(iss=issuer), expected_issuer="isoline").found == found

    def test_a_token_that_can_not_be_parsed_names_no_issuer(self) -> None:
        assert unknown_key_error("no token", expected_issuer="isoline").found == "no text but NoneType"
