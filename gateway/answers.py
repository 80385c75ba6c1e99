"""What clients are answered, as models: the same that the contract shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EcgStatus = Literal["queued", "completed", "failed"]
_Id = Annotated[str, Field(description="The ECG's id, as its sender gave it.")]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReceiptAnswer(_Answer):
    """An ECG was accepted: it will not be lost."""

    id: _Id
    status: EcgStatus


class LeadFindings(BaseModel):
    """What was found in one lead; later versions may add keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    zero_crossings: Annotated[
        int,
        Field(ge=0, description="Sign changes between consecutive non-zero samples of signal - baseline."),
    ]
    warnings: Annotated[list[str], Field(description="What a reader of these values must know.")] = []


class EcgAnswer(_Answer):
    """An ECG: where it stands and, once completed, what was found in it."""

    id: _Id
    status: EcgStatus
    leads: Annotated[
        list[Annotated[dict[str, LeadFindings], Field(min_length=1, max_length=1)]],
        Field(description="One object per lead, in the order sent: its name and its findings. If completed."),
    ] = []
    ecg: Annotated[dict[str, Any], Field(description="Findings about the ECG as a whole, if any.")] = {}
    insights: Annotated[
        dict[str, int], Field(description="The version of each measurement that was made. If completed.")
    ] = {}
    error: Annotated[str, Field(description="Why it was given up. If failed.")] = ""


class EcgSummaryAnswer(_Answer):
    """An ECG in a list."""

    id: _Id
    status: EcgStatus
    submitted_at: datetime


class EcgsAnswer(_Answer):
    """A page of ECGs, newest first."""

    ecgs: list[EcgSummaryAnswer]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""


class TokenAnswer(_Answer):
    """A token that proves who you are, and one that gets the next."""

    access_token: Annotated[str, Field(description="Send it as `Authorization: Bearer`.")]
    refresh_token: Annotated[str, Field(description="Good for one `POST /token/refresh`.")]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(ge=1, description="Seconds.")]


class AccountAnswer(_Answer):
    """An account, without its password."""

    user: str
    roles: list[Literal["user", "admin"]]


class AccountsAnswer(_Answer):
    """A page of accounts, by name."""

    users: list[AccountAnswer]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""


class KeyAnswer(_Answer):
    """A public key as a JWK (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class KeysAnswer(_Answer):
    """The keys that prove our access tokens (RFC 7517)."""

    keys: list[KeyAnswer]


class LiveAnswer(_Answer):
    """The process turns."""

    status: Literal["live"]


class PartAnswer(_Answer):
    """How something is that the service needs."""

    state: Annotated[
        Literal["ok", "degraded", "failing"],
        Field(description="With a part that is degraded requests should come here all the same."),
    ]
    since: Annotated[datetime, Field(description="Since when it works, or does not.")]
    reason: Annotated[str, Field(description="Why it does not work. Unless ok.")] = ""
    means: Annotated[str, Field(description="What that means for users. Unless ok.")] = ""


class ReadyAnswer(_Answer):
    """Whether requests should come here, and if not, why."""

    status: Literal["ready", "not ready"]
    reasons: Annotated[dict[str, str], Field(description="Why not, by part.")] = {}
    parts: Annotated[dict[str, PartAnswer], Field(description="What the service needs, by name.")] = {}


class ErrorAnswer(_Answer):
    """One thing that is wrong with a body."""

    pointer: Annotated[str, Field(description="JSON pointer (RFC 6901); empty for the whole body.")]
    detail: str


class ProblemAnswer(_Answer):
    """An error, by RFC 9457."""

    type: Annotated[str, Field(pattern="^urn:isoline:problem:[a-z-]+$")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What was found and what was expected.")]
    errors: Annotated[list[ErrorAnswer], Field(description="All that is wrong with the body.")] = []
