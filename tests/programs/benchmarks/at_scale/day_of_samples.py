"""What a day of three leads at 250 Hz costs.

``python -m tests.programs.benchmarks.at_scale.day_of_samples [--hours 1]``

It starts the benchmarks' servers and services, sends the recording by the Python client, and prints times
and peaks of memory (PSS, asked for 50 times a second). Exit status 1 when the gateway took more than 150
MiB or the result is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from typing import Any, Final

import numpy as np
from rich.console import Console

from isoline.client import open_client
from tests.programs.benchmarks.load.meter import measure_resources, pss_mb
from tests.programs.benchmarks.pipelines import OWNER, PASSWORD, open_isoline
from tests.programs.benchmarks.servers import open_servers

_WATCHED: Final = ("gateway", "processor")
_SAMPLES_PER_HOUR: Final = 250 * 3600
_EVERY_S: Final = 0.02
_MAX_GATEWAY_MIB: Final = 150.0


def recording(hours: float) -> dict[str, Any]:
    """Three leads that wander about zero as noise does, the same each time."""
    chance = np.random.default_rng(4)
    count = int(hours * _SAMPLES_PER_HOUR)
    leads = [
        {"name": name, "signal": (500 * chance.standard_normal(count, np.float32)).astype(np.int16)}
        for name in ("I", "II", "III")
    ]
    return {"id": secrets.token_hex(4), "date": "2023-07-30", "sampling_rate_hz": 250, "leads": leads}


async def main(hours: float) -> int:
    """Send, measure, print; 1 when the gateway took too much."""
    ecg = recording(hours)
    async with open_servers() as servers, open_isoline(servers) as pipeline:
        before = {name: pss_mb(pipeline.processes[name]) for name in _WATCHED}
        async with (
            measure_resources(pipeline.processes, every_s=_EVERY_S) as used,
            open_client(pipeline.address, user=OWNER, password=PASSWORD, retry_for_s=5.0) as isoline,
        ):
            begun = time.monotonic()
            await isoline.submit(ecg)
            submitted = time.monotonic()
            result = await isoline.wait(ecg["id"], timeout_s=300)
            measured = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    for name in _WATCHED:
        console.print(f"{name}: peak PSS {used.peak_pss_mb[name]:.0f} MiB, {before[name]:.0f} before")
    found = {lead.name: lead.findings["zero_crossings"] for lead in result.leads}
    samples = sum(lead["signal"].size for lead in ecg["leads"])
    console.print(
        f"{samples} samples: 202 after {submitted - begun:.1f} s, result {measured - submitted:.1f} s later"
    )
    is_right = found == {lead["name"]: _crossings(lead["signal"]) for lead in ecg["leads"]}
    console.print(f"zero crossings {found}: {'right' if is_right else 'WRONG'}")
    return 0 if is_right and used.peak_pss_mb["gateway"] <= _MAX_GATEWAY_MIB else 1


def _crossings(signal: np.ndarray[Any, np.dtype[np.int16]]) -> int:
    signs = np.sign(signal)
    signs = signs[signs != 0]
    return int(np.count_nonzero(signs[1:] != signs[:-1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A day of samples, sent and measured.")
    parser.add_argument("--hours", type=float, default=24.0)
    sys.exit(asyncio.run(main(parser.parse_args().hours)))
