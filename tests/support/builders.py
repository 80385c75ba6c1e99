"""Builders of valid objects; a test states only the attributes that matter to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shared.domain.ecg import Ecg, Lead
from shared.domain.header import Header, LeadHeader
from shared.domain.insights import EcgInsight, LeadInsight
from shared.ports.ecgs import EcgState, Status, Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.domain.ecg import Samples
    from shared.domain.findings import Finding, Outcome
    from shared.domain.insights import RequiredFindings, Signal

_AN_INSIGHT: Final[dict[str, Any]] = {"version": 1, "sentence": "It is so.", "schema": {}}
SOURCE: Final = "urn:uuid:00000000-0000-4000-8000-000000000000"

_DTYPES: Final = {"int16": "<i2", "int32": "<i4"}


def a_lead(name: str = "I", signal: Sequence[int] | Samples = (1, -1, 1), **header_fields: Any) -> Lead:
    """A lead of int16 samples, unless they are an array already; ``header_fields`` is for its header."""
    samples = signal if isinstance(signal, np.ndarray) else np.array(signal, np.int16)
    return Lead(LeadHeader(name, samples.size, **header_fields), samples)


def an_ecg(
    ecg_id: str = "10", *, leads: Sequence[Lead] | None = None, date: str = "2023-07-30", **header_fields: Any
) -> Ecg:
    """An ECG of one lead that crosses zero twice; ``header_fields`` is for its header."""
    every = [a_lead()] if leads is None else leads
    header = Header(ecg_id, date, tuple(lead.header for lead in every), **header_fields)
    return Ecg(header, [lead.signal for lead in every])


def a_lead_insight(
    name: str, measure: Callable[[Signal, Mapping[str, Finding]], Outcome], **fields: Any
) -> LeadInsight:
    """Version 1 of an insight into leads without needs; ``fields`` override."""
    return LeadInsight(**_AN_INSIGHT | {"name": name, "measure": measure, **fields})


def an_ecg_insight(
    name: str, measure: Callable[[Ecg, RequiredFindings], Outcome], **fields: Any
) -> EcgInsight:
    """As `a_lead_insight`, of the ECG as a whole."""
    return EcgInsight(**_AN_INSIGHT | {"name": name, "measure": measure, **fields})


def a_submission(ecg_id: str = "10", *, owner: str = "ada", ecg: Ecg | None = None) -> Submission:
    """A submission of `an_ecg`."""
    return Submission(owner, ecg or an_ecg(ecg_id))


def a_state(ecg_id: str = "10", *, document: bytes = b'{"leads":[]}') -> EcgState:
    """An ECG that was completed when it was submitted."""
    then = datetime(2026, 1, 5, 8, tzinfo=UTC)
    return EcgState(ecg_id, Status.COMPLETED, document, None, 1, then, then, "2023-07-30")


def a_queued_state(ecg_id: str = "10") -> EcgState:
    """An ECG that was submitted."""
    return a_state(ecg_id)._replace(status=Status.QUEUED, document=None, completed_at=None)


class AnEventSource:
    """An event source with a fixed URI."""

    async def uri(self) -> str:
        return SOURCE


def an_ecg_body(**fields: Any) -> dict[str, Any]:
    """The JSON form of an ECG of one lead that crosses zero twice; ``fields`` override."""
    return {"id": "10", "date": "2023-07-30", "leads": [{"name": "I", "signal": [1, -1, 1]}], **fields}


def a_binary_ecg(body: Mapping[str, Any], *, sample_type: str = "int16", **head: Any) -> bytes:
    """The binary form of an ECG in JSON form, all leads of one width; ``head`` is for `a_binary_body`."""
    leads = [
        {key: value for key, value in lead.items() if key != "signal"}
        | {"num_samples": len(lead["signal"]), "sample_type": sample_type}
        for lead in body["leads"]
    ]
    samples = b"".join(np.array(lead["signal"], _DTYPES[sample_type]).tobytes() for lead in body["leads"])
    return a_binary_body({**body, "leads": leads}, samples, **head)


def a_binary_body(
    header: object, samples: bytes, *, magic: bytes = b"ISOLINE", version: int = 1, size: int | None = None
) -> bytes:
    """A body in binary form, valid or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    stated = len(text) if size is None else size
    return magic + bytes([version]) + stated.to_bytes(4, "little") + text + samples
