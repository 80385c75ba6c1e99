"""ECGs that are held in memory and stored in parts: their memory, and that they are like any other."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from io import FileIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson
import pytest
import zstandard

from gateway.ecgs import handlers as handlers_module
from gateway.formats import spool as spool_module
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.recordings import PostgresRecordingStore
from tests.http.conftest import open_client, open_test_gateway
from tests.support.builders import a_binary_body, an_ecg_body
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import aiohttp
    import numpy.typing as npt

    from shared.broker.in_process import InProcessBroker
    from shared.ports.ecgs import Receipt, RecordingSubmission
    from shared.storage.pool.database import Database

_LIMIT_S: Final = 60
_BINARY: Final = "application/vnd.isoline.ecg"
_JSON: Final = "application/json"
_PIECE_BYTES: Final = 2**16
# More than are stored with others, and fewer than an ECG may have.
_SAMPLES_OF_A_LEAD: Final = 700_000
_AT_ONCE: Final = 4
# Three times the body is what `make hostile` allows; unpacking has windows of its own beside that.
_MAX_PER_BODY: Final = 2.5
# Too long for memory, and so many that they are not all stored at a time.
_SPOOLED_SAMPLES: Final = 1_000_001
_SPOOLED: Final = 3


class Form(NamedTuple):
    """How an ECG is sent."""

    content_type: str
    body: Callable[[str], bytes]
    encoding: str = "identity"
    pack: Callable[[bytes], bytes] = bytes


def noise(seed: int) -> npt.NDArray[np.int32]:
    """Incompressible samples of 32 bits."""
    return np.random.default_rng(seed).integers(-(2**31), 2**31, _SAMPLES_OF_A_LEAD, np.int32)


def in_binary(ecg_id: str) -> bytes:
    described = [
        {"name": name, "num_samples": _SAMPLES_OF_A_LEAD, "sample_type": "int32"} for name in ("I", "II")
    ]
    return a_binary_body(
        an_ecg_body(id=ecg_id, leads=described), b"".join(noise(seed).tobytes() for seed in (1, 2))
    )


def in_json(ecg_id: str) -> bytes:
    leads = [{"name": name, "signal": noise(seed).tolist()} for name, seed in (("I", 1), ("II", 2))]
    return orjson.dumps(an_ecg_body(id=ecg_id, leads=leads))


_FORMS: Final = {
    "binary": Form(_BINARY, in_binary),
    "binary, gzip": Form(_BINARY, in_binary, "gzip", gzip.compress),
    "binary, zstd": Form(_BINARY, in_binary, "zstd", zstandard.compress),
    "JSON": Form(_JSON, in_json),
    "JSON, gzip": Form(_JSON, in_json, "gzip", gzip.compress),
    "JSON, zstd": Form(_JSON, in_json, "zstd", zstandard.compress),
}


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body that is not copied as a whole to be sent."""
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


async def submitted(ada: aiohttp.ClientSession, form: Form, packed: bytes) -> int:
    headers = {"Content-Type": form.content_type, "Content-Encoding": form.encoding}
    async with ada.post("/ecg/process", data=in_pieces(packed), headers=headers) as response:
        return response.status


async def peak_bytes(ada: aiohttp.ClientSession, form: Form, bodies: list[bytes]) -> int:
    """The peak of additional memory while these were submitted concurrently."""
    tracemalloc.start()
    try:
        async with asyncio.timeout(_LIMIT_S):
            statuses = await asyncio.gather(*(submitted(ada, form, body) for body in bodies))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert set(statuses) == {202}


@pytest.mark.parametrize("form", _FORMS.values(), ids=_FORMS)
async def test_a_body_takes_less_than_three_times_its_unpacked_size(
    ada: aiohttp.ClientSession, form: Form
) -> None:
    body = form.body("10")

    assert await peak_bytes(ada, form, [form.pack(body)]) < _MAX_PER_BODY * len(body)


