"""What each request about ECGs does: read it, call the use case, write the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from gateway.ecgs.erase import erase
from gateway.ecgs.queries import EcgQuery, EcgsQuery, cursor_of, place_of
from gateway.ecgs.submit import submit, submit_recording
from gateway.ecgs.timed_semaphore import TimedSemaphore
from gateway.formats.fields import ECG_ID
from gateway.http.query import read_query
from gateway.http.responses import JSON, NO_CONTENT, Head, Response, json_response
from shared.domain.ecg import Ecg
from shared.domain.errors import NotFoundError
from shared.domain.recording import recording_of
from shared.ports.ecgs import RecordingSubmission, Status, Submission
from shared.ports.owned_ecgs import Place

if TYPE_CHECKING:
    from gateway.auth.database_clock import DatabaseClock
    from gateway.ecgs.backlog import Backlog
    from gateway.ecgs.lookup_batcher import Owned
    from gateway.ecgs.result_cache import Results
    from gateway.ecgs.submission_batcher import Intake
    from gateway.formats.registry import Formats
    from gateway.http.request import Request
    from shared.domain.recording import Recording
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import Receipt, RecordingStore
    from shared.ports.installation import Installation
    from shared.ports.outbox import Outbox
    from shared.ports.owned_ecgs import EcgSummary, OwnedEcgs
    from shared.runtime.settings import GatewayOnlySettings

# Storing an ECG with others, in one statement, takes five times the memory of its samples: 10 MB for 500,000
# of 32 bits. In parts it takes them and a few times a part. See docs/decisions/0107.
_IN_PARTS_ABOVE_SAMPLES: Final = 500_000
_PART_SAMPLES: Final = 250_000
# Each takes a connection meanwhile, and some MB: 20 for a recording.
_STORED_AT_A_TIME: Final = 2
# While PostgreSQL is frozen a place is free every 5 s, and hundreds of short recordings may wait.
_PLACE_WITHIN_S: Final = 60.0

_NO_ECG: Final = "You have no ECG of this id."
_HEAD_OF_RECEIPTS: Final = Head(HTTPStatus.ACCEPTED, {"Content-Type": JSON})


def _storing(kind: str) -> TimedSemaphore:
    return TimedSemaphore(_STORED_AT_A_TIME, within_s=_PLACE_WITHIN_S, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """One method per route, over what the routes need.

    Attributes:
        storing_spooled: To be held while a recording is stored, and
        storing_held: an ECG in parts, which must not wait for days of samples.
    """

    intake: Intake
    recordings: RecordingStore
    formats: Formats
    publisher: Publisher
    owned_ecgs: OwnedEcgs
    outbox: Outbox
    installation: Installation
    results: Results
    backlog: Backlog
    clock: DatabaseClock
    settings: GatewayOnlySettings
    storing_spooled: TimedSemaphore = field(default_factory=partial(_storing, "recordings"))
    storing_held: TimedSemaphore = field(default_factory=partial(_storing, "long ECGs"))

    async def post_ecg(self, request: Request) -> Response:
        """Take an ECG in."""
        reader = await self.formats.reader_of(request)
        if reader.takes_recordings:
            self.backlog.check()  # before a day of samples is sent for nothing
        receipt = await reader.read(request, partial(self._take, request), now=self.clock.today())
        return _accepted(receipt, self.settings.path_prefix)

    async def _take(self, request: Request, found: Ecg | Recording) -> Receipt:
        if isinstance(found, Ecg):
            return await self._submit(request, found)
        return await self._submit_recording(request, found, self.storing_spooled)

    async def _submit(self, request: Request, ecg: Ecg) -> Receipt:
        if request.takes_memory:  # the body is gone: the ECG as it was read, and as it will be stored
            request.memory.resize(2 * sum(lead.signal.nbytes for lead in ecg.leads))
        if ecg.header.num_samples > _IN_PARTS_ABOVE_SAMPLES:
            recording = recording_of(ecg, block_samples=_PART_SAMPLES)
            return await self._submit_recording(request, recording, self.storing_held)
        with request.while_connected():
            return await submit(
                Submission(request.caller.name, ecg, request.traceparent),
                intake=self.intake,
                backlog=self.backlog,
            )

    async def _submit_recording(
        self, request: Request, recording: Recording, storing: TimedSemaphore
    ) -> Receipt:
        with request.while_connected():
            async with storing.place():
                return await submit_recording(
                    RecordingSubmission(request.caller.name, recording, request.traceparent),
                    store=self.recordings,
                    intake=self.intake,
                    backlog=self.backlog,
                )

    async def get_ecgs(self, request: Request) -> Response:
        """A page of the caller's ECGs."""
        query = read_query(EcgsQuery, request.rel_url)
        ecgs = await self.owned_ecgs.page(
            request.caller.name,
            limit=query.limit + 1,  # one more, to know whether there is a next page
            after=place_of(query.cursor) if query.cursor else None,
            status=Status(query.status) if query.status else None,
        )
        page = ecgs[: query.limit]
        answer: dict[str, object] = {"ecgs": [_listed(ecg) for ecg in page]}
        if len(ecgs) > len(page):
            answer["next_cursor"] = cursor_of(Place(page[-1].submitted_at, page[-1].id))
        return json_response(answer)

    async def get_ecg(self, request: Request) -> Response:
        """Where an ECG stands, and what was found in it."""
        wait_s = read_query(EcgQuery, request.rel_url).wait
        owned = _owned(request)
        if wait_s:
            with request.while_connected():
                result = await self.results.result(owned, wait_s=wait_s)
        else:
            result = await self.results.result(owned, wait_s=0)
        if result is None:
            raise NotFoundError(_NO_ECG)
        return Response(result.head, result.body)

    async def delete_ecg(self, request: Request) -> Response:
        """Erase an ECG."""
        owned = _owned(request)
        await erase(
            *owned,
            owned_ecgs=self.owned_ecgs,
            outbox=self.outbox,
            publisher=self.publisher,
            installation=self.installation,
            publish_timeout_s=self.settings.publish_timeout_s,
            now=datetime.now(UTC),
            traceparent=request.traceparent,
        )
        self.results.forget(owned)
        return Response(NO_CONTENT)


def _listed(ecg: EcgSummary) -> dict[str, object]:
    return {name: value for name, value in ecg._asdict().items() if value is not None}


def _accepted(receipt: Receipt, path_prefix: str) -> Response:
    response = Response(_HEAD_OF_RECEIPTS, orjson.dumps({"id": receipt.key.id, "status": receipt.status}))
    response.add_header("Location", f"{path_prefix}/ecg/{receipt.key.id}")
    return response


def _owned(request: Request) -> Owned:
    """Whose ECG the path names, and which.

    Raises:
        NotFoundError: No ECG can have this id, so there is none.
    """
    ecg_id = request.parameters["id"]
    if not ECG_ID.fullmatch(ecg_id):
        raise NotFoundError(_NO_ECG)
    return request.caller.name, ecg_id
