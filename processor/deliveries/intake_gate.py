"""The intake of a processor: it takes no ECGs while an operator has paused all processors."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from processor.deliveries.messages import give_back
from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.ports.operators.intake import IntakeState
from shared.runtime.health import HealthPart

if TYPE_CHECKING:
    from shared.ports.broker import Consumer, Delivery
    from shared.ports.operators.intake import Intake

_READ_EVERY_S: Final = 5.0
_PAUSED_IMPACT: Final = (
    "This processor takes no ECGs and settles what it holds; ECGs stay queued until an operator resumes."
)

_log = Logger(__name__)


class IntakeGate:
    """A consumer that an operator and the circuit breaker pause, each by itself, and that consumes otherwise.

    Deliveries are still settled while it is paused. It consumes nothing until the intake was read, so that
    a processor that starts while all are paused takes nothing either.

    Args:
        consumer: Paused by now.
        intake: Read every five seconds; while it can't be read, what was read last counts.
    """

    def __init__(self, consumer: Consumer, intake: Intake) -> None:
        self._consumer = consumer
        self._intake = intake
        self._state = IntakeState()
        self._was_read = False
        self._is_paused_by_breaker = False

    def is_paused(self) -> bool:
        """Whether an operator has paused it."""
        return self._state.is_paused

    @property
    def health_part(self) -> HealthPart:
        """Degraded while an operator has paused it, and never failing: a restart would change nothing."""
        return HealthPart(
            check=self.check,
            impact=_PAUSED_IMPACT,
            fails_after_s=math.inf,
            is_in_memory=True,
            is_logged=False,
        )

    async def check(self) -> None:
        """Return unless an operator has paused it.

        Raises:
            UnavailableError: One has; who and why.
        """
        if self._state.is_paused:
            raise UnavailableError(f"paused by {self._state.who}: {self._state.why}", is_logged=True)

    async def run(self) -> None:
        """Read the intake forever, and pause and resume the consumer as it says."""
        while True:
            try:
                state = await self._intake.read()
            except UnavailableError:
                pass  # those tell of it who need more of PostgreSQL
            else:
                await self._follow(state)
            await asyncio.sleep(_READ_EVERY_S)

    async def receive(self, limit: int) -> list[Delivery]:
        """As of the consumer."""
        return await self._consumer.receive(limit)

    async def set_prefetch(self, count: int) -> None:
        """As of the consumer."""
        await self._consumer.set_prefetch(count)

    async def pause(self) -> list[Delivery]:
        """As of the consumer, by the circuit breaker or a process that drains."""
        self._is_paused_by_breaker = True
        return await self._consumer.pause()

    async def resume(self) -> None:
        """As of the consumer, unless an operator has paused it."""
        self._is_paused_by_breaker = False
        await self._resume_if_open()

    async def _follow(self, state: IntakeState) -> None:
        before, self._state = self._state, state
        is_first, self._was_read = not self._was_read, True
        if state.is_paused:
            if not before.is_paused:
                _log.warning("consuming is paused by an operator", who=state.who, why=state.why)
                await give_back(await self._consumer.pause())
        elif before.is_paused or is_first:
            if before.is_paused:
                _log.info("an operator lets consuming go on", who=state.who, why=state.why)
            await self._resume_if_open()

    async def _resume_if_open(self) -> None:
        if self._was_read and not self._state.is_paused and not self._is_paused_by_breaker:
            await self._consumer.resume()
