"""Handlers of the operations API: read the request, call the use case, build the response."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.http.bodies.json_body import parse_json, read_json
from gateway.http.problems import ProblemError
from gateway.http.query_parameters import read_query
from gateway.http.responses import EventStream, Response, json_response, server_sent_event
from gateway.http.validation import parse_body
from gateway.ops import documents
from gateway.ops.overview_feed import NO_ANSWER, TOLD_WITHIN_S
from gateway.ops.query_parameters import (
    AuditQuery,
    FilterQuery,
    FinishedEcgsQuery,
    decode_position,
    encode_position,
)
from gateway.ops.request_bodies import IntakeBody, LettersBody, ReplayBody
from shared.domain.errors import DeniedError, NotFoundError, UnavailableError
from shared.operations.overview import read_overview
from shared.operations.replay import replay_confirmed
from shared.ports.operators.dead_letters import Decision
from shared.ports.operators.operations import AuditNote
from shared.runtime.supervision import within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.http.request import Request
    from gateway.ops.dead_letters import OperatorDeadLetters
    from gateway.ops.overview_feed import OverviewFeed
    from shared.operations.overview import OverviewSources
    from shared.ports.operators.audit import Audit
    from shared.ports.operators.finished_ecgs import FinishedEcgs
    from shared.ports.operators.outbox_state import OutboxReader
    from shared.ports.operators.timeline import Timelines
    from shared.runtime.health import Health

_MOST_REASONS: Final = 100
_MOST_BATCHES: Final = 100
_SMALL_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsHandlers:
    """One method per route."""

    sources: OverviewSources
    ecgs: FinishedEcgs
    timelines: Timelines
    outbox: OutboxReader
    audit: Audit
    letters: OperatorDeadLetters
    health: Health
    feed: OverviewFeed

    async def get_overview(self, _: Request) -> Response:
        """How the installation does."""
        try:
            reading = overview_document(self.sources, self.health)
            return json_response(await within(TOLD_WITHIN_S, reading))
        except TimeoutError:
            raise UnavailableError(NO_ANSWER, for_sender=NO_ANSWER) from None

    async def get_stream(self, request: Request) -> Response:
        """Each overview as an event, while the caller may see it."""
        self.feed.check_capacity()
        return EventStream(_authorized(self.feed.events(), request))

    async def get_processes(self, _: Request) -> Response:
        """The processes that were seen lately."""
        running = await self.sources.processes.running()
        return json_response({"processes": [documents.process_document(process) for process in running]})

    async def get_finished_ecgs(self, request: Request) -> Response:
        """A page of finished ECGs."""
        query = read_query(FinishedEcgsQuery, request.rel_url)
        after = decode_position(query.cursor) if query.cursor else None
        page = await self.ecgs.page(query.selection, limit=query.limit, after=after)
        content: dict[str, object] = {"ecgs": [ecg._asdict() for ecg in page.ecgs], "as_of": page.as_of}
        if page.next_position is not None:
            content["next_cursor"] = encode_position(page.next_position)
        return json_response(content)

    async def get_failures(self, request: Request) -> Response:
        """Failed ECGs by reason."""
        query = read_query(FilterQuery, request.rel_url)
        failures = await self.ecgs.failures(query.selection, limit=_MOST_REASONS)
        groups = [group._asdict() for group in failures.groups]
        return json_response({"groups": groups, "as_of": failures.as_of})

    async def get_timeline(self, request: Request) -> Response:
        """What became of an ECG."""
        timeline = await self.timelines.read(request.parameters["owner"], request.parameters["id"])
        if timeline is None:
            raise NotFoundError("This owner never submitted an ECG of this id.")
        moments = [moment._asdict() for moment in timeline.moments]
        return json_response({"trace_id": timeline.trace_id, "moments": moments})

    async def get_dead_letters(self, _: Request) -> Response:
        """All dead letters."""
        letters = await self.letters.find()
        return json_response({"dead_letters": [documents.letter_document(letter) for letter in letters]})

    async def get_outbox(self, _: Request) -> Response:
        """What waits to be published."""
        backlog = await self.sources.backlog.read()
        batches = await self.outbox.waiting(limit=_MOST_BATCHES)
        return json_response(
            {
                "unpublished_batches": backlog.unpublished_batches,
                "oldest_batch_s": backlog.oldest_batch_s,
                "batches": [batch._asdict() for batch in batches],
            }
        )

    async def get_audit(self, request: Request) -> Response:
        """A page of what operators did."""
        query = read_query(AuditQuery, request.rel_url)
        before = int(query.cursor) if query.cursor else None
        found = await self.audit.page(limit=query.limit + 1, before=before)
        page = found[: query.limit]
        content: dict[str, object] = {"records": [record._asdict() for record in page]}
        if len(found) > query.limit:
            content["next_cursor"] = str(page[-1].number)
        return json_response(content)

    async def post_replay(self, request: Request) -> Response:
        """Queue finished ECGs again, as many as were confirmed."""
        body = parse_body(ReplayBody, await _small_json(request), None)
        replayed = await replay_confirmed(
            body.filter.selection,
            _note(request, body.reason),
            expected=body.expected,
            operations=self.sources.operations,
        )
        return json_response({"replayed": len(replayed)})

    async def post_letters_replay(self, request: Request) -> Response:
        """Send dead letters to the processors again."""
        return await self._settle_letters(request, Decision.REPLAY)

    async def post_letters_drop(self, request: Request) -> Response:
        """Delete dead letters."""
        return await self._settle_letters(request, Decision.DROP)

    async def put_intake(self, request: Request) -> Response:
        """Pause the processors, or let them go on."""
        body = parse_body(IntakeBody, await _small_json(request), None)
        state = await self.sources.intake.change(
            _note(request, body.reason), is_paused=body.state == "paused"
        )
        return json_response(documents.intake_document(state))

    async def _settle_letters(self, request: Request, decision: Decision) -> Response:
        body = parse_body(LettersBody, await _small_json(request), None)
        settled = await self.letters.settle(
            body.names, decision, _note(request, body.reason), operations=self.sources.operations
        )
        return json_response({"settled": settled})


async def overview_document(sources: OverviewSources, health: Health) -> documents.Document:
    """The overview with the health of this gateway."""
    overview = documents.overview_document(await read_overview(sources))
    readiness = await health.readiness()
    return {"at": datetime.now(UTC), **overview, "health": readiness.document}


async def _authorized(events: AsyncGenerator[bytes, None], request: Request) -> AsyncGenerator[bytes, None]:
    """The events for as long as the caller may see them; the last one says why there are no more."""
    async with aclosing(events):
        async for event in events:
            try:
                await request.authorize(request)
            except (ProblemError, DeniedError, UnavailableError) as error:
                yield server_sent_event("end", {"reason": str(error)})
                return
            yield event


def _note(request: Request, why: str) -> AuditNote:
    return AuditNote(request.caller.name, why)


async def _small_json(request: Request) -> object:
    return await read_json(request, parse_json, max_bytes=_SMALL_BODY_BYTES)
