"""Send events for one webhook: what is due again and what is new, and record how that went."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from processor.webhooks import metrics
from processor.webhooks.message import WebhookMessage
from shared.domain.errors import ForgottenError, UnavailableError
from shared.events import ping_body, traceparent_of
from shared.observability.logs import Logger
from shared.observability.tracing import SpanKind, present_tracer
from shared.ports.webhook_dispatch import LONGEST_WAIT_S, Attempt, AttemptedDelivery, Progress
from shared.runtime.retry import backoff_s, retry_while_unavailable
from shared.runtime.supervision import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.observability.tracing import Span
    from shared.ports.event_log import EventLog, LoggedEvent, LogPage, LogPosition
    from shared.ports.event_source import EventSource
    from shared.ports.webhook_dispatch import DueDelivery, LeasedWebhook, WebhookDispatch

# Of one webhook, requests at a time and events of a batch.
_AT_ONCE: Final = 8
_BATCH: Final = 32
# A request takes 15 s at the most. What a batch has not begun by then waits for the next, so that it is soon
# recorded what was sent.
_BEGINS_WITHIN_S: Final = 10.0
_RECORD_WITHIN_S: Final = 30.0
# Then it makes room for another webhook.
_TURN_S: Final = 30.0

_FIRST_BACKOFF_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 600.0  # after which a receiver that is back is noticed

_GONE: Final = "the receiver answered 410: it wants no more"
_FORGOTTEN: Final = (
    "what it was not sent yet is kept no longer; once enabled, it goes on with the oldest that is kept"
)

_KINDS: Final = {_GONE: "gone", _FORGOTTEN: "forgotten"}

_log = Logger(__name__)


class Sender(Protocol):
    """Sends events over HTTP."""

    async def send(self, url: str, secrets: Sequence[str], message: WebhookMessage) -> Attempt:
        """Send an event once, signed with each of the secrets; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Senders:
    """What sending for webhooks needs.

    Attributes:
        statements: Held while a statement is executed, so that webhooks leave connections for the analysis.
    """

    dispatch: WebhookDispatch
    log: EventLog
    event_source: EventSource
    sender: Sender
    statements: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


class _Item(NamedTuple):
    """Something to send.

    Attributes:
        due: None for what is new in the log.
        logged: None for a test event, or what can't be sent any more.
    """

    due: DueDelivery | None
    logged: LoggedEvent | None

    @property
    def is_ping(self) -> bool:
        return self.due is not None and self.due.position is None

    @property
    def attempts(self) -> int:
        return 0 if self.due is None else self.due.attempts


class _Batch(NamedTuple):
    """What to send next.

    Attributes:
        items: What is due again comes before what is new.
        page: Where what is new comes from; None if nothing new is sent.
    """

    items: Sequence[_Item]
    page: LogPage | None

    @property
    def may_be_more(self) -> bool:
        """Whether there may be more to send at once."""
        num_due = sum(item.due is not None for item in self.items)
        return num_due >= _AT_ONCE or (self.page is not None and self.page.has_more)


async def send_for(webhook: LeasedWebhook, senders: Senders) -> None:
    """Send what is due and what is new, until nothing is left, or its turn is over.

    Raises:
        UnavailableError: It was not recorded what was sent; it is sent again.
    """
    began_s = time.monotonic()
    present: LeasedWebhook | None = webhook
    is_first = True
    while present is not None:
        present, has_more = await _send_batch(present, senders, is_first=is_first)
        is_first = False
        if present is not None and (not has_more or time.monotonic() - began_s > _TURN_S):
            async with senders.statements:
                await senders.dispatch.release(present)
            return


