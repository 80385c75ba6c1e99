"""What a day of three leads at 250 Hz costs: ``python -m tests.benchmarks.day_of_samples [--hours 1]``.

It starts PostgreSQL, RabbitMQ, a gateway and a processor of its own, with default settings, sends the
recording by the Python client, and prints times and peaks of memory (PSS, asked for 50 times a second). Exit
status 1 when the gateway took more than 150 MiB or the result is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console

from gateway.accounts import Passwords
from isoline.client import open_client
from isoline.postgres_server import open_postgres_server
from shared.domain.account import Account, Role
from shared.storage.postgres import open_database
from shared.storage.postgres_accounts import PostgresAccountStore
from shared.storage.schema import apply_migrations
from tests.servers.rabbitmq_server import open_rabbitmq_server
from tests.servers.services import free_port, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_ROOT: Final = Path(__file__).parents[2]
_PASSWORD: Final = "a good password"
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
    async with _open_services() as (address, pids), _measured(pids) as peaks:
        before = dict(peaks)
        async with open_client(address, user="ada", password=_PASSWORD, patience_s=5.0) as isoline:
            begun = time.monotonic()
            await isoline.submit(ecg)
            submitted = time.monotonic()
            result = await isoline.wait(ecg["id"], timeout_s=300)
            measured = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    for name, peak in peaks.items():
        console.print(f"{name}: peak PSS {peak:.0f} MiB, {before[name]:.0f} before")
    found = {lead.name: lead.zero_crossings for lead in result.leads}
    samples = sum(lead["signal"].size for lead in ecg["leads"])
    console.print(
        f"{samples} samples: 202 after {submitted - begun:.1f} s, result {measured - submitted:.1f} s later"
    )
    is_right = found == {lead["name"]: _crossings(lead["signal"]) for lead in ecg["leads"]}
    console.print(f"zero crossings {found}: {'right' if is_right else 'WRONG'}")
    return 0 if is_right and peaks["gateway"] <= _MAX_GATEWAY_MIB else 1


def _crossings(signal: np.ndarray[Any, np.dtype[np.int16]]) -> int:
    signs = np.sign(signal)
    signs = signs[signs != 0]
    return int(np.count_nonzero(signs[1:] != signs[:-1]))


@asynccontextmanager
async def _open_services() -> AsyncIterator[tuple[str, dict[str, int]]]:
    with tempfile.TemporaryDirectory(prefix="isoline-day-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as somebody else
        (folder / "rabbitmq").mkdir()
        async with (
            open_postgres_server(folder / "postgres") as postgres,
            open_rabbitmq_server(folder / "rabbitmq") as rabbitmq,
        ):
            await apply_migrations(postgres.url)
            await _create_account(postgres.url)
            ports = {service: str(free_port()) for service in ("gateway", "processor")}
            address = f"http://127.0.0.1:{ports['gateway']}"
            environment = {
                "ISOLINE_DATABASE_URL": postgres.url,
                "ISOLINE_AMQP_URL": rabbitmq.amqp_url,
                "ISOLINE_TOKEN_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
                "ISOLINE_HOST": "127.0.0.1",
                "ISOLINE_PORT": ports["gateway"],
                "ISOLINE_HEALTH_PORT": ports["processor"],
                "PYTHONPATH": str(_ROOT),
            }
            async with (
                open_service(
                    ["-m", "gateway"], address=address, environment=environment, log=folder / "gateway.log"
                ) as gateway,
                open_service(
                    ["-m", "processor"],
                    address=f"http://127.0.0.1:{ports['processor']}",
                    environment=environment,
                    log=folder / "processor.log",
                ) as processor,
            ):
                yield address, {"gateway": gateway.pid, "processor": processor.pid}


async def _create_account(database_url: str) -> None:
    async with open_database(database_url) as database:
        password_hash = await Passwords().hash(_PASSWORD)
        await PostgresAccountStore(database).add(Account("ada", password_hash, frozenset({Role.USER})))


@asynccontextmanager
async def _measured(pids: Mapping[str, int]) -> AsyncIterator[dict[str, float]]:
    """Yield the peaks so far, which go on being measured inside."""
    peaks = {name: _pss_mib(pid) for name, pid in pids.items()}

    async def measure() -> None:
        while True:
            for name, pid in pids.items():
                peaks[name] = max(peaks[name], _pss_mib(pid))
            await asyncio.sleep(_EVERY_S)

    measuring = asyncio.create_task(measure())
    try:
        yield peaks
    finally:
        measuring.cancel()


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError("Pss")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A day of samples, sent and measured.")
    parser.add_argument("--hours", type=float, default=24.0)
    sys.exit(asyncio.run(main(parser.parse_args().hours)))
