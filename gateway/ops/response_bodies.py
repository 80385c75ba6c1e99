"""Response bodies of the operations API, as models for the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.http.validation import ResponseBody

_AsOf = Annotated[
    datetime,
    Field(description="When this was read. As `until` of a replay, it leaves out what was finished later."),
]
_NextCursor = Annotated[str, Field(description="The `cursor` of the next page; not there on the last.")]


class BacklogResponse(ResponseBody):
    """What waits."""

    queued_ecgs: Annotated[int, Field(description="ECGs that are not terminal.")]
    oldest_ecg_s: Annotated[float, Field(description="Age of the oldest that was not replayed; 0 if none.")]
    unpublished_batches: Annotated[int, Field(description="Event batches that are not published.")]
    oldest_batch_s: Annotated[float, Field(description="Age of the oldest of them; 0 if none.")]


class ThroughputWindowResponse(ResponseBody):
    """What all processors settled within a time."""

    seconds: Annotated[float, Field(description="The length of this time.")]
    completed: int
    failed: int
    per_second: float
    p50_s: Annotated[
        float | None,
        Field(
            description="Half of the ECGs took no longer from 202 to result; null if none did, first time."
        ),
    ]
    p95_s: Annotated[float | None, Field(description="19 of 20 took no longer; null likewise.")]


class MinuteResponse(ResponseBody):
    """What all processors settled in a minute."""

    at: datetime
    completed: int
    failed: int


class ThroughputResponse(ResponseBody):
    """What all processors settle; each process says so every 5 s."""

    now: Annotated[ThroughputWindowResponse, Field(description="In this minute and the one before.")]
    hour: Annotated[ThroughputWindowResponse, Field(description="In the last 60 minutes, this one too.")]
    minutes: Annotated[
        list[MinuteResponse], Field(description="Of the hour; those without any are left out.")
    ]


class IntakeResponse(ResponseBody):
    """Whether the processors take ECGs."""

    state: Literal["running", "paused"]
    who: Annotated[str, Field(description="Set it so; empty if it was never paused.")]
    why: str
    since: Annotated[datetime | None, Field(description="Null if it was never paused.")]


class DeadLetterCountResponse(ResponseBody):
    """How many dead letters there are."""

    waiting: Annotated[int | None, Field(description="Null if they could not be counted.")]
    reason: Annotated[str, Field(description="Why not; else empty.")]


class HealthPartResponse(ResponseBody):
    """The state of a part of this gateway."""

    state: Literal["ok", "degraded", "failing"]
    since: datetime
    reason: str = ""
    means: str = ""


class GatewayHealthResponse(ResponseBody):
    """Readiness of the gateway that answers, as at `/health/ready`."""

    status: Literal["ready", "not ready"]
    reasons: dict[str, str] = {}
    parts: dict[str, HealthPartResponse]


class OverviewResponse(ResponseBody):
    """How the installation does."""

    at: Annotated[datetime, Field(description="When it was read, by the gateway's clock.")]
    backlog: BacklogResponse
    throughput: ThroughputResponse
    intake: IntakeResponse
    processes: Annotated[
        dict[str, dict[Literal["working", "draining", "paused", "silent"], int]],
        Field(description="How many of each service are in each state."),
    ]
    failed_ecgs: Annotated[int, Field(description="ECGs whose present generation has failed.")]
    dead_letters: DeadLetterCountResponse
    health: GatewayHealthResponse


class ProcessResponse(ResponseBody):
    """A gateway or processor that was seen in the last hour."""

    service: str
    worker: int
    host: str
    pid: Annotated[int | None, Field(description="Its number on its host; null if an earlier release runs.")]
    version: str
    since: datetime
    seen_s: Annotated[
        float, Field(description="For how many seconds it has said nothing; it speaks every 5.")
    ]
    state: Literal["working", "draining", "paused", "silent", "ended"]
    held_ecgs: Annotated[int | None, Field(description="ECGs that it was given and has not settled.")]


class ProcessesResponse(ResponseBody):
    """All of them, by service, host and worker."""

    processes: list[ProcessResponse]


class FinishedEcgResponse(ResponseBody):
    """An ECG whose analysis has ended."""

    owner: str
    id: str
    status: Literal["completed", "failed"]
    generation: int
    attempts: int
    reason: Annotated[str, Field(description="Why it failed; else empty.")]
    submitted_at: datetime
    finished_at: datetime


class FinishedEcgsResponse(ResponseBody):
    """A page of finished ECGs, the last to finish first."""

    ecgs: list[FinishedEcgResponse]
    as_of: _AsOf
    next_cursor: _NextCursor = ""


class FailureGroupResponse(ResponseBody):
    """ECGs that failed for one reason."""

    reason: str
    ecgs: Annotated[int, Field(description="How many.")]
    owners: Annotated[int, Field(description="Of how many owners.")]
    first_at: datetime
    last_at: datetime


class FailuresResponse(ResponseBody):
    """Failed ECGs by reason, the most frequent first; 100 reasons at the most."""

    groups: list[FailureGroupResponse]
    as_of: _AsOf


class MomentResponse(ResponseBody):
    """Something that happened to an ECG, or is so now."""

    at: Annotated[datetime | None, Field(description="Null for what is so now.")]
    what: str
    generation: int
    detail: str


class TimelineResponse(ResponseBody):
    """What became of an ECG."""

    trace_id: Annotated[str | None, Field(description="Of the request that submitted it.")]
    moments: Annotated[list[MomentResponse], Field(description="Oldest first.")]


class DeadLetterResponse(ResponseBody):
    """A message that could not be read, or that ended processes."""

    name: Annotated[str, Field(description="The same each time it is listed.")]
    reason: Annotated[str, Field(description="RabbitMQ's.")]
    bytes: int


class DeadLettersResponse(ResponseBody):
    """All dead letters."""

    dead_letters: list[DeadLetterResponse]


class WaitingBatchResponse(ResponseBody):
    """Events of one commit that are not published yet."""

    events: int
    republished: Annotated[int, Field(description="How often the relay has published it again.")]
    created_at: datetime
    due_at: Annotated[datetime, Field(description="When the relay does so next.")]


class OutboxResponse(ResponseBody):
    """Event batches that wait, those that are due first; 100 at the most."""

    unpublished_batches: int
    oldest_batch_s: float
    batches: list[WaitingBatchResponse]


class AuditRecordResponse(ResponseBody):
    """What an operator did."""

    number: int
    at: datetime
    who: str
    why: str
    what: str
    subject: Annotated[Any, Field(description="On what; of replayed ECGs the filter and how many.")]


class AuditResponse(ResponseBody):
    """A page of the audit, newest first."""

    records: list[AuditRecordResponse]
    next_cursor: _NextCursor = ""


class ReplayResponse(ResponseBody):
    """ECGs were queued again."""

    replayed: int


class SettledLettersResponse(ResponseBody):
    """Dead letters were replayed or dropped."""

    settled: int