async def _send_batch(
    webhook: LeasedWebhook, senders: Senders, *, is_first: bool
) -> tuple[LeasedWebhook | None, bool]:
    """Send some; how the webhook is then, None if another process sends for it, and whether there is more."""
    try:
        batch = await _read_batch(webhook, senders, most=_AT_ONCE if is_first else _BATCH)
    except ForgottenError:
        progress = Progress(begins_anew=True, disabled_reason=_FORGOTTEN)
        return await _record(webhook, [], progress, senders), False
    attempts = await _send_all(webhook, batch.items, senders, is_first=is_first)
    recorded = [_recorded(item, attempt) for item, attempt in zip(batch.items, attempts, strict=False)]
    progress = _progress(webhook, batch, attempts)
    if not recorded and progress.position in {None, webhook.position}:
        return webhook, False
    present = await _record(webhook, recorded, progress, senders)
    if present is None:
        return None, False
    return present, present.may_send and (
        len(attempts) < len(batch.items)
        or batch.may_be_more
        or (webhook.is_failing and not present.is_failing)  # what waits is due at once
    )


async def _read_batch(webhook: LeasedWebhook, senders: Senders, *, most: int) -> _Batch:
    """What to send next; while nothing is taken, one that is due again and one that is new.

    Both, so that an event which the receiver never takes does not keep it from the others.
    """
    async with senders.statements:
        due = await senders.dispatch.due(webhook, limit=_AT_ONCE)
        if webhook.is_failing:
            pings = [each for each in due if each.position is None]
            due = [*pings, *[each for each in due if each.position is not None][:1]]
        positions = [each.position for each in due if each.position is not None]
        found = await senders.log.find(positions) if positions else {}
        page = None
        if webhook.may_send and webhook.room > 0:
            page = await senders.log.read(
                webhook.position,
                limit=1 if webhook.is_failing else min(most, webhook.room),
                types=webhook.types,
                owner=webhook.owner,
                since=webhook.since if webhook.position is None else None,
            )
    again = [_Item(each, None if each.position is None else found.get(each.position)) for each in due]
    new = [_Item(None, logged) for logged in page.events] if page is not None else []
    return _Batch([*again, *new], page)


async def _send_all(
    webhook: LeasedWebhook, items: Sequence[_Item], senders: Senders, *, is_first: bool
) -> Sequence[Attempt | None]:
    """The attempts to send these, in order; fewer if one that is new was not taken, or time has run out.

    The first of all is sent alone, so that a receiver which hangs takes one request of those that all
    webhooks share. While nothing is taken, all that are tried are sent together.
    """
    source = await senders.event_source.uri()
    attempts: dict[int, Attempt | None] = {}
    began_s = time.monotonic()
    is_over = False

    async def work(most: int) -> None:
        nonlocal is_over
        while not is_over and len(attempts) < most:
            place = len(attempts)
            item = items[place]
            attempts[place] = None
            attempts[place] = await _send(webhook, item, source, senders)
            is_refused = _is_refused(attempts[place])
            is_over = is_over or (is_refused and item.due is None and not webhook.is_failing)
            is_over = is_over or time.monotonic() - began_s > _BEGINS_WITHIN_S

    if is_first and not webhook.is_failing:
        await work(min(1, len(items)))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(_AT_ONCE, len(items))):
            tasks.create_task(work(len(items)))
    return [attempts[place] for place in range(len(attempts))]


async def _send(webhook: LeasedWebhook, item: _Item, source: str, senders: Senders) -> Attempt | None:
    """An attempt; None if there is nothing to send any more."""
    if item.due is not None and item.due.position is None:
        event_id, parent = item.due.event_id, None
        body = ping_body(event_id, webhook=webhook.id, source=source, now=item.due.created_at)
    elif item.logged is not None:
        event_id, body = item.logged.event.id, item.logged.event.body
        parent = traceparent_of(item.logged.event)
    else:
        return None
    span = _begin_span(webhook, item, parent)
    message = WebhookMessage(str(event_id), body, traceparent=parent if span is None else span.traceparent)
    try:
        attempt = await senders.sender.send(webhook.url, webhook.secrets, message)
    except Exception as error:  # noqa: BLE001 - whatever a receiver made of us, it counts as a failure
        _log.exception("sending to a webhook failed", webhook=str(webhook.id), event=str(event_id))
        attempt = Attempt(None, f"it could not be sent: {type(error).__name__}", 0.0)
    if span is not None:
        span.end(failure=attempt.error, http__response__status_code=attempt.status)
    metrics.count_attempt(attempt)
    if attempt.error is not None:
        _log.info(
            "a webhook's receiver did not take an event",
            webhook=str(webhook.id),
            event=str(event_id),
            attempt=item.attempts + 1,
            reason=attempt.error,
        )
    return attempt


