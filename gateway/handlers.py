"""What each request about ECGs does: read it, call the use case, write the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web

from gateway import payloads
from gateway.bodies import read_json
from gateway.problems import ProblemError
from gateway.requests import caller_of, traceparent_of
from gateway.submission import submit
from shared.domain.errors import NotFoundError
from shared.ports import Status, Submission

if TYPE_CHECKING:
    from gateway.waiting import Waiting
    from shared.ports import EcgState, EcgStore, Publisher
    from shared.settings import GatewayOnlySettings

MAX_WAIT_S: Final = 30.0

_SECONDS: Final = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """One method per route, over what the routes need."""

    store: EcgStore
    publisher: Publisher
    waiting: Waiting
    settings: GatewayOnlySettings

    async def post_ecg(self, request: web.Request) -> web.Response:
        """Take an ECG in."""
        document = await read_json(request, max_bytes=self.settings.max_body_bytes)
        now = datetime.now(UTC)
        ecg = payloads.read_ecg(document, limits=self.settings, now=now)
        receipt = await submit(
            Submission(caller_of(request).name, ecg, traceparent_of(request)),
            store=self.store,
            publisher=self.publisher,
            publish_timeout_s=self.settings.publish_timeout_s,
            now=now,
        )
        answer = {"id": receipt.key.id, "status": receipt.status}
        return _json(answer, HTTPStatus.ACCEPTED, headers={"Location": f"/ecg/{receipt.key.id}"})

    async def get_ecg(self, request: web.Request) -> web.Response:
        """Where an ECG stands, and what was found in it."""
        ecg_id = request.match_info["id"]
        wait_s = _wait_s(request.query.get("wait"))
        state = None
        if payloads.ECG_ID.fullmatch(ecg_id):
            state = await self.waiting.state((caller_of(request).name, ecg_id), wait_s=wait_s)
        if state is None:
            raise NotFoundError("You have no ECG of this id.")
        return _json(_answer(state))


def _answer(state: EcgState) -> dict[str, object]:
    answer: dict[str, object] = {"id": state.id, "status": state.status}
    if state.status is Status.FAILED:
        answer["error"] = state.error
    if state.document is not None:
        answer |= orjson.loads(state.document)
    return answer


def _wait_s(text: str | None) -> float:
    if text is None:
        return 0.0
    if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT_S:
        detail = f"wait: expected seconds from 0 to {MAX_WAIT_S:g}, e.g. ?wait=10"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
    return float(text)


def _json(
    document: object, status: HTTPStatus = HTTPStatus.OK, *, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document), status=status, content_type="application/json", headers=headers
    )
