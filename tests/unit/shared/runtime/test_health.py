from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson

from shared.domain.errors import UnavailableError
from shared.runtime import health, outages
from shared.runtime.health import Health, HealthPart, health_part_of_process, open_health
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


_LIMIT_S = 10
_IMPACT = "Nothing is lost."


class Broker:
    """A dependency that a part checks, which counts the checks."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure


async def ready(watched: Health) -> tuple[int, dict[str, Any]]:
    async with asyncio.timeout(_LIMIT_S):
        answer = await watched.readiness()
    return answer.status, orjson.loads(orjson.dumps(answer.document))


async def state_of(watched: Health, part: str) -> str:
    _, document = await ready(watched)
    return str(document["parts"][part]["state"])


async def _is_failing(watched: Health, part: str) -> bool:
    return await state_of(watched, part) == "failing"


@asynccontextmanager
async def open_one(
    broker: Broker, *, fails_after_s: float = 0, is_in_memory: bool = True
) -> AsyncIterator[Health]:
    part = HealthPart(
        check=broker.check, impact=_IMPACT, fails_after_s=fails_after_s, is_in_memory=is_in_memory
    )
    async with open_health({"broker": part}) as watched:
        yield watched


class TestParts:
    async def test_a_part_that_fails_is_named_with_its_reason_and_what_it_means(self) -> None:
        before = datetime.now(UTC)
        async with open_one(Broker(UnavailableError("the broker is away"))) as watched:
            status, document = await ready(watched)

        part = document["parts"]["broker"]
        assert status == 503
        assert document["status"] == "not ready"
        assert document["reasons"] == {"broker": "the broker is away"}
        assert before <= datetime.fromisoformat(part.pop("since")) <= datetime.now(UTC)
        assert part == {"state": "failing", "reason": "the broker is away", "means": _IMPACT}

    async def test_a_part_that_the_service_can_do_without_is_degraded_and_the_service_ready(self) -> None:
        async with open_one(Broker(UnavailableError("away")), fails_after_s=math.inf) as watched:
            status, document = await ready(watched)

        assert status == 200
        assert document["status"] == "ready"
        assert "reasons" not in document
        assert document["parts"]["broker"]["state"] == "degraded"
        assert document["parts"]["broker"]["reason"] == "away"

    async def test_a_part_that_is_degraded_for_too_long_fails_and_has_the_time_since_when(self) -> None:
        async with open_one(Broker(UnavailableError("away")), fails_after_s=0.2) as watched:
            _, first = await ready(watched)
            await until(partial(_is_failing, watched, "broker"))
            status, later = await ready(watched)

        assert first["parts"]["broker"]["state"] == "degraded"
        assert status == 503
        assert later["parts"]["broker"]["since"] == first["parts"]["broker"]["since"]

    async def test_a_part_that_works_again_says_since_when(self) -> None:
        broker = Broker(UnavailableError("away"))
        async with open_one(broker) as watched:
            _, away = await ready(watched)
            broker.failure = None
            status, back = await ready(watched)

        assert status == 200
        assert back["parts"]["broker"].keys() == {"state", "since"}
        assert back["parts"]["broker"]["state"] == "ok"
        assert back["parts"]["broker"]["since"] > away["parts"]["broker"]["since"]

    async def test_each_change_is_logged_once_with_any_number_of_requests(self) -> None:
        broker = Broker(UnavailableError("away"))
        with capture_logs() as records:
            async with open_one(broker) as watched:
                for _ in range(3):
                    await ready(watched)
                broker.failure = UnavailableError("still away")
                await ready(watched)
                broker.failure = None
                for _ in range(3):
                    await ready(watched)

        assert records == [
            {
                "message": "a part of the service does not work",
                "level": "warning",
                "part": "broker",
                "state": "failing",
                "reason": "away",
                "means": _IMPACT,
            },
            {"message": "not ready", "level": "warning", "parts": ["broker"]},
            {"message": "a part of the service works again", "level": "info", "part": "broker"},
        ]

    async def test_a_reason_is_logged_here_only_if_it_was_not_logged_elsewhere(
        self,
    ) -> None:
        broker = Broker(UnavailableError("refused", is_logged=True))
        part = HealthPart(
            check=broker.check, impact=_IMPACT, fails_after_s=math.inf, is_in_memory=True, is_logged=False
        )
        with capture_logs() as records:
            async with open_health({"database": part}) as watched:
                await ready(watched)
                assert records == []
                broker.failure = UnavailableError("not logged elsewhere")
                await ready(watched)
                await ready(watched)
                broker.failure = UnavailableError("refused", is_logged=True)
                await ready(watched)
                broker.failure = None
                await ready(watched)
                await ready(watched)

        assert [(record["message"], record.get("reason")) for record in records] == [
            ("a part of the service does not work", "not logged elsewhere"),
            ("a part of the service works again", None),
        ]

    async def test_a_service_that_is_not_ready_is_logged_once_and_again_when_it_has_been_ready_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker = Broker()
        with capture_logs() as records:
            async with open_one(broker) as watched:
                for failure in (UnavailableError("away"), None) * 3:  # it fails and recovers
                    broker.failure = failure
                    await ready(watched)
                during = [record["message"] for record in records if "ready" in record["message"]]
                monkeypatch.setattr(outages, "QUIET_S", 0)
                for _ in range(3):
                    await ready(watched)

        ends = [record for record in records if record["message"] == "ready again"]
        assert during == ["not ready"]
        assert [end.keys() for end in ends] == [{"message", "lasted_s", "level"}]

    async def test_a_service_was_not_ready_until_it_was_first_found_ready_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker, clock = Broker(UnavailableError("away")), SimpleNamespace(now_s=100.0)
        monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
        with capture_logs() as records:
            async with open_one(broker) as watched:
                await ready(watched)
                broker.failure = None
                for clock.now_s in (140.0, 150.0, 160.0):
                    await ready(watched)

        assert records[-1] == {"message": "ready again", "level": "info", "lasted_s": 40.0}

    async def test_a_change_is_logged_without_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health, "_CHECK_EVERY_S", 0)
        broker = Broker()
        with capture_logs() as records:
            async with open_one(broker, is_in_memory=False), asyncio.timeout(_LIMIT_S):
                broker.failure = UnavailableError("away")
                await until(lambda: records)

        assert records[0]["reason"] == "away"

    async def test_a_defect_of_a_check_is_a_reason_and_ends_nothing(self) -> None:
        async with open_one(Broker(ValueError("a defect"))) as watched:
            status, document = await ready(watched)

        assert status == 503
        assert document["reasons"] == {"broker": "the check failed: ValueError: a defect"}


class TestCost:
    async def test_however_many_ask_a_part_is_checked_once_a_second(self) -> None:
        broker = Broker()
        async with open_one(broker, is_in_memory=False) as watched:
            async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as asking:
                for _ in range(100):
                    asking.create_task(ready(watched))

            assert broker.asked == 1

    async def test_a_check_that_hangs_holds_up_neither_requests_nor_other_parts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "_CHECK_TIMEOUT_S", 0.05)
        parts = {
            "database": HealthPart(check=asyncio.Event().wait, impact=_IMPACT),  # type: ignore[arg-type]
            "broker": HealthPart(check=Broker().check, impact=_IMPACT),
        }
        async with open_health(parts) as watched:
            status, document = await ready(watched)

        assert status == 503
        assert document["reasons"] == {"database": "no answer within 0.05 s"}
        assert document["parts"]["broker"]["state"] == "ok"


async def test_a_process_that_is_asked_to_stop_says_so_at_once_and_gives_its_reason_elsewhere() -> None:
    stop_requested = asyncio.Event()
    with capture_logs() as records:
        async with open_health({"process": health_part_of_process(stop_requested)}) as watched:
            running, _ = await ready(watched)
            stop_requested.set()
            stopping, document = await ready(watched)

    assert (running, stopping) == (200, 503)
    assert document["reasons"] == {"process": "draining: it was told to stop"}
    assert records == [{"message": "not ready", "level": "warning", "parts": ["process"]}]
