from __future__ import annotations

import asyncio

import pytest

from gateway.limits.counters import Count, CounterStore, MemoryCounters
from gateway.limits.login_throttle import (
    FREE_ATTEMPTS,
    FREE_ATTEMPTS_OF_A_SITE,
    MAX_BACKOFF_S,
    LoginThrottle,
)
from shared.domain.errors import RateLimitedError


class ManualBackoff(MemoryCounters):
    """Counters in which the test ends each backoff."""

    def end_backoff(self) -> None:
        for key in [key for key in self._counters if key.startswith("pause/")]:
            del self._counters[key]


async def retry_after_s(
    throttle: LoginThrottle, name: str = "ada", address: str = "192.0.2.1"
) -> float | None:
    try:
        await throttle.count_attempt(name, address)
    except RateLimitedError as error:
        return error.retry_after_s
    return None


async def test_a_few_attempts_are_free_before_the_first_backoff() -> None:
    throttle = LoginThrottle(MemoryCounters())

    waits = [await retry_after_s(throttle) for _ in range(FREE_ATTEMPTS + 1)]

    assert waits[:FREE_ATTEMPTS] == [None] * FREE_ATTEMPTS
    assert waits[FREE_ATTEMPTS] == 1


async def test_each_failure_doubles_the_backoff_up_to_its_maximum() -> None:
    counters = ManualBackoff()
    throttle = LoginThrottle(counters)
    waits = []
    for _ in range(60):
        assert await retry_after_s(throttle) is None
        waits.append(await retry_after_s(throttle) or 0)
        counters.end_backoff()
        if not waits[-1]:
            waits.pop()

    assert waits[:9] == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256], abs=1)
    assert waits[9:] == pytest.approx([MAX_BACKOFF_S] * len(waits[9:]), abs=1)


class SlowCounters(MemoryCounters):
    """Counters whose concurrent reads all finish before the first increment."""

    async def get(self, key: str) -> Count:
        found = await super().get(key)
        await asyncio.sleep(0)
        return found


@pytest.mark.parametrize("counters", [MemoryCounters, SlowCounters])
async def test_concurrent_attempts_get_no_more_tries_than_sequential_ones(
    counters: type[MemoryCounters],
) -> None:
    throttle = LoginThrottle(counters())

    waits = await asyncio.gather(*(retry_after_s(throttle) for _ in range(100)))

    assert waits.count(None) == FREE_ATTEMPTS


async def test_a_backoff_applies_to_one_account_at_one_address() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(20):
        await retry_after_s(throttle)

    assert await retry_after_s(throttle) is not None
    assert await retry_after_s(throttle, address="192.0.2.2") is None
    assert await retry_after_s(throttle, name="bob") is None


async def test_a_success_resets_the_failures() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(FREE_ATTEMPTS - 1):
        await retry_after_s(throttle)

    await throttle.record_success("ada", "192.0.2.1")

    assert [await retry_after_s(throttle) for _ in range(FREE_ATTEMPTS)] == [None] * FREE_ATTEMPTS


async def test_a_success_resets_the_failures_of_its_site_too() -> None:
    throttle = LoginThrottle(MemoryCounters())
    networks = [f"2001:db8:1:{number:x}::/64" for number in range(FREE_ATTEMPTS_OF_A_SITE + 1)]
    for network in networks[:-2]:
        assert await retry_after_s(throttle, "ada", network) is None

    await throttle.record_success("ada", networks[-3])

    assert [await retry_after_s(throttle, "ada", network) for network in networks[-2:]] == [None, None]


async def test_names_of_any_length_and_characters_are_counted() -> None:
    throttle = LoginThrottle(MemoryCounters())

    assert await retry_after_s(throttle, name="x" * 100_000) is None
    assert await retry_after_s(throttle, name="\0\u2028 é") is None


async def test_a_success_makes_an_address_known_and_gives_it_a_queue_key_of_its_own() -> None:
    throttle = LoginThrottle(MemoryCounters())
    before = await throttle.check("ada", "192.0.2.1")
    await throttle.count_attempt("ada", "192.0.2.1")
    after_a_try = await throttle.check("ada", "192.0.2.1")

    await throttle.record_success("ada", "192.0.2.1")

    known = await throttle.check("ada", "192.0.2.1")
    assert before == after_a_try
    assert (before.has_priority, known.has_priority) == (False, True)
    others = [await throttle.check("ada", "192.0.2.2"), await throttle.check("bob", "192.0.2.1")]
    assert not any(other.has_priority or other.keys & known.keys for other in others)


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
async def test_attempts_share_the_keys_of_address_site_and_account(
    one: tuple[str, str], other: tuple[str, str], *, have_in_common: bool
) -> None:
    throttle = LoginThrottle(MemoryCounters())

    shared = (await throttle.check(*one)).keys & (await throttle.check(*other)).keys

    assert bool(shared) == have_in_common


async def test_an_ipv6_site_has_few_attempts_for_an_account_in_all_its_networks() -> None:
    throttle = LoginThrottle(MemoryCounters())

    waits = [await retry_after_s(throttle, address=f"2001:db8:1:{number:x}::/64") for number in range(100)]

    assert waits.count(None) == FREE_ATTEMPTS_OF_A_SITE
    assert await retry_after_s(throttle, address="2001:db8:2:1::/64") is None
    assert await retry_after_s(throttle, name="bob", address="2001:db8:1:1::/64") is None


async def test_guessing_elsewhere_in_a_site_does_not_delay_a_known_address() -> None:
    throttle = LoginThrottle(MemoryCounters())
    await throttle.record_success("ada", "2001:db8:1:ada::/64")
    for number in range(100):
        await retry_after_s(throttle, address=f"2001:db8:1:{number:x}::/64")

    assert (await throttle.check("ada", "2001:db8:1:ada::/64")).has_priority
    assert await retry_after_s(throttle, address="2001:db8:1:ada::/64") is None


async def test_a_backoff_refuses_before_queueing() -> None:
    throttle = LoginThrottle(MemoryCounters())
    for _ in range(FREE_ATTEMPTS + 1):
        await retry_after_s(throttle)

    with pytest.raises(RateLimitedError):
        await throttle.check("ada", "192.0.2.1")


async def test_other_counters_never_evict_failures() -> None:
    store = CounterStore(max_counters=10)
    throttle = LoginThrottle(store.mirrored_counters())
    others = store.counters()
    for _ in range(FREE_ATTEMPTS + 1):
        await retry_after_s(throttle)

    for number in range(100):
        await others.count(f"rate/address/{number}", 60)

    assert await retry_after_s(throttle) is not None
