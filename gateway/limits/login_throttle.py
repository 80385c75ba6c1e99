"""The login throttle: after failed logins, an account is refused from that address for a growing backoff.

Failures are counted per pair of account and address, not per account: guessing at one address does not lock
the account's owner out at another. IPv6 failures are also counted per account and site: a site is a /48, with
65,536 networks of the size that counts as an address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.limits.fair_semaphore import QueueEntry
from shared.domain.errors import RateLimitedError

if TYPE_CHECKING:
    from gateway.limits.counters import Count, Counters

# People mistype; more failures than this are guessing.
FREE_ATTEMPTS: Final = 5
FREE_ATTEMPTS_OF_A_SITE: Final = 20
MAX_BACKOFF_S: Final = 300

_FAILURES_EXPIRE_S: Final = 3600
_KNOWN_EXPIRES_S: Final = 30 * 24 * 3600
_SITE_PREFIX: Final = 48


class LoginThrottle:
    """Counts login attempts before the password is verified, so that concurrent attempts gain nothing.

    Args:
        counters: Used for nothing else: counters per request would evict these.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def check(self, name: str, address: str) -> QueueEntry:
        """The queue entry of an attempt that waits for its password to be hashed; counts nothing.

        An account at an address where it has logged in before has a key of its own: it waits neither for
        attempts for the same account from elsewhere, nor for other accounts from the same address.

        Raises:
            RateLimitedError: The backoff after earlier failures is not over.
        """
        is_known = await self._is_known(name, address)
        for each in _counters_of(name, address, is_known=is_known):
            await self._check_backoff(each)
        if is_known:
            return QueueEntry(frozenset({_known_key(name, address)}), has_priority=True)
        return QueueEntry(frozenset({f"account/{_digest(name)}", *_networks(address)}))

    async def count_attempt(self, name: str, address: str) -> None:
        """Count an attempt as failed; call `record_success` if it succeeds.

        From `FREE_ATTEMPTS` failures on, each is followed by a backoff: 1 s, 2 s, 4 s ... `MAX_BACKOFF_S`.

        Raises:
            RateLimitedError: The backoff is not over; nothing was counted.
        """
        counters = _counters_of(name, address, is_known=await self._is_known(name, address))
        for each in counters:
            await self._check_backoff(each)
        for each in counters:
            await self._count_failure(each)

    async def record_success(self, name: str, address: str) -> None:
        """Reset the failures; the account is known at this address for 30 days."""
        for each in _counters_of(name, address, is_known=False):
            await self._counters.clear(each.failures, each.backoff)
        await self._counters.count(_known_key(name, address), _KNOWN_EXPIRES_S)

    async def _is_known(self, name: str, address: str) -> bool:
        known = await self._counters.get(_known_key(name, address))
        return known.value > 0

    async def _count_failure(self, counters: _AttemptCounters) -> None:
        failures = (await self._counters.count(counters.failures, _FAILURES_EXPIRE_S)).value
        if failures < counters.free_attempts:
            return
        backoff_s = min(2 ** min(failures - counters.free_attempts, 16), MAX_BACKOFF_S)
        backoff = await self._counters.count(counters.backoff, backoff_s)
        if backoff.value > 1:  # of concurrent attempts, the first starts the backoff, the others are refused
            raise _too_often(backoff)

    async def _check_backoff(self, counters: _AttemptCounters) -> None:
        backoff = await self._counters.get(counters.backoff)
        if backoff.value:
            raise _too_often(backoff)


class _AttemptCounters(NamedTuple):
    """The keys of an account's counters at an address or site."""

    failures: str
    backoff: str
    free_attempts: int


def _counters_of(name: str, address: str, *, is_known: bool) -> list[_AttemptCounters]:
    """The counters of an attempt; without those of the site where the account is known."""
    networks = [address] if is_known else _networks(address)
    free_attempts = (FREE_ATTEMPTS, FREE_ATTEMPTS_OF_A_SITE)
    pairs = [
        (_digest(f"{network} {name}"), free) for network, free in zip(networks, free_attempts, strict=False)
    ]
    return [_AttemptCounters(f"guess/{pair}", f"pause/{pair}", free) for pair, free in pairs]


def _too_often(backoff: Count) -> RateLimitedError:
    return RateLimitedError(
        "Too many logins with a wrong password from your address; wait before the next.",
        retry_after_s=max(backoff.expires_at - time.monotonic(), 1.0),
    )


def _known_key(name: str, address: str) -> str:
    return f"known/{_digest(f'{address} {name}')}"


def _networks(address: str) -> list[str]:
    """The address and, for IPv6, its site."""
    if ":" not in address:
        return [address]
    try:
        network = ipaddress.IPv6Network(address)
    except ValueError:  # a trusted proxy sent something that is no address
        return [address]
    return [address, str(network.supernet(new_prefix=min(_SITE_PREFIX, network.prefixlen)))]


def _digest(text: str) -> str:
    """A key of bounded length, for names of any length."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
