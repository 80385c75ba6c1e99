"""What a 503 advises: to send the same request again, unless it would do something a second time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson
import pytest

from gateway.api_keys.use_cases import create_api_key
from gateway.http.problems import error_response
from gateway.webhooks.use_cases import Owner, WantedWebhook, create_webhook, rotate_secret
from shared.domain.account import Account, Role
from shared.domain.errors import UnavailableError
from shared.domain.webhook import Webhook
from shared.ports.event_log import LogPosition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_THEN: Final = datetime(2026, 1, 31, 8, tzinfo=UTC)
_ID: Final = UUID(int=1)
_WEBHOOK: Final = Webhook(
    id=_ID,
    account="ada",
    url="https://example.org/",
    description="",
    types=frozenset(["ecg.deleted"]),
    of_all_owners=False,
    created_at=_THEN,
    previous_secret_until=None,
    is_enabled=True,
    disabled_at=None,
    disabled_reason=None,
    failures=0,
    failing_since=None,
    last_error=None,
    resume_at=_THEN,
    last_delivered_at=None,
    waiting=0,
    may_read=True,
)
_OWNER: Final = Owner("ada", [Role.USER])


class LostReplies:
    """Storage that may have written, and can't say."""

    async def find(self, _: object, *, account: str = "") -> object:
        return _WEBHOOK if account else Account("ada", "a hash", frozenset([Role.USER]))

    async def add(self, _: object, *, limit: int) -> object:
        raise UnavailableError("PostgreSQL: the connection was lost", for_sender=f"No answer of {limit}.")

    async def rotate(self, _: object, __: object, *, account: str) -> object:
        raise UnavailableError(f"PostgreSQL: the connection of {account} was lost")


async def _create_webhook(storage: LostReplies) -> object:
    wanted = WantedWebhook("https://example.org/", "", ["ecg.deleted"], False, LogPosition(1, 1))  # noqa: FBT003
    return await create_webhook(wanted, _OWNER, webhooks=storage, log=_Log())  # type: ignore[arg-type]


async def _rotate_secret(storage: LostReplies) -> object:
    return await rotate_secret(str(_ID), _OWNER, webhooks=storage)  # type: ignore[arg-type]


async def _create_api_key(storage: LostReplies) -> object:
    return await create_api_key(
        "ada",
        "a monitor",
        roles=[Role.USER],
        lifetime_days=None,
        keys=storage,  # type: ignore[arg-type]
        accounts=storage,  # type: ignore[arg-type]
    )


class _Log:
    async def read(self, *_: object, **__: object) -> None:
        """Any position is one of it."""


@pytest.mark.parametrize(
    ("request_", "advice"),
    [
        (_create_webhook, "look at your webhooks before you create it again."),
        (_rotate_secret, "which nobody knows: rotate it again."),
        (_create_api_key, "look at your API keys before you create it again."),
    ],
)
async def test_what_would_be_done_twice_is_not_to_be_sent_again_blindly(
    request_: Callable[[LostReplies], Awaitable[object]], advice: str
) -> None:
    with pytest.raises(UnavailableError) as raised:
        await request_(LostReplies())

    detail = orjson.loads(error_response(raised.value).body)["detail"]

    assert detail.endswith(advice)
    assert "nothing happens twice" not in detail


def test_all_else_may_be_sent_again() -> None:
    detail = orjson.loads(error_response(UnavailableError("PostgreSQL")).body)["detail"]

    assert detail.endswith("Send the same request again: nothing happens twice.")
