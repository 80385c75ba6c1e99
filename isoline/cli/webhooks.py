"""``isoline webhook ...``: where events are sent over HTTP, over the public HTTP interface."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from isoline.cli.ecgs import DEFAULT_URL, DEFAULT_USER, Format, Url, User, client_of
from isoline.cli.events import TypeOption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from isoline.client import Webhooks

    _T = TypeVar("_T")

_EXIT_FAILED: Final = 1
_LOOK_EVERY_S: Final = 0.5
# So many deliveries, one page, a test event is looked for in.
_AMONG_THE_NEWEST: Final = 100
# Of `isoline webhook show`, in this order; what is not there is left out.
_SHOWN: Final = (
    *("id", "url", "types", "description", "all_owners", "created_at", "state", "disabled_at"),
    *("disabled_reason", "failing_since", "failures", "last_error", "resume_at", "last_delivered_at"),
    *("waiting", "previous_secret_until"),
)

webhooks = typer.Typer(
    no_args_is_help=True,
    help="Where your events are sent over HTTP: add, test and remove webhooks, and see what they sent.",
)


class StateOption(StrEnum):
    """What became of an event."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


_Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as the list shows it.")]
_Types = Annotated[list[TypeOption] | None, typer.Option("--type", help="Only these; may be repeated.")]
_Format = Annotated[Format, typer.Option("--format", help="Lines, or JSON.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(webhooks, name="webhook")


@webhooks.command("add")
def add_webhook(
    to: Annotated[str, typer.Argument(metavar="URL", help="To which events are sent.")],
    *,
    types: _Types = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    all_owners: Annotated[
        bool, typer.Option("--all-owners", help="Send the events of all owners, as a subscriber.")
    ] = False,
    after: Annotated[
        str | None, typer.Option(help="Begin behind this cursor of isoline events list; else now.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin with what was logged at this time, UTC; else now.")
    ] = None,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Add a webhook, and show its secret, by which the receiver verifies what it gets."""
    added = _ask(
        url,
        user,
        lambda webhooks: webhooks.add(
            to,
            types=types or (),
            description=description,
            all_owners=all_owners,
            after=after,
            since=since,
        ),
    )
    typer.echo(f"Webhook {added['id']} was added. Its secret is shown only now: {added['secret']}")


@webhooks.command("list")
def list_webhooks(
    *, format_: _Format = Format.TABLE, url: Url = DEFAULT_URL, user: User = DEFAULT_USER
) -> None:
    """Show your webhooks, the newest first, one a line."""
    for webhook in _ask(url, user, lambda webhooks: webhooks.list()):
        typer.echo(orjson.dumps(webhook) if format_ is Format.JSON else _webhook_line(webhook))


@webhooks.command("show")
def show_webhook(
    webhook_id: _Id, *, format_: _Format = Format.TABLE, url: Url = DEFAULT_URL, user: User = DEFAULT_USER
) -> None:
    """Show how a webhook does, and why."""
    _show(_ask(url, user, lambda webhooks: webhooks.get(webhook_id)), format_)


@webhooks.command("change")
def change_webhook(
    webhook_id: _Id,
    *,
    to: Annotated[str | None, typer.Option(metavar="URL", help="Send events to this URL.")] = None,
    types: _Types = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--pause", help="Send, at once; or send nothing until enabled.")
    ] = None,
    format_: _Format = Format.TABLE,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Change, pause or enable a webhook, and show how it is then."""
    changed = _ask(
        url,
        user,
        lambda webhooks: webhooks.change(
            webhook_id, url=to, types=types or None, description=description, enabled=enable
        ),
    )
    _show(changed, format_)


@webhooks.command("remove")
def remove_webhook(webhook_id: _Id, *, url: Url = DEFAULT_URL, user: User = DEFAULT_USER) -> None:
    """Remove a webhook, with the list of what it sent."""
    if not _ask(url, user, lambda webhooks: webhooks.remove(webhook_id)):
        typer.echo("You have no webhook of this id.", err=True)
        raise typer.Exit(_EXIT_FAILED)
    typer.echo(f"Webhook {webhook_id} was removed.")


@webhooks.command("rotate")
def rotate_secret(webhook_id: _Id, *, url: Url = DEFAULT_URL, user: User = DEFAULT_USER) -> None:
    """Give a webhook another secret; for a day requests are signed with the one before too."""
    rotated = _ask(url, user, lambda webhooks: webhooks.rotate(webhook_id))
    typer.echo(
        f"Webhook {webhook_id} has another secret, which is shown only now: {rotated['secret']}\n"
        f"The one before is valid until {_time(rotated['previous_secret_until'])}."
    )


@webhooks.command("ping")
def ping_webhook(
    webhook_id: _Id,
    *,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait.")] = 30.0,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Send a test event, and say what became of it; the exit status is 1 if it was not taken."""
    delivery = _ask(url, user, lambda webhooks: _ping(webhooks, webhook_id, timeout_s))
    typer.echo(_delivery_line(delivery))
    raise typer.Exit(0 if delivery["state"] == StateOption.DELIVERED else _EXIT_FAILED)


@webhooks.command("deliveries")
def list_deliveries(
    webhook_id: _Id,
    *,
    state: Annotated[StateOption | None, typer.Option(help="Only deliveries in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at the most.")] = 20,
    format_: _Format = Format.TABLE,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Show what a webhook sent, the newest first, one a line."""
    for delivery in _ask(url, user, lambda webhooks: _first(webhooks, webhook_id, state, limit)):
        typer.echo(orjson.dumps(delivery) if format_ is Format.JSON else _delivery_line(delivery))


@webhooks.command("resend")
def resend_delivery(
    webhook_id: _Id,
    delivery_id: Annotated[
        str, typer.Argument(metavar="DELIVERY", help="As the list of deliveries shows it.")
    ],
    *,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Have an event sent again, whatever became of it before."""
    _ask(url, user, lambda webhooks: webhooks.resend(webhook_id, delivery_id))
    typer.echo(f"Delivery {delivery_id} will be sent again.")


def _ask(url: str, user: str, question: Callable[[Webhooks], Awaitable[_T]]) -> _T:
    async def ask() -> _T:
        async with client_of(url, user) as client:
            return await question(client.webhooks)

    return asyncio.run(ask())


async def _ping(webhooks: Webhooks, webhook_id: str, timeout_s: float) -> Mapping[str, Any]:
    """Send a test event; its delivery when it was sent, or after so many seconds."""
    deadline, delivery = time.monotonic() + timeout_s, await webhooks.ping(webhook_id)
    while delivery["state"] == StateOption.WAITING and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_EVERY_S)
        for each in await _first(webhooks, webhook_id, None, _AMONG_THE_NEWEST):
            delivery = each if each["id"] == delivery["id"] else delivery
    return delivery


async def _first(
    webhooks: Webhooks, webhook_id: str, state: StateOption | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    async for delivery in webhooks.deliveries(webhook_id, state=state.value if state else None):
        found.append(delivery)
        if len(found) == limit:
            break
    return found


def _show(webhook: Mapping[str, Any], format_: Format) -> None:
    if format_ is Format.JSON:
        typer.echo(orjson.dumps(webhook))
        return
    for name in _SHOWN:
        value = webhook.get(name)
        if value is not None and value != "":
            typer.echo(f"{name}: {_text(value)}")


def _text(value: object) -> str:
    """A value of a document, as lines show it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _webhook_line(webhook: Mapping[str, Any]) -> str:
    whose = "of all owners, " if webhook["all_owners"] else ""
    description = f" ({webhook['description']})" if webhook["description"] else ""
    reason = webhook["disabled_reason"] or webhook["last_error"]
    return (
        f"{webhook['id']}  {webhook['state']}  {webhook['url']}{description}: "
        f"{whose}{', '.join(webhook['types'])}; {webhook['waiting']} waiting, "
        f"last delivered {_time(webhook['last_delivered_at'])}{f'; {reason}' if reason else ''}"
    )


def _delivery_line(delivery: Mapping[str, Any]) -> str:
    subject = f" {delivery['subject']}" if delivery["subject"] else ""
    due = f", due {_time(delivery['due_at'])}" if delivery["due_at"] else ""
    answer = f"answered {delivery['status']}" if delivery["status"] else ""
    outcome = delivery["error"] or answer
    return (
        f"{delivery['id']}  {delivery['type']}{subject}  {delivery['state']}{due}: "
        f"attempts {delivery['attempts']}, the last {_time(delivery['last_attempt_at'])}"
        f"{f', {outcome}' if outcome else ''}"
    )


def _time(text: str | None) -> str:
    """A time of the gateway's, in UTC and without fractions."""
    if text is None:
        return "never"
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
