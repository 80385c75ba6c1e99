"""Handlers of events: a page of the log, or a stream that goes on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import hdrs

from gateway.events.cursors import decode_cursor, encode_cursor
from gateway.events.following import wait_for
from gateway.events.query_parameters import LATEST, EventsQuery
from gateway.http.problems import ProblemError
from gateway.http.query_parameters import read_query
from gateway.http.responses import JSON, EventStream, Head, Response, server_sent_event
from shared.domain.account import Role
from shared.domain.errors import DeniedError, ForgottenError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.events.following import LogWatch
    from gateway.http.request import Request
    from shared.ports.event_log import EventLog, LoggedEvent, LogPage, LogPosition

_STREAM: Final = "text/event-stream"
_LAST_EVENT_ID: Final = "Last-Event-ID"
_HEAD: Final = Head(headers={"Content-Type": JSON, "Cache-Control": "no-store"})
# Proxies close connections on which nothing came for a minute or less.
_HEARTBEAT_S: Final = 15.0
_AUTHORIZE_EVERY_S: Final = 5.0
_TRY_AGAIN_AFTER_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandlers:
    """One method per route."""

    log: EventLog
    watch: LogWatch

    async def get_events(self, request: Request) -> Response:
        """The events after a cursor: a page of them, or all that happen from then on."""
        query = read_query(EventsQuery, request.rel_url)
        if _STREAM in request.headers.get(hdrs.ACCEPT, ""):
            return await self._stream(request, query)
        page = await self._read(request, query, await self._position(query.after))
        body = {
            "events": [orjson.Fragment(each.event.body) for each in page.events],
            "cursor": encode_cursor(page.position),
            "has_more": page.has_more,
        }
        return Response(_HEAD, orjson.dumps(body))

    async def _position(self, cursor: str | None) -> LogPosition | None:
        if cursor == LATEST:
            return await self.log.end()
        return None if cursor is None else decode_cursor(cursor)

    async def _read(self, request: Request, query: EventsQuery, after: LogPosition | None) -> LogPage:
        is_subscriber = Role.SUBSCRIBER in request.caller.roles
        return await self.log.read(
            after,
            limit=query.limit,
            types=query.types,
            owner=None if is_subscriber else request.caller.name,
            since=query.since,
        )

    async def _stream(self, request: Request, query: EventsQuery) -> Response:
        last_id = request.headers.get(_LAST_EVENT_ID)
        if last_id:
            query = query.model_copy(update={"after": _checked(last_id)})
        self.watch.check_capacity(request.caller.name)
        # What can't be served is said by a status, and not within the stream.
        more = self.watch.next_more()
        first = await self._read(request, query, await self._position(query.after))
        return EventStream(self._follow(request, query, first, more))

    async def _follow(
        self, request: Request, query: EventsQuery, page: LogPage, more: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        with self.watch.following(request.caller.name):
            authorized_s = time.monotonic()
            while not self.watch.is_ended:
                for each in page.events:
                    yield _sent(each)
                if not page.has_more:
                    await wait_for(more, within_s=_HEARTBEAT_S)
                    yield _heartbeat(page.position)
                try:
                    if time.monotonic() - authorized_s > _AUTHORIZE_EVERY_S:
                        await request.authorize(request)
                        authorized_s = time.monotonic()
                    more = self.watch.next_more()
                    page = await self._read(request, query, page.position)
                except UnavailableError as error:
                    yield server_sent_event("unavailable", {"reason": error.for_sender or str(error)})
                    page = page._replace(events=[], has_more=True)
                    await asyncio.sleep(_TRY_AGAIN_AFTER_S)
                except (ProblemError, DeniedError, ForgottenError) as error:
                    yield server_sent_event("end", {"reason": str(error)})
                    return


def _checked(cursor: str) -> str:
    if decode_cursor(cursor) is None:
        raise ForgottenError("Last-Event-ID is no id of this stream: begin anew, without it.")
    return cursor


def _sent(logged: LoggedEvent) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        encode_cursor(logged.position).encode(),
        logged.event.type.encode(),
        logged.event.body,
    )


def _heartbeat(position: LogPosition) -> bytes:
    """Nothing that a reader sees, but the id from which it would go on."""
    return b"id: %b\n\n" % encode_cursor(position).encode()
