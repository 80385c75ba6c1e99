"""The queueing model against exact formulas of queueing theory."""

from __future__ import annotations

from math import factorial
from random import Random
from statistics import fmean

import pytest
import simpy

from tests.programs.benchmarks.scaling.simulation import (
    BatchQueue,
    Costs,
    Deployment,
    Stage,
    bursts,
    poisson,
    simulate,
)

_FREE = Stage(batch_s=0.0, ecg_s=0.0, most=10_000)
_ECGS = 25_000


def a_chance() -> Random:
    """The same chance each time, so that no test fails by chance."""
    return Random(137)  # noqa: S311 - nothing here is secret


def erlang_c(servers: int, load: float) -> float:
    """The probability that an arrival of M/M/c waits; ``load`` is arrival rate / rate of one server."""
    last = load**servers / factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / factorial(k) for k in range(servers)) + last)


def mean_wait_of_mmc(servers: int, *, rate_per_s: float, service_s: float) -> float:
    load = rate_per_s * service_s
    return erlang_c(servers, load) * service_s / (servers - load)


def mean_wait_of_md1(*, rate_per_s: float, service_s: float) -> float:
    """Pollaczek and Khinchine for a service of constant length."""
    load = rate_per_s * service_s
    return load * service_s / (2 * (1 - load))


def simulated_waits(servers: int, rate_per_s: float, service_s: float) -> list[float]:
    environment, chance = simpy.Environment(), a_chance()
    waits: list[float] = []

    def hold(_: int) -> simpy.events.ProcessGenerator:
        yield environment.timeout(chance.expovariate(1 / service_s))

    queue = BatchQueue(
        environment,
        servers=servers,
        most=1,
        hold=hold,
        on_done=lambda taken_s, items: waits.extend(taken_s - at_s for at_s in items),
    )

    def send() -> simpy.events.ProcessGenerator:
        for at_s in poisson(rate_per_s, _ECGS / rate_per_s, chance):
            yield environment.timeout(at_s - environment.now)
            queue.put([at_s])

    environment.process(send())
    environment.run()
    return waits


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.6), (4, 3.2)])
def test_so_many_servers_with_random_services_wait_as_erlang_says(servers: int, load: float) -> None:
    expected_s = mean_wait_of_mmc(servers, rate_per_s=load / 0.01, service_s=0.01)

    waits = simulated_waits(servers, rate_per_s=load / 0.01, service_s=0.01)

    assert fmean(waits) == pytest.approx(expected_s, rel=0.1)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_a_processor_that_takes_one_ecg_at_a_time_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    service_s = 0.01
    costs = Costs(gateway=_FREE, processor=Stage(batch_s=service_s, ecg_s=0.0, most=1))
    arrivals = poisson(load / service_s, _ECGS * service_s / load, a_chance())

    latencies = simulate(costs, arrivals, Deployment())

    expected_s = service_s + mean_wait_of_md1(rate_per_s=load / service_s, service_s=service_s)
    assert fmean(latencies.result_s) == pytest.approx(expected_s, rel=0.1)


def test_a_lone_ecg_takes_what_its_parts_take() -> None:
    gateway = Stage(
        batch_s=0.001, ecg_s=0.002, servers_batch_s=0.003, servers_ecg_s=0.004, wait_s=0.005, most=9
    )
    processor = Stage(batch_s=0.01, ecg_s=0.02, servers_batch_s=0.03, servers_ecg_s=0.04, wait_s=0.05, most=9)

    [submit_s], [result_s] = simulate(
        Costs(gateway=gateway, processor=processor, client_s=0.1), [1.0], Deployment(cores=1)
    )

    assert submit_s == pytest.approx(0.1 + 0.002 + 0.001 + 0.003 + 0.004 + 0.005)
    assert result_s == pytest.approx(0.001 + 0.003 + 0.004 + 0.005 + 0.15)


def test_ecgs_that_wait_share_the_cost_of_a_batch() -> None:
    costs = Costs(gateway=_FREE, processor=Stage(batch_s=1.0, ecg_s=0.0, most=10))

    latencies = simulate(costs, [0.0, *[0.5] * 10], Deployment())

    assert latencies.result_s == pytest.approx([1.0, *[1.5] * 10])


def test_processes_on_one_core_take_turns() -> None:
    costs = Costs(gateway=_FREE, processor=Stage(batch_s=1.0, ecg_s=0.0, most=1))

    apart = simulate(costs, [0.0, 0.0], Deployment(processors=2))
    shared = simulate(costs, [0.0, 0.0], Deployment(processors=2, cores=1))

    assert apart.result_s == pytest.approx([1.0, 1.0])
    assert shared.result_s == pytest.approx([1.0, 2.0])


def test_bursts_have_the_rate_that_was_asked_for_and_wait_longer() -> None:
    costs = Costs(gateway=_FREE, processor=Stage(batch_s=0.01, ecg_s=0.0, most=1))
    even = poisson(50, 200, a_chance())
    uneven = bursts(50, 200, a_chance(), size=20)

    assert len(uneven) == pytest.approx(len(even), rel=0.15)
    assert fmean(simulate(costs, uneven, Deployment()).result_s) > 2 * fmean(
        simulate(costs, even, Deployment()).result_s
    )
