"""Response bodies of the ECG routes, as models for the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.http.validation import ResponseBody
from shared.domain.header import Unit
from shared.finding_models import EcgFindings, LeadFindings

EcgStatus = Literal["queued", "completed", "failed"]
_Id = Annotated[str, Field(description="The ECG's id, as its sender gave it.")]


_Reanalysis = Annotated[
    Literal["queued"] | SkipJsonSchema[None],
    Field(
        description="Its next generation is queued. Until that is finished, the last finished one is shown.",
    ),
]


class ReceiptResponse(ResponseBody):
    """An ECG was accepted: it will not be lost."""

    id: _Id
    status: EcgStatus


class EcgResponse(ResponseBody):
    """An ECG: its status and, once completed, its findings."""

    id: _Id
    status: EcgStatus
    reanalysis: _Reanalysis = None
    date: Annotated[str, Field(description="When it was recorded, as sent.")]
    sampling_rate_hz: Annotated[
        float | SkipJsonSchema[None],
        Field(
            description="Samples per second of each lead without a rate of its own. If sent.",
        ),
    ] = None
    unit: Annotated[
        Unit | SkipJsonSchema[None],
        Field(description="The unit that `adc_gain` refers to. If sent."),
    ] = None
    submitted_at: datetime
    completed_at: Annotated[
        datetime | SkipJsonSchema[None],
        Field(
            description="When this generation was completed or failed. Unless queued.",
        ),
    ] = None
    generation: Annotated[
        int,
        Field(ge=1, description="Which analysis of it is shown: 1 is the first."),
    ]
    leads: Annotated[
        list[Annotated[dict[str, LeadFindings], Field(min_length=1, max_length=1)]],
        Field(description="One object per lead, in the order sent: its name and its findings. If completed."),
    ] = []
    ecg: Annotated[
        EcgFindings,
        Field(description="Findings about the ECG as a whole, if any.", default_factory=EcgFindings),
    ]
    insights: Annotated[
        dict[str, int], Field(description="The version of each measurement, made or absent. If completed.")
    ] = {}
    error: Annotated[str, Field(description="Why it was given up. If failed.")] = ""


class EcgSummaryResponse(ResponseBody):
    """An ECG in a list."""

    id: _Id
    status: EcgStatus
    submitted_at: datetime
    reanalysis: _Reanalysis = None


class EcgsResponse(ResponseBody):
    """A page of ECGs, newest first."""

    ecgs: list[EcgSummaryResponse]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""
