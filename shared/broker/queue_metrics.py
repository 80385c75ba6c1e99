"""What RabbitMQ tells a processor of its queue and of the dead letters, as gauges.

Each processor asks for the same two queues, so these gauges are the same in every worker; what it holds
itself is not. They are NaN while RabbitMQ does not answer.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNKNOWN: Final = math.nan

_READY: Final = Gauge(
    "isoline_queue_ready_messages", "Messages that wait in the processors' queue; one may name 64 ECGs."
)
_CONSUMERS: Final = Gauge("isoline_queue_consumers", "Processors that consume that queue.")
_UNACKNOWLEDGED: Final = Gauge(
    "isoline_unacknowledged_messages", "Messages that this processor was delivered and has not settled."
)
_DEAD_LETTERS: Final = Gauge("isoline_dead_letters", "Messages in the dead-letter queue.")
for _gauge in (_READY, _CONSUMERS, _DEAD_LETTERS):
    _gauge.set(_UNKNOWN)


def observe_queue(*, ready: float, consumers: float) -> None:
    """The processors' queue has so many messages that wait, and so many consumers; NaN if unknown."""
    _READY.set(ready)
    _CONSUMERS.set(consumers)


def observe_dead_letters(count: float) -> None:
    """The dead-letter queue has so many messages; NaN if that is unknown."""
    _DEAD_LETTERS.set(count)


@contextmanager
def observing_session(unacknowledged: Callable[[], int]) -> Iterator[None]:
    """Show what a session of a consumer holds while the context is open; then nothing, of unknown queues."""
    _UNACKNOWLEDGED.set_function(unacknowledged)
    try:
        yield
    finally:
        _UNACKNOWLEDGED.set_function(lambda: 0)
        observe_queue(ready=_UNKNOWN, consumers=_UNKNOWN)
        observe_dead_letters(_UNKNOWN)
