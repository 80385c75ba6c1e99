"""A queueing model of Isoline: batches at gateways, then at processors, on cores that they may share.

A process that is idle takes all that waits, up to a limit, as one batch; the next one fills meanwhile. A
batch takes CPU of its process, then of PostgreSQL and RabbitMQ, and then only time, for disk and network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from random import Random

    Steps = Generator[simpy.Event, object, None]
    Holds = Callable[[int], Generator[simpy.Event, object, None]]

_UNSHARED: Final = 1_000_000  # cores
_FLUSHERS: Final = 2  # of a gateway: while one batch is written, the other is on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a batch costs in seconds: of one gateway, or of one processor.

    Attributes:
        batch_s: CPU of the process, whatever is in the batch.
        ecg_s: CPU of the process for each ECG in it.
        servers_batch_s: CPU of PostgreSQL and RabbitMQ, likewise.
        servers_ecg_s: Likewise for each ECG.
        wait_s: For disk and network.
        most: ECGs of a batch at the most.
    """

    batch_s: float
    ecg_s: float
    servers_batch_s: float = 0.0
    servers_ecg_s: float = 0.0
    wait_s: float = 0.0
    most: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The costs of one kind of ECG.

    Attributes:
        client_s: CPU of the client for each ECG, where it shares the cores.
    """

    gateway: Stage
    processor: Stage
    client_s: float = 0.0


class Deployment(NamedTuple):
    """Processes and their cores.

    Attributes:
        gateways: How many there are.
        processors: How many there are.
        cores: How many cores they share; each has its own if that is None.
        slowdown: How often its CPU time something takes, where others use the same cores.
    """

    gateways: int = 1
    processors: int = 1
    cores: int | None = None
    slowdown: float = 1.0


class SimulatedLatencies(NamedTuple):
    """Seconds of each ECG: from when it is sent to its 202, and from when it is stored to its result."""

    submit_s: list[float]
    result_s: list[float]


class BatchQueue:
    """A queue before so many servers, each of which takes all that waits, up to a limit, as one batch.

    Args:
        environment: Whose time passes.
        servers: How many there are.
        most: Items of a batch at the most.
        hold: The steps that a batch of so many items takes.
        on_done: Called with the time at which each item was taken, and the items.
    """

    def __init__(
        self,
        environment: simpy.Environment,
        *,
        servers: int,
        most: int,
        hold: Holds,
        on_done: Callable[[float, list[float]], None],
    ) -> None:
        self._environment = environment
        self._most = most
        self._hold = hold
        self._on_done = on_done
        self._waiting: list[float] = []
        self._idle: list[simpy.Event] = []
        for _ in range(servers):
            environment.process(self._serve())

    def put(self, items: Iterable[float]) -> None:
        """Add items, each named by a time of its own."""
        self._waiting += items
        if self._idle:
            self._idle.pop(0).succeed()

    def _serve(self) -> Steps:
        while True:
            while not self._waiting:
                idle = self._environment.event()
                self._idle.append(idle)
                yield idle
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if self._waiting and self._idle:
                self._idle.pop(0).succeed()
            taken_s = self._environment.now
            yield from self._hold(len(batch))
            self._on_done(taken_s, batch)


def simulate(costs: Costs, arrivals_s: Sequence[float], deployment: Deployment) -> SimulatedLatencies:
    """The latencies of ECGs that are sent at these times."""
    environment = simpy.Environment()
    cores = simpy.Resource(environment, deployment.cores or _UNSHARED)
    latencies = SimulatedLatencies([], [])

    def use_cpu(seconds: float) -> Steps:
        if not seconds:
            return
        with cores.request() as core:
            yield core
            yield environment.timeout(seconds * deployment.slowdown)

    def in_batches(stage: Stage, ecg_s: float) -> Holds:
        def hold(count: int) -> Steps:
            yield from use_cpu(stage.batch_s + count * ecg_s)
            yield from use_cpu(stage.servers_batch_s + count * stage.servers_ecg_s)
            yield environment.timeout(stage.wait_s)

        return hold

    def on_settled(_: float, stored_s: list[float]) -> None:
        latencies.result_s.extend(environment.now - at_s for at_s in stored_s)

    processors = BatchQueue(
        environment,
        servers=deployment.processors,
        most=costs.processor.most,
        hold=in_batches(costs.processor, costs.processor.ecg_s),
        on_done=on_settled,
    )

    def on_submitted(taken_s: float, sent_s: list[float]) -> None:
        latencies.submit_s.extend(environment.now - at_s for at_s in sent_s)
        processors.put([taken_s] * len(sent_s))

    def open_gateway() -> BatchQueue:
        # An event loop parses one body after the other, while the batch before is with PostgreSQL.
        stores = BatchQueue(
            environment,
            servers=_FLUSHERS,
            most=costs.gateway.most,
            hold=in_batches(costs.gateway, 0.0),
            on_done=on_submitted,
        )
        return BatchQueue(
            environment,
            servers=1,
            most=1,
            hold=lambda _: use_cpu(costs.client_s + costs.gateway.ecg_s),
            on_done=lambda _, sent_s: stores.put(sent_s),
        )

    gateways = [open_gateway() for _ in range(deployment.gateways)]

    def send() -> Steps:
        for number, at_s in enumerate(arrivals_s):
            yield environment.timeout(at_s - environment.now)
            gateways[number % len(gateways)].put([at_s])

    environment.process(send())
    environment.run()
    return latencies


def poisson(rate_per_s: float, seconds: float, chance: Random) -> list[float]:
    """Arrivals of many senders who know nothing of each other."""
    arrivals, at_s = [], 0.0
    while (at_s := at_s + chance.expovariate(rate_per_s)) < seconds:
        arrivals.append(at_s)
    return arrivals


def bursts(rate_per_s: float, seconds: float, chance: Random, *, size: int) -> list[float]:
    """Arrivals in groups of one moment: wards that send at the end of their rounds."""
    return [at_s for at_s in poisson(rate_per_s / size, seconds, chance) for _ in range(size)]
