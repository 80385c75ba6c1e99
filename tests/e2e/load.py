"""Submit ECGs with retries after temporary failures, as docs/http.md says."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_RECORDING: Final = Path(__file__).parents[2] / "examples" / "data" / "mitdb100_10s.json"
_LENGTH: Final = 250
_PAUSE_S: Final = 0.2


class KnownEcg(NamedTuple):
    """A part of a real recording, and the expected findings of each lead, by insight."""

    body: dict[str, Any]
    findings: dict[str, dict[str, Any]]


def real_ecgs(count: int, prefix: str = "real") -> list[KnownEcg]:
    """Parts of MIT-BIH 100 that begin at different samples, with its baseline of 1024."""
    recording = json.loads(_RECORDING.read_text())
    return [_stretch(recording, f"{prefix}-{index}", index * 7 % 3000) for index in range(count)]


def known_findings(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The findings of a result for the insights of a `KnownEcg`, by lead."""
    return {
        lead: {name: found.get(name) for name in _DEFINITIONS}
        for leads in document["leads"]
        for lead, found in leads.items()
    }


async def submit_all(
    session: aiohttp.ClientSession,
    ecgs: Iterable[KnownEcg],
    *,
    concurrency: int,
    accepted: Callable[[str], None],
) -> None:
    """Submit each until it is accepted; ``accepted`` is called with each id."""
    waiting = iter(ecgs)

    async def submit_some() -> None:
        for ecg in waiting:
            await _submit(session, ecg.body)
            accepted(ecg.body["id"])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(submit_some())


async def _submit(session: aiohttp.ClientSession, body: dict[str, Any]) -> None:
    while True:
        try:
            async with session.post("/ecg/process", json=body) as answer:
                if answer.status == 202:
                    return
                assert answer.status in {429, 503}, await answer.text()
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(_PAUSE_S)


def _stretch(recording: dict[str, Any], ecg_id: str, start: int) -> KnownEcg:
    leads = [lead | {"signal": lead["signal"][start : start + _LENGTH]} for lead in recording["leads"]]
    for lead in leads:
        del lead["num_samples"]
    findings = {lead["name"]: _found_by_definition(lead["signal"], lead["baseline"]) for lead in leads}
    return KnownEcg(recording | {"id": ecg_id, "leads": leads}, findings)


def _found_by_definition(signal: list[int], baseline: int) -> dict[str, Any]:
    return {name: define(signal, baseline) for name, define in _DEFINITIONS.items()}


def _crossings(signal: list[int], baseline: int) -> int:
    sides = [sample > baseline for sample in signal if sample != baseline]
    return sum(one != other for one, other in pairwise(sides))


# Insights by their definitions, in plain Python: signal and baseline in, summary out.
_DEFINITIONS: Final = {"zero_crossings": _crossings}
