"""Create, change, test and remove webhooks, and see what they sent.

The events of all owners are for the role `subscriber`. A webhook that sends them is changed, tested and
looked into with that role alone: by another URL or secret, an API key without it would get at them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid4

from shared.domain.account import Role
from shared.domain.errors import ConflictError, DeniedError, NotFoundError, advising
from shared.domain.webhook import new_webhook_secret
from shared.events import EventType
from shared.ports.event_log import LogPosition
from shared.ports.webhooks import NewWebhook

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from shared.domain.webhook import DeliveryState, Webhook, WebhookDelivery
    from shared.ports.event_log import EventLog
    from shared.ports.webhooks import WebhookChange, WebhookStore

MAX_WEBHOOKS: Final = 16

_DELIVERY_ID: Final = re.compile("[0-9]{1,18}")


class Owner(NamedTuple):
    """The account that a caller acts for, and the roles with which it does.

    Attributes:
        roles: Of an API key fewer than its account may have.
    """

    account: str
    roles: Collection[Role]


class WantedWebhook(NamedTuple):
    """A webhook as its owner wants it.

    Attributes:
        start: It sends what follows this position, or what was logged since this time; None for what
            happens from now on.
    """

    url: str
    description: str
    types: Collection[str]
    of_all_owners: bool
    start: LogPosition | datetime | None


class WebhookWithSecret(NamedTuple):
    """A webhook and its new secret, which is shown only now."""

    webhook: Webhook
    secret: str


class DeliveryPage(NamedTuple):
    """Some deliveries, the newest first; ``next_before`` is where the next page begins, None for the last."""

    deliveries: Sequence[WebhookDelivery]
    next_before: int | None


async def create_webhook(
    wanted: WantedWebhook, owner: Owner, *, webhooks: WebhookStore, log: EventLog
) -> WebhookWithSecret:
    """Create a webhook, which sends from then on.

    Raises:
        DeniedError: The events of all owners are not for this owner.
        ForgottenError: What followed the position is kept no longer, or never was.
        ConflictError: The account has `MAX_WEBHOOKS`.
        UnavailableError: It may have been created; the list tells whether it was.
    """
    if wanted.of_all_owners and Role.SUBSCRIBER not in owner.roles:
        raise DeniedError(f"The events of all owners need the role {Role.SUBSCRIBER}.")
    if not wanted.of_all_owners and Role.USER not in owner.roles:
        raise DeniedError(
            f"Without the role {Role.USER} you have no ECGs of your own: say all_owners to be sent the "
            "events of all owners."
        )
    after, since = await _find_start(wanted, log)
    new = NewWebhook(
        id=uuid4(),
        account=owner.account,
        url=wanted.url,
        description=wanted.description,
        types=frozenset(wanted.types),
        of_all_owners=wanted.of_all_owners,
        secret=new_webhook_secret(),
        after=after,
        since=since,
    )
    with advising("It may have been created: look at your webhooks before you create it again."):
        webhook = await webhooks.add(new, limit=MAX_WEBHOOKS)
    if webhook is None:
        raise ConflictError(
            f"The account {owner.account} has {MAX_WEBHOOKS} webhooks, the most; remove one first."
        )
    return WebhookWithSecret(webhook, new.secret)


async def find_webhook(webhook_id: str, owner: Owner, *, webhooks: WebhookStore) -> Webhook:
    """A webhook of an owner's.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
    """
    found = await webhooks.find(_read_webhook_id(webhook_id), account=owner.account)
    if found is None:
        raise _no_webhook()
    return found


async def change_webhook(
    webhook_id: str, change: WebhookChange, owner: Owner, *, webhooks: WebhookStore
) -> Webhook:
    """Change a webhook, and return how it is then.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        DeniedError: It sends the events of all owners, which are not for this owner.
    """
    found = await _find_allowed(webhook_id, owner, webhooks)
    changed = await webhooks.change(found.id, change, account=owner.account)
    if changed is None:
        raise _no_webhook()
    return changed


async def remove_webhook(webhook_id: str, owner: Owner, *, webhooks: WebhookStore) -> None:
    """Remove a webhook, its secrets and the list of what it sent; what begins later is not sent.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        UnavailableError: It may have been removed; then a second attempt finds none.
    """
    if not await webhooks.remove(_read_webhook_id(webhook_id), account=owner.account):
        raise _no_webhook()


async def rotate_secret(webhook_id: str, owner: Owner, *, webhooks: WebhookStore) -> WebhookWithSecret:
    """Give a webhook another secret; for a day it signs with the one before as well.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        DeniedError: It sends the events of all owners, which are not for this owner.
        UnavailableError: It may have another secret now, which nobody knows: rotate it again.
    """
    found = await _find_allowed(webhook_id, owner, webhooks)
    secret = new_webhook_secret()
    with advising("It may have another secret now, which nobody knows: rotate it again."):
        rotated = await webhooks.rotate(found.id, secret, account=owner.account)
    if rotated is None:
        raise _no_webhook()
    return WebhookWithSecret(rotated, secret)


async def ping_webhook(webhook_id: str, owner: Owner, *, webhooks: WebhookStore) -> WebhookDelivery:
    """Have a test event sent, whatever the state of the webhook; one that still waits is returned instead.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        DeniedError: It sends the events of all owners, which are not for this owner.
    """
    found = await _find_allowed(webhook_id, owner, webhooks)
    delivery = await webhooks.ping(found.id, uuid4(), account=owner.account)
    if delivery is None:
        raise _no_webhook()
    return delivery


async def list_deliveries(
    webhook_id: str,
    owner: Owner,
    *,
    state: DeliveryState | None,
    before: int | None,
    limit: int,
    webhooks: WebhookStore,
) -> DeliveryPage:
    """A page of what a webhook sent, the newest first.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        DeniedError: It sends the events of all owners, which are not for this owner.
    """
    found = await _find_allowed(webhook_id, owner, webhooks)
    deliveries = await webhooks.deliveries(
        found.id, account=owner.account, before=before, state=state, limit=limit + 1
    )
    page = deliveries[:limit]
    return DeliveryPage(page, page[-1].id if len(deliveries) > limit else None)


async def resend_delivery(
    webhook_id: str, delivery_id: str, owner: Owner, *, webhooks: WebhookStore
) -> WebhookDelivery:
    """Have an event sent again; one that waits is due at once. If it fails, it is sent again for a day.

    Raises:
        NotFoundError: There is no such webhook or delivery, or it was of a test event.
        DeniedError: The webhook sends the events of all owners, which are not for this owner.
    """
    found = await _find_allowed(webhook_id, owner, webhooks)
    delivery = None
    if _DELIVERY_ID.fullmatch(delivery_id):
        delivery = await webhooks.resend(found.id, int(delivery_id), account=owner.account)
    if delivery is None:
        raise NotFoundError("This webhook has no delivery of this id that can be sent again.")
    return delivery


async def _find_start(wanted: WantedWebhook, log: EventLog) -> tuple[LogPosition | None, datetime | None]:
    """The position after which, and the time since which, a webhook sends.

    Raises:
        ForgottenError: What followed the position is kept no longer, or never was.
    """
    if wanted.start is None:
        return await log.end(), None
    if not isinstance(wanted.start, LogPosition):
        return None, wanted.start
    await log.read(wanted.start, limit=1, types=[EventType(type_) for type_ in wanted.types])
    return wanted.start, None


async def _find_allowed(webhook_id: str, owner: Owner, webhooks: WebhookStore) -> Webhook:
    """A webhook whose events the owner may read now.

    Raises:
        NotFoundError: There is none of this id, or it belongs to another.
        DeniedError: It sends the events of all owners, which are not for this owner.
    """
    found = await find_webhook(webhook_id, owner, webhooks=webhooks)
    if found.of_all_owners and Role.SUBSCRIBER not in owner.roles:
        raise DeniedError(
            f"This webhook sends the events of all owners: without the role {Role.SUBSCRIBER} "
            "it can only be shown and removed."
        )
    return found


def _read_webhook_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _no_webhook() from None


def _no_webhook() -> NotFoundError:
    return NotFoundError("You have no webhook of this id.")
