"""A closed loop: so many connections, each of which sends again as soon as it was answered."""

from __future__ import annotations

import asyncio
import tempfile
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from tests.programs.benchmarks.load.requests import Requests

_SCRIPT: Final = Path(__file__).with_name("unique_ids.lua")
_ANSWER_WITHIN_S: Final = 60
_MORE_S: Final = 90.0
_BETWEEN_HEADS: Final = b"\n-- next head --\n"  # as the script has it; a binary head may hold any one byte


class LoadError(Exception):
    """The load was not what was to be measured."""


class Load(NamedTuple):
    """What came of a load."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Answers in a second."""
        return self.answers / self.seconds


async def load(
    address: str, requests: Requests, first: int, *, connections: int, seconds: int, period: int = 0
) -> Load:
    """Send requests numbered from ``first`` on for so long.

    With a ``period`` so many numbers are used again and again; without, none is used twice.

    Raises:
        LoadError: Some were refused or not answered: such a rate would mean nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        heads, tail = Path(folder, "heads"), Path(folder, "tail")
        heads.write_bytes(_BETWEEN_HEADS.join(requests.heads))
        tail.write_bytes(requests.tail)
        size = f"--threads 1 --connections {connections} --duration {seconds}s --timeout {_ANSWER_WITHIN_S}s"
        command: tuple[str | Path, ...] = ("wrk", *size.split(), "--script", _SCRIPT, address)
        arguments: tuple[str | Path, ...] = ("--", heads, tail, str(first), str(period))
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(seconds + _MORE_S):
                said, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        raise LoadError(complaints.decode() or said.decode())
    return _load(orjson.loads(said.splitlines()[-1]))


def _load(told: dict[str, float]) -> Load:
    refused, broken = told.pop("refused"), told.pop("broken")
    if refused or broken or not told["answers"]:
        raise LoadError(
            f"of {told['answers']:.0f} answers {refused:.0f} were refusals; {broken:.0f} were lost"
        )
    return Load(int(told["answers"]), told["seconds"], told["p50_ms"], told["p99_ms"])