async def test_concurrent_bodies_take_no_more_memory_each(ada: aiohttp.ClientSession) -> None:
    bodies = [in_binary(str(number)) for number in range(_AT_ONCE)]

    assert await peak_bytes(ada, _FORMS["binary"], bodies) < _MAX_PER_BODY * sum(map(len, bodies))


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("sent", [3, 4], ids=["with others", "in parts"])
async def test_an_ecg_stored_in_parts_is_measured_as_a_whole(
    ada: aiohttp.ClientSession, database: Database, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    monkeypatch.setattr(handlers_module, "_IN_PARTS_ABOVE_SAMPLES", 3)
    monkeypatch.setattr(handlers_module, "_PART_SAMPLES", 2)
    leads = [{"name": "I", "signal": [1, -1, 1, -1][:sent], "baseline": 0}]

    async with ada.post("/ecg/process", json=an_ecg_body(leads=leads)) as response:
        assert response.status == 202
    async with ada.get("/ecg/10", params={"wait": 30}) as response:
        result = await response.json()

    assert result["leads"] == [{"I": {"zero_crossings": sent - 1}}]
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM recording_part") == (2 if sent == 4 else 0)


async def test_a_long_ecg_in_memory_does_not_wait_for_recordings(
    ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, add = asyncio.Event(), PostgresRecordingStore.add

    async def slow_add(store: PostgresRecordingStore, submission: RecordingSubmission) -> Receipt:
        if submission.recording.header.num_samples == _SPOOLED_SAMPLES:
            await may_end.wait()
        return await add(store, submission)

    def spooled(number: int) -> bytes:
        lead: dict[str, Any] = {"name": "I", "num_samples": _SPOOLED_SAMPLES, "sample_type": "int16"}
        return a_binary_body(an_ecg_body(id=f"spooled-{number}", leads=[lead]), bytes(2 * _SPOOLED_SAMPLES))

    monkeypatch.setattr(PostgresRecordingStore, "add", slow_add)
    form = _FORMS["binary"]
    async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as tasks:
        recordings = [tasks.create_task(submitted(ada, form, spooled(number))) for number in range(_SPOOLED)]

        assert await submitted(ada, form, in_binary("held")) == 202

        assert not any(recording.done() for recording in recordings)
        may_end.set()


def short_and_spooled(ecg_id: str) -> bytes:
    """A recording of three samples, for a gateway that spools what is longer than one."""
    lead: dict[str, Any] = {"name": "I", "num_samples": 3, "sample_type": "int16"}
    return a_binary_body(an_ecg_body(id=ecg_id, leads=[lead]), bytes(6))


async def part(ada: aiohttp.ClientSession, state: str) -> dict[str, Any]:
    """The spool's part of readiness once it is in this state; the gateway is ready all the time."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            async with ada.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
                assert response.status == 200
                found: dict[str, Any] = (await response.json())["parts"]["spool"]
            if found["state"] == state:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("gateway")  # for its accounts
class TestSpoolFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "spool"
        folder.mkdir()
        return folder

    @pytest.fixture
    async def ada(
        self, database: Database, broker: InProcessBroker, folder: Path
    ) -> AsyncIterator[aiohttp.ClientSession]:
        settings = GatewayOnlySettings(
            host="127.0.0.1", port=0, spool_dir=str(folder), max_lead_samples=1, max_ecg_samples=1
        )
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as address,
            open_client(address, "ada") as ada,
        ):
            yield ada

    async def test_that_is_gone_is_made_again(self, ada: aiohttp.ClientSession, folder: Path) -> None:
        form = _FORMS["binary"]
        with capture_logs() as records:
            folder.rmdir()
            statuses = [await submitted(ada, form, short_and_spooled(ecg_id)) for ecg_id in ("1", "2")]

        assert statuses == [202, 202]
        assert (await part(ada, "ok"))["state"] == "ok"
        assert [record["level"] for record in records if "spool" in record["message"]] == ["info"]

    async def test_that_can_not_be_used_is_a_degraded_part_and_logged_once(
        self, ada: aiohttp.ClientSession, folder: Path
    ) -> None:
        form = _FORMS["binary"]
        await part(ada, "ok")
        with capture_logs() as records:
            folder.rmdir()
            folder.write_text("no folder")
            refused = [await submitted(ada, form, short_and_spooled(str(number))) for number in range(5)]
            degraded = await part(ada, "degraded")
            refused += [await submitted(ada, form, short_and_spooled(str(number))) for number in range(5)]
            async with ada.post(
                "/ecg/process", json=an_ecg_body(leads=[{"name": "I", "signal": [1]}])
            ) as short:
                pass
            folder.unlink()
            await part(ada, "ok")
            taken = await submitted(ada, form, short_and_spooled("1"))

        assert (set(refused), short.status, taken) == ({503}, 202, 202)
        assert degraded["reason"] == "the spool (ISOLINE_SPOOL_DIR): Not a directory"
        assert degraded["means"].startswith("ECGs longer than JSON may have are answered with 503")
        logged = [record["message"] for record in records if record.get("part") == "spool"]
        assert logged == ["a part of the service does not work", "a part of the service works again"]
        warnings = [record for record in records if record["level"] not in {"info", "debug"}]
        assert len(warnings) == 1

    async def test_on_a_full_disk_is_a_degraded_part(
        self, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await part(ada, "ok")
        with monkeypatch.context() as full:
            full.setattr(spool_module, "TemporaryFile", lambda **_: FileIO("/dev/full", "r+"))
            status = await submitted(ada, _FORMS["binary"], short_and_spooled("1"))
            degraded = await part(ada, "degraded")

        assert status == 503
        assert degraded["reason"].endswith("No space left on device")
        assert degraded["since"] < (await part(ada, "ok"))["since"]
