"""Secrets in good and bad requests (canaries) are in no log line, in no error and in no span."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from shared.domain.api_key import new_secret, shown_prefix
from tests.e2e.conftest import PASSWORD, Installation
from tests.support.builders import a_binary_body, an_ecg_body
from tests.support.servers.otlp import open_collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WITHIN_S: Final = 60.0
# An ECG's id, which is in logs and not in errors; and what is in neither: a patient-like name, a run of
# samples, a password and a token that nothing else would print.
_ID: Final = "recording-4711"
_NAME: Final = "Lovelace.Augusta.1815-12-10"
_SAMPLES: Final = [71234567, -71234567, 71234567]
_PASSWORD: Final = "canary-password-x7Kq"
_TOKEN: Final = "canary.token.Zm9vYmFy"
_API_KEY: Final = new_secret()
_CANARIES: Final = (
    *("Lovelace", "71234567", PASSWORD, _PASSWORD, _TOKEN, "Zm9vYmFy"),
    _API_KEY[len(shown_prefix(_API_KEY)) :],
)
_BINARY: Final = {"Content-Type": "application/vnd.isoline.ecg"}
_JSON: Final = {"Content-Type": "application/json"}


def _bodies() -> Iterator[Any]:
    """Valid and invalid ECGs, each with a canary."""
    lead = {"name": _NAME, "signal": _SAMPLES}
    yield an_ecg_body(id=_ID, leads=[lead])  # good
    yield an_ecg_body(id=_ID, leads=[lead, {**lead, "name": "II"}])  # in conflict with the one before
    yield an_ecg_body(id=f"{_NAME}/", leads=[lead])
    yield an_ecg_body(date=_NAME, unit=_NAME, sampling_rate_hz=_NAME, leads=_NAME)
    yield an_ecg_body(leads=[{**lead, "num_samples": 4}])
    yield an_ecg_body(leads=[{**lead, "signal": [*_SAMPLES, 1.5, _NAME, None]}])
    yield an_ecg_body(leads=[lead, lead])
    yield an_ecg_body(leads=[{**lead, "name": f"{_NAME}\n"}])
    yield _NAME
    yield _SAMPLES


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The folder of the services' logs."""
    return tmp_path


async def test_no_log_line_no_error_and_no_span_repeats_what_was_sent(
    installation: Installation, logs: Path
) -> None:
    async with open_collector() as collector:
        installation.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        await installation.start_gateway()
        await installation.start_processor()
        errors, token = await _send_canaries(installation)
        async with asyncio.timeout(_WITHIN_S):
            spans = await collector.until(lambda spans: any(span.name == "analyse" for span in spans))

    assert len(errors) > 20
    for error in errors:
        assert not [canary for canary in (*_CANARIES, _ID, token) if canary in error], error
    lines = [line for log in logs.glob("*.log") for line in log.read_text().splitlines()]
    assert len(lines) > 20
    for line in lines:
        json.loads(line)
        assert not [canary for canary in (*_CANARIES, token) if canary in line], line
    assert len(spans) > 20
    for span in spans:
        assert not [canary for canary in (*_CANARIES, token) if canary in repr(span)], span


async def _send_canaries(installation: Installation) -> tuple[list[str], str]:
    """The answers that were errors, and the token."""
    async with aiohttp.ClientSession(installation.address) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            token = (await answer.json())["access_token"]
        errors = [text async for text in _errors(session, token)]
        async with session.get(f"/ecg/{_ID}?wait=20", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert (await answer.json())["status"] == "completed"
    return errors, token


async def _errors(session: aiohttp.ClientSession, token: str) -> Any:
    """The body of every answer that is an error."""
    ours = {"Authorization": f"Bearer {token}"}
    for body in _bodies():
        packed = gzip.compress(json.dumps(body).encode())
        for data, headers in (
            (json.dumps(body).encode(), {**_JSON, **ours}),
            (packed, {**_JSON, **ours, "Content-Encoding": "gzip"}),
            (packed, {**_JSON, **ours}),  # not declared as gzip
            (json.dumps(body).encode()[:-2], {**_JSON, **ours}),  # breaks off
            (json.dumps(body).encode(), {"Content-Type": _NAME, **ours}),
            (a_binary_body(body, b""), {**_BINARY, **ours}),
            (json.dumps(body).encode(), {**_BINARY, **ours}),
            (json.dumps(body).encode(), {**_JSON, "Authorization": f"Bearer {_TOKEN}"}),
        ):
            async with session.post("/ecg/process", data=data, headers=headers) as answer:
                if not answer.ok:
                    yield await answer.text()
    for path in (
        f"/ecg/{_ID}.none",
        f"/ecg/{_NAME}|",
        f"/{_NAME}",
        f"/ecg?cursor={_NAME}&status={_NAME}",
        f"/docs/{_NAME}",
    ):
        async with session.get(path, headers=ours) as answer:
            yield await answer.text()
    async with session.delete(f"/ecg/{_ID}.none", headers=ours) as answer:
        yield await answer.text()
    credentials = {"user": _NAME, "password": _PASSWORD}
    for sent in (
        credentials,
        {**credentials, "x": _PASSWORD},
        {"user": _TOKEN, "password": 71234567},
        _PASSWORD,
    ):
        async with session.post("/token", json=sent) as answer:
            yield await answer.text()
    refused = (_TOKEN, f"{token}x", _API_KEY, _API_KEY[:-1])
    for header in (*(f"Bearer {each}" for each in refused), f"Basic {_TOKEN}", _TOKEN):
        async with session.get("/ecg", headers={"Authorization": header}) as answer:
            yield await answer.text()
