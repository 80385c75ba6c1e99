from __future__ import annotations

import asyncio

import pytest

from gateway.limits.counters import Count, CounterStore, MemoryCounters
from gateway.limits.login_throttle import (
    FREE_ATTEMPTS,
    FREE_ATTEMPTS_OF_A_SITE,
    LONGEST_PAUSE_S,
    LoginThrottle,
)
from shared.domain.errors import TooOftenError


class EndlessPauses(MemoryCounters):
    """Counters in which a test ends each pause itself."""

    def end_pauses(self) -> None:
        for key in [key for key in self._counters if key.startswith("pause/")]:
            del self._counters[key]


async def wait_told(throttle: LoginThrottle, name: str = "ada", address: str = "192.0.2.1") -> float | None:
    try:
        await throttle.begin(name, address)
    except TooOftenError as error:
        return error.retry_after_s
    return None


async def test_a_few_tries_are_free_and_then_there_is_a_pause() -> None:
    throttle = LoginThrottle(MemoryCounters())

    waits = [await wait_told(throttle) for _ in range(FREE_ATTEMPTS + 1)]

    assert waits[:FREE_ATTEMPTS] == [None] * FREE_ATTEMPTS
    assert waits[FREE_ATTEMPTS] == 1


async def test_each_failure_makes_the_pause_longer_up_to_a_longest() -> None:
    counters = EndlessPauses()
    throttle = LoginThrottle(counters)
    waits = []
    for _ in range(60):
        assert await wait_told(throttle) is None
        waits.append(await wait_told(throttle) or 0)
        counters.end_pauses()
        if not waits[-1]:
            waits.pop()

    assert waits[:9] == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256], abs=1)
    assert waits[9:] == pytest.approx([LONGEST_PAUSE_S] * len(waits[9:]), abs=1)


class SlowCounters(MemoryCounters):
    """Counters that answer everybody who asks at a time before anybody counts."""

    async def get(self, key: str) -> Count:
        found = await super().get(key)
        await asyncio.sleep(0)
        return found


@pytest.mark.parametrize("counters", [MemoryCounters, SlowCounters])
async def test_many_at_a_time_get_no_more_tries_than_one_after_the_other(
    counters: type[MemoryCounters],
) -> None:
    throttle = LoginThrottle(counters())

    waits = await asyncio.gather(*(wait_told(throttle) for _ in range(100)))

    assert waits.count(None) == FREE_ATTEMPTS


async def test_a_pause_holds_for_one_account_from_one_address() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(20):
        await wait_told(throttle)

    assert await wait_told(throttle) is not None
    assert await wait_told(throttle, address="192.0.2.2") is None
    assert await wait_told(throttle, name="bob") is None


async def test_a_success_forgets_the_failures() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(FREE_ATTEMPTS - 1):
        await wait_told(throttle)

    await throttle.succeeded("ada", "192.0.2.1")

    assert [await wait_told(throttle) for _ in range(FREE_ATTEMPTS)] == [None] * FREE_ATTEMPTS


async def test_a_success_forgets_the_failures_of_its_site_too() -> None:
    throttle = LoginThrottle(MemoryCounters())
    networks = [f"2001:db8:1:{number:x}::/64" for number in range(FREE_ATTEMPTS_OF_A_SITE + 1)]
    for network in networks[:-2]:
        assert await wait_told(throttle, "ada", network) is None

    await throttle.succeeded("ada", networks[-3])

    assert [await wait_told(throttle, "ada", network) for network in networks[-2:]] == [None, None]


async def test_names_of_any_length_and_sort_are_counted() -> None:
    throttle = LoginThrottle(MemoryCounters())

    assert await wait_told(throttle, name="x" * 100_000) is None
    assert await wait_told(throttle, name="\0\u2028 é") is None


async def test_only_a_success_makes_an_address_known_and_from_then_on_it_waits_for_itself_alone() -> None:
    throttle = LoginThrottle(MemoryCounters())
    before = await throttle.check("ada", "192.0.2.1")
    await throttle.begin("ada", "192.0.2.1")
    after_a_try = await throttle.check("ada", "192.0.2.1")

    await throttle.succeeded("ada", "192.0.2.1")

    known = await throttle.check("ada", "192.0.2.1")
    assert before == after_a_try
    assert (before.is_known, known.is_known) == (False, True)
    others = [await throttle.check("ada", "192.0.2.2"), await throttle.check("bob", "192.0.2.1")]
    assert not any(other.is_known or other.names & known.names for other in others)


@pytest.mark.parametrize(
    ("one", "other", "have_in_common"),
    [
        (("ada", "192.0.2.1"), ("bob", "192.0.2.1"), True),
        (("ada", "192.0.2.1"), ("ada", "198.51.100.1"), True),
        (("ada", "192.0.2.1"), ("bob", "192.0.2.2"), False),
        (("ada", "2001:db8:1:1::/64"), ("bob", "2001:db8:1:2::/64"), True),
        (("ada", "2001:db8:1:1::/64"), ("bob", "2001:db8:2:1::/64"), False),
        (("ada", "unknown"), ("bob", "unknown"), True),
        (("ada", "unread:1f"), ("bob", "unread:2f"), False),
        (("192.0.2.1", "unknown"), ("ada", "192.0.2.1"), False),
    ],
)
async def test_tries_have_an_address_a_site_or_an_account_in_common(
    one: tuple[str, str], other: tuple[str, str], *, have_in_common: bool
) -> None:
    throttle = LoginThrottle(MemoryCounters())

    shared = (await throttle.check(*one)).names & (await throttle.check(*other)).names

    assert bool(shared) == have_in_common


async def test_a_site_of_ipv6_has_few_tries_for_an_account_however_many_networks_it_has() -> None:
    throttle = LoginThrottle(MemoryCounters())

    waits = [await wait_told(throttle, address=f"2001:db8:1:{number:x}::/64") for number in range(100)]

    assert waits.count(None) == FREE_ATTEMPTS_OF_A_SITE
    assert await wait_told(throttle, address="2001:db8:2:1::/64") is None
    assert await wait_told(throttle, name="bob", address="2001:db8:1:1::/64") is None


async def test_guessing_elsewhere_in_a_site_keeps_no_owner_waiting_where_they_are_known() -> None:
    throttle = LoginThrottle(MemoryCounters())
    await throttle.succeeded("ada", "2001:db8:1:ada::/64")
    for number in range(100):
        await wait_told(throttle, address=f"2001:db8:1:{number:x}::/64")

    assert (await throttle.check("ada", "2001:db8:1:ada::/64")).is_known
    assert await wait_told(throttle, address="2001:db8:1:ada::/64") is None


async def test_a_pause_is_told_before_there_is_a_place() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(FREE_ATTEMPTS + 1):
        await wait_told(throttle)

    with pytest.raises(TooOftenError):
        await throttle.check("ada", "192.0.2.1")


async def test_no_number_of_other_counters_pushes_failures_out() -> None:
    store = CounterStore(max_counters=10)
    throttle = LoginThrottle(store.remembered_counters())
    others = store.counters()
    for _ in range(FREE_ATTEMPTS + 1):
        await wait_told(throttle)

    for number in range(100):
        await others.count(f"rate/address/{number}", 60)

    assert await wait_told(throttle) is not None
