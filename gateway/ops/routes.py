"""The routes of the operations API: an observer reads, an operator acts too."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from gateway.contract.route import Route, RouteResponse
from gateway.ops import response_bodies as bodies
from gateway.ops.handlers import OpsHandlers
from gateway.ops.query_parameters import AuditQuery, FilterQuery, FinishedEcgsQuery
from gateway.ops.reasons import with_reason
from gateway.ops.request_bodies import IntakeBody, LettersBody, ReplayBody
from shared.domain.account import Role

_TAG: Final = "Operations"
_READERS: Final = frozenset({Role.OBSERVER, Role.OPERATOR})

_AT: Final = "2026-01-31T08:00:00Z"
_WINDOW: Final = {
    "seconds": 90.0,
    "completed": 178,
    "failed": 2,
    "per_second": 2.0,
    "p50_s": 0.021,
    "p95_s": 0.18,
}
_INTAKE: Final = {"state": "paused", "who": "olga", "why": "a disk is replaced", "since": _AT}
_PROCESS: Final = {
    "service": "processor",
    "worker": 1,
    "host": "host-1",
    "pid": 4711,
    "version": "0.2.0",
    "since": _AT,
    "seen_s": 1.5,
    "state": "working",
    "held_ecgs": 7,
}
_OVERVIEW: Final = {
    "at": _AT,
    "backlog": {"queued_ecgs": 7, "oldest_ecg_s": 0.4, "unpublished_batches": 0, "oldest_batch_s": 0.0},
    "throughput": {
        "now": _WINDOW,
        "hour": {**_WINDOW, "seconds": 3570.0, "per_second": 0.05},
        "minutes": [{"at": _AT, "completed": 178, "failed": 2}],
    },
    "intake": _INTAKE,
    "processes": {"gateway": {"working": 1}, "processor": {"working": 3, "silent": 1}},
    "failed_ecgs": 2,
    "dead_letters": {"waiting": 0, "reason": ""},
    "health": {"status": "ready", "parts": {"schema": {"state": "ok", "since": _AT}}},
}
_REASON: Final = "Given up after 5 attempts."
_FAILED: Final = {
    "owner": "ada",
    "id": "10",
    "status": "failed",
    "generation": 1,
    "attempts": 5,
    "reason": _REASON,
    "submitted_at": _AT,
    "finished_at": "2026-01-31T08:00:30Z",
}
_NOTHING: Final = "There is no dead letter 3f2a90c1d4e7."
_BAD_QUERY: Final = {HTTPStatus.BAD_REQUEST: "The query does not fit: limit: expected an integer."}
_FILTER_HELP: Final = "The conditions are those of `isoline replay`, and add up."


def _ok(model: type, description: str, example: object) -> dict[HTTPStatus, RouteResponse]:
    return {HTTPStatus.OK: RouteResponse(description=description, model=model, examples={"one": example})}


_ROUTES: Final = (
    Route(
        method="GET",
        path="/ops/api/overview",
        handler=OpsHandlers.get_overview,
        role=_READERS,
        tag=_TAG,
        summary="See how the installation does",
        responses=_ok(
            bodies.OverviewResponse, "Backlog, throughput, intake, processes, failures.", _OVERVIEW
        ),
    ),
    Route(
        method="GET",
        path="/ops/api/stream",
        handler=OpsHandlers.get_stream,
        role=_READERS,
        tag=_TAG,
        summary="See it live",
        description=(
            "Server-sent events. `overview` comes every 2 s, with what `GET /ops/api/overview` answers; "
            "`unavailable` where that can't be read, `end` when the token has ended, each with a `reason`. "
            "The stream ends with the token, and when the gateway drains."
        ),
        responses={
            HTTPStatus.OK: RouteResponse(
                description="Events, until the connection ends.", content_type="text/event-stream"
            )
        },
    ),
    Route(
        method="GET",
        path="/ops/api/processes",
        handler=OpsHandlers.get_processes,
        role=_READERS,
        tag=_TAG,
        summary="List gateways and processors",
        description="Those that were seen in the last hour.",
        responses=_ok(bodies.ProcessesResponse, "All of them.", {"processes": [_PROCESS]}),
    ),
    Route(
        method="GET",
        path="/ops/api/ecgs",
        handler=OpsHandlers.get_finished_ecgs,
        role=_READERS,
        tag=_TAG,
        summary="List finished ECGs of all owners, the last to finish first",
        description=f"{_FILTER_HELP} Without `status=failed` name an owner, or it may take long.",
        query=FinishedEcgsQuery,
        responses=_ok(bodies.FinishedEcgsResponse, "A page.", {"ecgs": [_FAILED], "as_of": _AT}),
        problems=_BAD_QUERY,
    ),
    Route(
        method="GET",
        path="/ops/api/failures",
        handler=OpsHandlers.get_failures,
        role=_READERS,
        tag=_TAG,
        summary="Count failed ECGs by reason",
        description=_FILTER_HELP,
        query=FilterQuery,
        responses=_ok(
            bodies.FailuresResponse,
            "The most frequent reason first.",
            {
                "groups": [{"reason": _REASON, "ecgs": 2, "owners": 1, "first_at": _AT, "last_at": _AT}],
                "as_of": _AT,
            },
        ),
        problems=_BAD_QUERY,
    ),
    Route(
        method="GET",
        path="/ops/api/ecgs/{owner}/{id}/timeline",
        handler=OpsHandlers.get_timeline,
        role=_READERS,
        tag=_TAG,
        summary="See what became of an ECG",
        description="As `isoline trace` tells it.",
        responses=_ok(
            bodies.TimelineResponse,
            "Oldest first.",
            {
                "trace_id": "90975aee2a8df4e82024e5519608a0ac",
                "moments": [{"at": _AT, "what": "submitted", "generation": 1, "detail": ""}],
            },
        ),
        problems={HTTPStatus.NOT_FOUND: "This owner never submitted an ECG of this id."},
    ),
    Route(
        method="GET",
        path="/ops/api/dead-letters",
        handler=OpsHandlers.get_dead_letters,
        role=_READERS,
        tag=_TAG,
        summary="List dead letters",
        description="`isoline dlq show` shows what one says.",
        responses=_ok(
            bodies.DeadLettersResponse,
            "All of them.",
            {"dead_letters": [{"name": "3f2a90c1d4e7", "reason": "rejected", "bytes": 17}]},
        ),
    ),
    Route(
        method="GET",
        path="/ops/api/outbox",
        handler=OpsHandlers.get_outbox,
        role=_READERS,
        tag=_TAG,
        summary="List events that wait to be published",
        responses=_ok(
            bodies.OutboxResponse,
            "Those that are due first.",
            {
                "unpublished_batches": 1,
                "oldest_batch_s": 30.5,
                "batches": [{"events": 64, "republished": 2, "created_at": _AT, "due_at": _AT}],
            },
        ),
    ),
    Route(
        method="GET",
        path="/ops/api/audit",
        handler=OpsHandlers.get_audit,
        role=_READERS,
        tag=_TAG,
        summary="List what operators did, newest first",
        query=AuditQuery,
        responses=_ok(
            bodies.AuditResponse,
            "A page.",
            {
                "records": [
                    {
                        "number": 42,
                        "at": _AT,
                        "who": "olga",
                        "why": "mended in 0.2.1",
                        "what": "replay",
                        "subject": {"selection": {"failed": True, "owner": "ada"}, "ecgs": 2},
                    }
                ]
            },
        ),
        problems=_BAD_QUERY,
    ),
    Route(
        method="POST",
        path="/ops/api/replays",
        handler=OpsHandlers.post_replay,
        role=Role.OPERATOR,
        tag=_TAG,
        summary="Have finished ECGs analysed once more",
        description=(
            f"{_FILTER_HELP} One is needed. No more than `expected` are replayed: name how many you were "
            "shown, and its `as_of` as `until`. Queued ECGs are left alone: replaying twice does no harm."
        ),
        request=ReplayBody,
        examples={
            "all that failed for a reason": {
                "filter": {"status": "failed", "reason": _REASON, "until": _AT},
                "expected": 2,
                "reason": "mended in 0.2.1",
            }
        },
        responses=_ok(bodies.ReplayResponse, "So many are queued again.", {"replayed": 2}),
        problems={HTTPStatus.CONFLICT: "More are selected now than were confirmed."},
    ),
    Route(
        method="POST",
        path="/ops/api/dead-letters/replay",
        handler=OpsHandlers.post_letters_replay,
        role=Role.OPERATOR,
        tag=_TAG,
        summary="Send dead letters to the processors again",
        request=LettersBody,
        examples={"one": {"names": ["3f2a90c1d4e7"], "reason": "mended in 0.2.1"}},
        responses=_ok(bodies.SettledLettersResponse, "So many are gone from here.", {"settled": 1}),
        problems={HTTPStatus.NOT_FOUND: _NOTHING},
    ),
    Route(
        method="POST",
        path="/ops/api/dead-letters/drop",
        handler=OpsHandlers.post_letters_drop,
        role=Role.OPERATOR,
        tag=_TAG,
        summary="Delete dead letters",
        request=LettersBody,
        examples={"one": {"names": ["3f2a90c1d4e7"], "reason": "not ours"}},
        responses=_ok(bodies.SettledLettersResponse, "So many are gone.", {"settled": 1}),
        problems={HTTPStatus.NOT_FOUND: _NOTHING},
    ),
    Route(
        method="PUT",
        path="/ops/api/intake",
        handler=OpsHandlers.put_intake,
        role=Role.OPERATOR,
        tag=_TAG,
        summary="Pause the processors, or let them go on",
        description=(
            "A paused processor takes nothing new and settles what it holds; gateways go on taking ECGs. "
            "Processors heed it within 5 s, and those that start later too."
        ),
        request=IntakeBody,
        examples={"pause": {"state": "paused", "reason": "a disk is replaced"}},
        responses=_ok(bodies.IntakeResponse, "It is so now.", _INTAKE),
    ),
)

# Each tells operators why PostgreSQL or RabbitMQ can't be used.
OPS_ROUTES: Final = tuple(replace(route, handler=with_reason(route.handler)) for route in _ROUTES)
