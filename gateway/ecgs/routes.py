"""The routes of ECGs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.contract.route import Route, RouteResponse
from gateway.ecgs.handlers import EcgHandlers
from gateway.ecgs.query_parameters import EcgQuery, EcgsQuery
from gateway.ecgs.response_bodies import EcgResponse, EcgsResponse, ReceiptResponse
from gateway.formats.models import EcgBody
from gateway.formats.registry import FORMATS
from shared.domain.account import Role

_NO_ECG: Final = {HTTPStatus.NOT_FOUND: "You have no ECG of this id."}
_TAG: Final = "ECG"  # generated clients name a module by it

_ONE_LEAD: Final = {"id": "10", "date": "2023-07-30", "leads": [{"name": "I", "signal": [1, -1, 1]}]}
_TWO_LEADS: Final = {
    "id": "visit-4711:rest",
    "date": "2023-07-30T09:15:00+02:00",
    "sampling_rate_hz": 500,
    "unit": "mV",
    "leads": [
        {
            "name": "I",
            "num_samples": 4,
            "signal": [1019, 1030, 1027, 1020],
            "baseline": 1024,
            "adc_gain": 200,
        },
        {
            "name": "aVR",
            "num_samples": 4,
            "signal": [1029, 1018, 1020, 1021],
            "baseline": 1024,
            "adc_gain": 200,
        },
    ],
}
_QUEUED: Final = {
    "id": "10",
    "status": "queued",
    "date": "2023-07-30",
    "submitted_at": "2025-07-30T08:00:00Z",
    "generation": 1,
}
_COMPLETED: Final = {
    **_QUEUED,
    "status": "completed",
    "completed_at": "2025-07-30T08:00:00.250000Z",
    "leads": [{"I": {"zero_crossings": 2}}],
    "insights": {"zero_crossings": 1},
}
_BEING_REANALYSED: Final = {**_COMPLETED, "reanalysis": "queued"}
_FAILED: Final = {
    **_QUEUED,
    "status": "failed",
    "completed_at": "2025-07-30T08:01:15Z",
    "error": "Given up after 5 attempts.",
}
_WITH_WARNING: Final = {
    **_COMPLETED,
    "id": "11",
    "sampling_rate_hz": 500,
    "unit": "mV",
    "leads": [{"I": {"zero_crossings": 0, "warnings": ["signal_never_near_zero"]}}],
    "insights": {"zero_crossings": 1},
}
_PAGE: Final = {
    "ecgs": [
        {"id": "11", "status": "queued", "submitted_at": "2025-07-30T08:00:01.500000Z"},
        {
            "id": "10",
            "status": "completed",
            "submitted_at": "2025-07-30T08:00:00Z",
            "reanalysis": "queued",
        },
    ],
    "next_cursor": "WzE3NTM4NjI0MDAwMDAwMDAsIjEwIl0",
}
_ETAG_HEADERS: Final = {
    "ETag": "A strong tag of the result, once it is completed or failed.",
    "Cache-Control": "`private, no-cache`: ask again with `If-None-Match`.",
}

ECG_ROUTES: Final = (
    Route(
        method="POST",
        path="/ecg/process",
        handler=EcgHandlers.post_ecg,
        role=Role.USER,
        tag=_TAG,
        summary="Submit an ECG",
        description=(
            "Once this is answered with 202 the ECG is never lost. Sending the same again is safe: the same "
            "id with the same content answers 202 with the present status and stores nothing new. Lead names "
            "are unique ignoring case, and so are leads by whatever names; `num_samples`, if given, is the "
            "length of `signal`; `date` is at most 24 h ahead. The body may be packed (`Content-Encoding: "
            "gzip` or `zstd`).\n\n"
            "In binary form an ECG may be as long as a day of three leads; the same content is the same ECG, "
            "whichever form it came in."
        ),
        request=EcgBody,
        examples={"one lead": _ONE_LEAD, "ADC counts of two leads": _TWO_LEADS},
        form=next(format_.form for format_ in FORMATS if format_.form),
        headers=("traceparent",),
        responses={
            HTTPStatus.ACCEPTED: RouteResponse(
                description="It is kept and will be analysed, or was already.",
                model=ReceiptResponse,
                examples={
                    "new": {"id": "10", "status": "queued"},
                    "known": {"id": "10", "status": "completed"},
                },
                headers={"Location": "Where its result will be."},
            )
        },
        problems={HTTPStatus.CONFLICT: "You have another ECG of this id already, with other content."},
    ),
    Route(
        method="GET",
        path="/ecg",
        handler=EcgHandlers.get_ecgs,
        role=Role.USER,
        tag=_TAG,
        summary="List your ECGs, newest first",
        description="A page at a time: ask for the next one with its `next_cursor`, until there is none.",
        query=EcgsQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description="A page of your ECGs.",
                model=EcgsResponse,
                examples={"a page": _PAGE, "none": {"ecgs": []}},
            )
        },
        problems={HTTPStatus.BAD_REQUEST: "The query does not fit: limit: expected an integer."},
    ),
    Route(
        method="GET",
        path="/ecg/{id}",
        handler=EcgHandlers.get_ecg,
        role=Role.USER,
        tag=_TAG,
        summary="Get an ECG's result",
        description=(
            "With `?wait=10` it is answered as soon as the ECG is completed or failed, after 10 s at the "
            "latest. A finished result has an `ETag`: send it as `If-None-Match` and a result that you have "
            "is not sent again. What one gateway has erased, another may still answer for 5 s.\n\n"
            "While an ECG is analysed again, its last finished generation is answered, with `reanalysis` "
            "beside it; with `?wait=` only if the next one is not finished by then."
        ),
        query=EcgQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description="Where it stands and, once completed, what was found.",
                model=EcgResponse,
                examples={
                    "completed": _COMPLETED,
                    "with a warning": _WITH_WARNING,
                    "queued": _QUEUED,
                    "failed": _FAILED,
                    "being analysed again": _BEING_REANALYSED,
                },
                headers=_ETAG_HEADERS,
            ),
            HTTPStatus.NOT_MODIFIED: RouteResponse(
                description="You have this result: its tag stands in `If-None-Match`.", headers=_ETAG_HEADERS
            ),
        },
        problems={
            HTTPStatus.BAD_REQUEST: "The query does not fit: wait: expected a number.",
            **_NO_ECG,
        },
    ),
    Route(
        method="DELETE",
        path="/ecg/{id}",
        handler=EcgHandlers.delete_ecg,
        role=Role.USER,
        tag=_TAG,
        summary="Erase an ECG",
        description=(
            "Queued or finished, it is erased with its signals and results; subscribers hear `ecg.deleted`. "
            "Its id may then be submitted again, with any content; that is answered after 5 s."
        ),
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It is gone.")},
        problems=_NO_ECG,
    ),
)
