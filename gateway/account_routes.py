"""The routes of accounts and tokens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.answers import AccountAnswer, TokenAnswer
from gateway.contract import Answer, Route
from gateway.handlers import Handlers
from gateway.payloads import AccountBody, CredentialsBody
from shared.domain.account import Role

_TAG: Final = "Accounts"

ACCOUNT_ROUTES: Final = (
    Route(
        method="POST",
        path="/token",
        handler=Handlers.post_token,
        role=None,
        tag=_TAG,
        summary="Trade a name and a password for a token",
        request=CredentialsBody,
        examples={"the embedded mode's demo account": {"user": "demo", "password": "demo"}},
        answers={
            HTTPStatus.OK: Answer(
                description="A token that proves for a while who you are.",
                model=TokenAnswer,
                examples={
                    "a token": {
                        "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhZGEifQ.c2ln",
                        "token_type": "Bearer",
                        "expires_in": 900,
                    }
                },
                headers={"Cache-Control": "`no-store`"},
            )
        },
        problems={HTTPStatus.UNAUTHORIZED: "No account has this name and this password."},
    ),
    Route(
        method="POST",
        path="/user",
        handler=Handlers.post_user,
        role=Role.ADMIN,
        tag=_TAG,
        summary="Create an account",
        description="`user` submits ECGs and reads its own; `admin` administers accounts. One may be both.",
        request=AccountBody,
        examples={
            "a submitter": {"user": "grace@example.org", "password": "correct horse battery"},
            "an administrator": {"user": "alan", "password": "correct horse battery", "roles": ["admin"]},
        },
        answers={
            HTTPStatus.CREATED: Answer(
                description="The account exists.",
                model=AccountAnswer,
                examples={"a submitter": {"user": "grace@example.org", "roles": ["user"]}},
            )
        },
        problems={HTTPStatus.CONFLICT: "There is an account named grace@example.org already."},
    ),
)
