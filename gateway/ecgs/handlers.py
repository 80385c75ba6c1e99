"""Handlers of the ECG routes: read the request, call the use case, build the response."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from gateway.ecgs.erase import erase
from gateway.ecgs.query_parameters import EcgQuery, EcgsQuery, decode_cursor, encode_cursor
from gateway.ecgs.submit import submit, submit_recording
from gateway.ecgs.timed_semaphore import TimedSemaphore
from gateway.formats.fields import ECG_ID
from gateway.http.problems import ProblemError
from gateway.http.query_parameters import read_query
from gateway.http.responses import JSON, NO_CONTENT, Head, Response, json_response
from shared.domain.ecg import Ecg
from shared.domain.errors import ConflictError, InvalidEcgError, NotFoundError
from shared.domain.recording import recording_of
from shared.observability.metrics import counters
from shared.ports.ecgs import RecordingSubmission, Status, Submission
from shared.ports.owned_ecgs import PagePosition

if TYPE_CHECKING:
    from gateway.auth.database_clock import DatabaseClock
    from gateway.ecgs.backlog import Backlog
    from gateway.ecgs.lookup_batcher import OwnedEcgId
    from gateway.ecgs.result_cache import ResultCache
    from gateway.ecgs.submission_batcher import SubmissionBatcher
    from gateway.formats.registry import FormatRegistry
    from gateway.http.request import Request
    from shared.domain.recording import Recording
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import Receipt, RecordingStore
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import Outbox
    from shared.ports.owned_ecgs import EcgSummary, OwnedEcgs
    from shared.runtime.settings import GatewayOnlySettings

# Storing an ECG in a batch, in one statement, takes five times the memory of its samples: 10 MB for 500,000
# of 32 bits. In parts it takes its samples once and a part a few times. See docs/decisions/0107.
_IN_PARTS_ABOVE_SAMPLES: Final = 500_000
_PART_SAMPLES: Final = 250_000
# Each holds a database connection and some MB: 20 for a recording.
_MAX_CONCURRENT_STORES: Final = 2
# While PostgreSQL is frozen a slot gets free every 5 s, and hundreds of short recordings may wait.
_SLOT_TIMEOUT_S: Final = 60.0

_SUBMISSIONS: Final = counters(
    "isoline_submissions_total",
    "Requests that submitted an ECG.",
    outcome=("accepted", "repeated", "conflict", "refused", "unavailable"),
)

_NO_ECG: Final = "You have no ECG of this id."
_RECEIPT_HEAD: Final = Head(HTTPStatus.ACCEPTED, {"Content-Type": JSON})


def _storage_slots(kind: str) -> TimedSemaphore:
    return TimedSemaphore(_MAX_CONCURRENT_STORES, timeout_s=_SLOT_TIMEOUT_S, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class EcgHandlers:
    """One method per route.

    Attributes:
        spooled_slots: Held while a spooled recording is stored.
        in_memory_slots: Held while a long ECG from memory is stored, which must not wait for days of samples.
    """

    batcher: SubmissionBatcher
    recordings: RecordingStore
    formats: FormatRegistry
    publisher: Publisher
    owned_ecgs: OwnedEcgs
    outbox: Outbox
    event_source: EventSource
    result_cache: ResultCache
    backlog: Backlog
    clock: DatabaseClock
    settings: GatewayOnlySettings
    spooled_slots: TimedSemaphore = field(default_factory=partial(_storage_slots, "recordings"))
    in_memory_slots: TimedSemaphore = field(default_factory=partial(_storage_slots, "long ECGs"))

    async def post_ecg(self, request: Request) -> Response:
        """Submit an ECG."""
        try:
            reader = await self.formats.reader_for(request)
            if reader.accepts_recordings:
                self.backlog.check()  # refuse before a day of samples is uploaded
            receipt = await reader.read(request, partial(self._submit, request), now=self.clock.utc_now())
        except Exception as error:
            _SUBMISSIONS[_outcome_of(error)].inc()
            raise
        _SUBMISSIONS["accepted" if receipt.is_new else "repeated"].inc()
        if receipt.key.generation > 1:
            await self._wait_for_predecessor_to_expire(request, receipt)
        return _accepted(receipt, self.settings.path_prefix)

    async def _submit(self, request: Request, found: Ecg | Recording) -> Receipt:
        request.log_fields = {"ecg": f"{request.caller.name}/{found.header.id}"}
        if isinstance(found, Ecg):
            return await self._submit_ecg(request, found)
        return await self._submit_recording(request, found, self.spooled_slots)

    async def _submit_ecg(self, request: Request, ecg: Ecg) -> Receipt:
        if request.has_body_memory:
            # The body is freed; the ECG's samples and their encoding for storage take memory now.
            request.memory.resize(2 * sum(lead.signal.nbytes for lead in ecg.leads))
        if ecg.header.num_samples > _IN_PARTS_ABOVE_SAMPLES:
            recording = recording_of(ecg, block_samples=_PART_SAMPLES)
            return await self._submit_recording(request, recording, self.in_memory_slots)
        with request.while_connected():
            return await submit(
                Submission(request.caller.name, ecg, request.traceparent),
                batcher=self.batcher,
                backlog=self.backlog,
            )

    async def _submit_recording(
        self, request: Request, recording: Recording, slots: TimedSemaphore
    ) -> Receipt:
        with request.while_connected():
            async with slots.slot():
                return await submit_recording(
                    RecordingSubmission(request.caller.name, recording, request.traceparent),
                    store=self.recordings,
                    batcher=self.batcher,
                    backlog=self.backlog,
                )

    async def _wait_for_predecessor_to_expire(self, request: Request, receipt: Receipt) -> None:
        """Return when no gateway has the result of an ECG that was erased under this id any more."""
        owned = receipt.key.owner, receipt.key.id
        request.release_memory()
        with request.while_connected():
            await self.result_cache.wait_for_predecessor_to_expire(owned, age_s=receipt.age_s)

    async def get_ecgs(self, request: Request) -> Response:
        """A page of the caller's ECGs."""
        query = read_query(EcgsQuery, request.rel_url)
        ecgs = await self.owned_ecgs.page(
            request.caller.name,
            limit=query.limit + 1,  # one more, to know whether there is a next page
            after=decode_cursor(query.cursor) if query.cursor else None,
            status=Status(query.status) if query.status else None,
        )
        page = ecgs[: query.limit]
        page_content: dict[str, object] = {"ecgs": [_list_item(ecg) for ecg in page]}
        if len(ecgs) > len(page):
            page_content["next_cursor"] = encode_cursor(PagePosition(page[-1].submitted_at, page[-1].id))
        return json_response(page_content)

    async def get_ecg(self, request: Request) -> Response:
        """The status and result of an ECG."""
        wait_s = read_query(EcgQuery, request.rel_url).wait
        owned = _owned_id(request)
        if wait_s:
            with request.while_connected():
                result = await self.result_cache.get(owned, wait_s=wait_s)
        else:
            result = await self.result_cache.get(owned, wait_s=0)
        if result is None:
            raise NotFoundError(_NO_ECG)
        return Response(result.head, result.body)

    async def delete_ecg(self, request: Request) -> Response:
        """Erase an ECG."""
        owned = _owned_id(request)
        await erase(
            *owned,
            owned_ecgs=self.owned_ecgs,
            outbox=self.outbox,
            publisher=self.publisher,
            event_source=self.event_source,
            publish_timeout_s=self.settings.publish_timeout_s,
            now=datetime.now(UTC),
            traceparent=request.traceparent,
        )
        self.result_cache.invalidate(owned)
        return Response(NO_CONTENT)


def _list_item(ecg: EcgSummary) -> dict[str, object]:
    return {name: value for name, value in ecg._asdict().items() if value is not None}


def _outcome_of(error: Exception) -> str:
    """The outcome of a submission that raised this, as its metric names it."""
    match error:
        case ConflictError():
            return "conflict"
        case InvalidEcgError():
            return "refused"
        case ProblemError() if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return "refused"
        case _:
            return "unavailable"


def _accepted(receipt: Receipt, path_prefix: str) -> Response:
    response = Response(_RECEIPT_HEAD, orjson.dumps({"id": receipt.key.id, "status": receipt.status}))
    response.add_header("Location", f"{path_prefix}/ecg/{receipt.key.id}")
    return response


def _owned_id(request: Request) -> OwnedEcgId:
    """The owner and id of the ECG that the path names.

    Raises:
        NotFoundError: No ECG can have this id.
    """
    ecg_id = request.parameters["id"]
    if not ECG_ID.fullmatch(ecg_id):
        raise NotFoundError(_NO_ECG)
    request.log_fields = {"ecg": f"{request.caller.name}/{ecg_id}"}
    return request.caller.name, ecg_id
