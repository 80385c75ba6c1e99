"""Request bodies of the account and token routes, as models."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from gateway.http.validation import RequestBody, parse_body
from shared.domain.account import RESERVED_NAMES, USER_NAME, Role

MAX_PASSWORD_LENGTH: Final = 128


def _long_enough(value: str, info: ValidationInfo[int]) -> str:
    if len(value) < info.context:
        context = {"shortest": info.context}
        raise PydanticCustomError("password", "expected {shortest} characters or more", context)
    return value


def _new_name(value: str) -> str:
    if value in RESERVED_NAMES:
        raise PydanticCustomError(
            "name", "expected a name other than . and .., which clients drop from a path"
        )
    return value


_NewName = Annotated[
    str,
    Field(pattern=f"^{USER_NAME.pattern}$", json_schema_extra={"not": {"enum": list(RESERVED_NAMES)}}),
    AfterValidator(_new_name),
]
_NewPassword = Annotated[str, Field(max_length=MAX_PASSWORD_LENGTH), AfterValidator(_long_enough)]
_Roles = Annotated[
    list[Literal["user", "admin", "operator", "observer", "subscriber"]],
    Field(min_length=1, max_length=len(Role)),
]


class CredentialsBody(RequestBody):
    """The name and password of an account."""

    user: str
    password: str


class AccountBody(RequestBody):
    """An account to create."""

    user: _NewName
    password: _NewPassword
    roles: Annotated[_Roles, Field(description='`["user"]` if not given.')] = ["user"]


class RefreshBody(RequestBody):
    """A refresh token, of which only the length is validated here."""

    refresh_token: Annotated[str, Field(max_length=1024)]


class RolesBody(RequestBody):
    """The roles that an account is to have."""

    roles: _Roles


class PasswordBody(RequestBody):
    """A new password, and the present one when changing one's own."""

    password: _NewPassword
    current_password: Annotated[str, Field(max_length=MAX_PASSWORD_LENGTH)] | None = None


def read_credentials(document: object) -> CredentialsBody:
    """The credentials in a body.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(CredentialsBody, document, None)


def read_account(document: object, *, password_min_length: int) -> AccountBody:
    """The account that a body describes.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(AccountBody, document, password_min_length)


def read_refresh(document: object) -> RefreshBody:
    """The refresh token in a body.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(RefreshBody, document, None)


def read_roles(document: object) -> RolesBody:
    """The roles in a body.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(RolesBody, document, None)


def read_password(document: object, *, password_min_length: int) -> PasswordBody:
    """The new password in a body.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(PasswordBody, document, password_min_length)
