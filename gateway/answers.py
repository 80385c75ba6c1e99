"""What clients are answered about ECGs, as models: the same that the contract shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.validation import ResponseBody

EcgStatus = Literal["queued", "completed", "failed"]
_Id = Annotated[str, Field(description="The ECG's id, as its sender gave it.")]


class ReceiptAnswer(ResponseBody):
    """An ECG was accepted: it will not be lost."""

    id: _Id
    status: EcgStatus


class LeadFindings(BaseModel):
    """What was found in one lead; later versions may add keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    zero_crossings: Annotated[
        int,
        Field(ge=0, description="Sign changes between consecutive non-zero samples of signal - baseline."),
    ]
    warnings: Annotated[list[str], Field(description="What a reader of these values must know.")] = []


class EcgAnswer(ResponseBody):
    """An ECG: where it stands and, once completed, what was found in it."""

    id: _Id
    status: EcgStatus
    leads: Annotated[
        list[Annotated[dict[str, LeadFindings], Field(min_length=1, max_length=1)]],
        Field(description="One object per lead, in the order sent: its name and its findings. If completed."),
    ] = []
    ecg: Annotated[dict[str, Any], Field(description="Findings about the ECG as a whole, if any.")] = {}
    insights: Annotated[
        dict[str, int], Field(description="The version of each measurement that was made. If completed.")
    ] = {}
    error: Annotated[str, Field(description="Why it was given up. If failed.")] = ""


class EcgSummaryAnswer(ResponseBody):
    """An ECG in a list."""

    id: _Id
    status: EcgStatus
    submitted_at: datetime


class EcgsAnswer(ResponseBody):
    """A page of ECGs, newest first."""

    ecgs: list[EcgSummaryAnswer]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""
