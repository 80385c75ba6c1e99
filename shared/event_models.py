"""Events as subscribers read them: the types of what `shared.events` writes; the contract is made of them.

They cost a writer nothing: mypy holds its data to their keys, and tests hold its bytes to their JSON Schemas.
Additions are ``NotRequired``, since events from before are read too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NotRequired, TypeAlias
from uuid import UUID

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from shared.finding_models import EcgFindings, LeadFindings

_may_gain_keys = with_config(ConfigDict(extra="allow"))  # whatever the models around them forbid


@_may_gain_keys
class EcgReference(TypedDict):
    """An ECG, and which analysis of it."""

    owner: Annotated[str, Field(description="The account that submitted it, or `<issuer>#<sub>`.")]
    id: Annotated[str, Field(description="The ECG's id, as its sender gave it: unique for its owner alone.")]
    generation: Annotated[int, Field(ge=1, description="1 is the first analysis; each replay adds 1.")]


@_may_gain_keys
class SubmittedData(TypedDict):
    """The ECGs that wait for analysis."""

    ecgs: Annotated[
        list[EcgReference], Field(min_length=1, max_length=64, description="Those that were queued together.")
    ]


@_may_gain_keys
class ProcessedData(EcgReference):
    """An ECG and the findings of all insights, as `GET /ecg/{id}` shows them."""

    status: Annotated[Literal["completed"], Field(description="As `GET /ecg/{id}` says.")]
    leads: Annotated[
        list[Annotated[dict[str, LeadFindings], Field(min_length=1, max_length=1)]],
        Field(description="One object per lead, in the order sent: its name and its findings."),
    ]
    insights: Annotated[
        dict[str, int],
        Field(
            description=(
                "The version of each measurement, made or absent; it is no result. "
                "The same signal gives another value in another version alone."
            )
        ),
    ]
    ecg: Annotated[
        NotRequired[EcgFindings], Field(description="Findings about the ECG as a whole, if there are any.")
    ]


@_may_gain_keys
class FailedData(EcgReference):
    """An ECG, and why it could not be analysed."""

    status: Annotated[Literal["failed"], Field(description="As `GET /ecg/{id}` says.")]
    error: Annotated[str, Field(description="The reason, in a sentence.")]


@_may_gain_keys
class DeletedData(EcgReference):
    """An ECG that was erased, with its last generation."""


EventData: TypeAlias = SubmittedData | ProcessedData | FailedData | DeletedData


@_may_gain_keys
class EventAttributes(TypedDict):
    """The attributes of each event, by CloudEvents 1.0."""

    specversion: Annotated[Literal["1.0"], Field(description="The version of CloudEvents.")]
    id: Annotated[
        UUID,
        Field(description="Deduplicate by it: the same whenever the same fact is published or read again."),
    ]
    source: Annotated[
        str,
        Field(
            min_length=1,
            description="The installation in which it happened.",
            json_schema_extra={"format": "uri-reference"},
        ),
    ]
    time: Annotated[datetime, Field(description="When it happened.")]
    datacontenttype: Annotated[Literal["application/json"], Field(description="The type of `data`.")]
    dataschema: Annotated[
        NotRequired[str],
        Field(
            description="The name of the schema of `data`. Absent in events of release 0.1.",
            json_schema_extra={"format": "uri"},
        ),
    ]
    traceparent: Annotated[
        NotRequired[str],
        Field(
            pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
            description="The context of the trace that it belongs to (W3C Trace Context).",
        ),
    ]


@_may_gain_keys
class EcgEventAttributes(EventAttributes):
    """The attributes of an event of one ECG."""

    subject: Annotated[str, Field(description="The ECG, as `owner/id`; an id has no `/`.")]


@_may_gain_keys
class SubmittedEvent(EventAttributes):
    """ECGs were submitted or are analysed again: for the processors."""

    type: Literal["ecg.submitted"]
    subject: Annotated[
        NotRequired[str], Field(description="The ECG, as `owner/id`. Absent where there are several.")
    ]
    data: SubmittedData


@_may_gain_keys
class ProcessedEvent(EcgEventAttributes):
    """An ECG was analysed."""

    type: Literal["ecg.processed"]
    data: ProcessedData


@_may_gain_keys
class FailedEvent(EcgEventAttributes):
    """An ECG could not be analysed, and will not be tried again unless an operator replays it."""

    type: Literal["ecg.failed"]
    data: FailedData


@_may_gain_keys
class DeletedEvent(EcgEventAttributes):
    """An ECG was erased by its owner: erase what you keep of it."""

    type: Literal["ecg.deleted"]
    data: DeletedData