def _begin_span(webhook: LeasedWebhook, item: _Item, parent: str | None) -> Span | None:
    tracer = present_tracer()
    if tracer is None or parent is None or item.logged is None:
        return None
    return tracer.begin(
        "send webhook",
        SpanKind.PRODUCER,
        parent=parent,
        isoline__webhook=str(webhook.id),
        isoline__ecg=item.logged.key.subject,
        isoline__attempt=item.attempts + 1,
    )


def _is_refused(attempt: Attempt | None) -> bool:
    return attempt is not None and not attempt.is_delivered


def _recorded(item: _Item, attempt: Attempt | None) -> AttemptedDelivery:
    asked_s = 0.0 if attempt is None or attempt.retry_after_s is None else attempt.retry_after_s
    pause_s = backoff_s(item.attempts + 1, first_s=_FIRST_BACKOFF_S, longest_s=LONGEST_WAIT_S)
    retry_in_s = max(asked_s, pause_s)
    if item.due is not None:
        return AttemptedDelivery(
            item.due.id, item.due.position, item.due.event_id, None, None, attempt, retry_in_s
        )
    if item.logged is None:
        raise ValueError("neither due nor in the log")
    event, position, key = item.logged
    return AttemptedDelivery(None, position, event.id, event.type, key, attempt, retry_in_s)


def _progress(webhook: LeasedWebhook, batch: _Batch, attempts: Sequence[Attempt | None]) -> Progress:
    """What these attempts mean for the webhook; a test event that is not taken means nothing."""
    sent = list(zip(batch.items, attempts, strict=False))
    refused = [attempt for item, attempt in sent if attempt and attempt.error and not item.is_ping]
    is_taken: bool | None = None
    if any(attempt is not None and attempt.is_delivered for attempt in attempts):
        is_taken = True
    elif refused:
        is_taken = False
    pause_s = backoff_s(webhook.failures + 1, first_s=_FIRST_BACKOFF_S, longest_s=_LONGEST_PAUSE_S)
    return Progress(
        position=_position_after(batch, len(attempts)),
        is_taken=is_taken,
        last_error=refused[-1].error if refused else None,
        pause_s=max([pause_s, *(attempt.retry_after_s or 0.0 for attempt in refused)]),
        disabled_reason=_GONE if any(attempt.is_gone for attempt in refused) else None,
    )


def _position_after(batch: _Batch, num_sent: int) -> LogPosition | None:
    """The position after what was sent."""
    if batch.page is None:
        return None
    if num_sent == len(batch.items):
        return batch.page.position
    new = [item.logged.position for item in batch.items[:num_sent] if item.due is None and item.logged]
    return new[-1] if new else None


async def _record(
    webhook: LeasedWebhook,
    attempted: Sequence[AttemptedDelivery],
    progress: Progress,
    senders: Senders,
) -> LeasedWebhook | None:
    """Record what was sent, as long as the lease lasts; None if another process sends for it by now.

    Raises:
        UnavailableError: It could not be recorded; what was sent is sent again.
    """

    async def record() -> LeasedWebhook | None:
        async with senders.statements:
            return await senders.dispatch.record(webhook, attempted, progress)

    try:
        present = await within(_RECORD_WITHIN_S, retry_while_unavailable(record))
    except TimeoutError:
        raise UnavailableError(f"it was not noted within {_RECORD_WITHIN_S:g} s what was sent") from None
    if present is None:
        _log.warning("another process sends for this webhook by now", webhook=str(webhook.id))
    elif present.disabled_reason is not None and webhook.disabled_reason is None:
        metrics.count_disabled(_KINDS.get(present.disabled_reason, "vain"))
        _log.warning("a webhook was switched off", webhook=str(present.id), reason=present.disabled_reason)
    return present
