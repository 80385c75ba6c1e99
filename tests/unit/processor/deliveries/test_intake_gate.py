from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest

from processor.deliveries import intake_gate
from processor.deliveries.intake_gate import IntakeGate
from shared.broker.in_process import InProcessBroker
from shared.domain.errors import UnavailableError
from shared.events import Event, EventType
from shared.ports.operators.intake import IntakeState
from shared.runtime.supervision import background_task
from tests.support.polling import until

if TYPE_CHECKING:
    from shared.broker.in_process import InProcessConsumer
    from shared.ports.operators.operations import AuditNote

_QUEUE: Final = "processor.ecg-submitted"
_PAUSED: Final = IntakeState(is_paused=True, who="olga", why="a disk is replaced")
_RUNNING: Final = IntakeState(who="olga", why="done")


class ScriptedIntake:
    """A `shared.ports.operators.intake.Intake` that gives what it is set to, and counts how often."""

    def __init__(self, state: IntakeState | UnavailableError) -> None:
        self.state = state
        self.reads = 0

    async def read(self) -> IntakeState:
        self.reads += 1
        if isinstance(self.state, UnavailableError):
            raise self.state
        return self.state

    async def change(self, note: AuditNote, *, is_paused: bool) -> IntakeState:
        raise NotImplementedError

    async def is_heeded(self, state: IntakeState | UnavailableError) -> None:
        """Set it, and return when it was certainly acted upon."""
        self.state, read = state, self.reads
        await until(lambda: self.reads >= read + 2)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_gate, "_READ_EVERY_S", 0.001)


@pytest.fixture
def broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.bind(_QUEUE, EventType.SUBMITTED)
    broker.route(Event(uuid4(), EventType.SUBMITTED, b"one"))
    return broker


async def is_consuming(gate: IntakeGate) -> bool:
    """Whether it gives the message that is there, which goes back to the queue."""
    try:
        async with asyncio.timeout(0.05):
            [delivery] = await gate.receive(1)
    except TimeoutError:
        return False
    await delivery.requeue()
    return True


async def paused(consumer: InProcessConsumer) -> InProcessConsumer:
    await consumer.pause()
    return consumer


async def test_it_consumes_unless_an_operator_or_the_breaker_has_paused_it(broker: InProcessBroker) -> None:
    intake = ScriptedIntake(_RUNNING)
    async with broker.consumer(_QUEUE, prefetch=5) as consumer:
        gate = IntakeGate(await paused(consumer), intake)
        seen = []
        async with background_task(gate.run, "reading the intake"):
            await intake.is_heeded(_RUNNING)
            seen.append(await is_consuming(gate))
            await intake.is_heeded(_PAUSED)
            seen.append(await is_consuming(gate))
            await gate.pause()
            await gate.resume()
            seen.append(await is_consuming(gate))
            await gate.pause()
            await intake.is_heeded(_RUNNING)
            seen.append(await is_consuming(gate))
            await gate.resume()
            seen.append(await is_consuming(gate))

    assert seen == [True, False, False, False, True]


async def test_one_that_starts_while_all_are_paused_or_nothing_is_known_takes_nothing(
    broker: InProcessBroker,
) -> None:
    for state in (_PAUSED, UnavailableError("away")):
        intake = ScriptedIntake(state)
        async with broker.consumer(_QUEUE, prefetch=5) as consumer:
            gate = IntakeGate(await paused(consumer), intake)
            async with background_task(gate.run, "reading the intake"):
                await gate.resume()
                await intake.is_heeded(state)

                assert not await is_consuming(gate)


async def test_what_was_known_last_counts_while_it_cannot_be_read(broker: InProcessBroker) -> None:
    intake = ScriptedIntake(_PAUSED)
    async with broker.consumer(_QUEUE, prefetch=5) as consumer:
        gate = IntakeGate(await paused(consumer), intake)
        async with background_task(gate.run, "reading the intake"):
            await intake.is_heeded(_PAUSED)
            await intake.is_heeded(UnavailableError("away"))

            assert gate.is_paused()
            with pytest.raises(UnavailableError, match="paused by olga: a disk is replaced"):
                await gate.check()


async def test_what_it_was_given_can_be_settled_while_it_is_paused(broker: InProcessBroker) -> None:
    intake = ScriptedIntake(_RUNNING)
    async with broker.consumer(_QUEUE, prefetch=5) as consumer:
        gate = IntakeGate(await paused(consumer), intake)
        async with background_task(gate.run, "reading the intake"):
            await intake.is_heeded(_RUNNING)
            [delivery] = await gate.receive(1)
            await intake.is_heeded(_PAUSED)
            await delivery.ack()

    assert broker.waiting(_QUEUE) == []
