"""The login throttle: after failed logins, an account is refused from that address for a pause that grows.

Failures are counted per pair of account and address, not per account: guessing from one address locks no
owner out at another. IPv6 failures are also counted per account and site: a site is a /48 with 65,536
networks of the size that counts as an address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.limits.fair_semaphore import Applicant
from shared.domain.errors import TooOftenError

if TYPE_CHECKING:
    from gateway.limits.counters import Count, Counters

# People mistype; more attempts than this are guessing.
FREE_ATTEMPTS: Final = 5
FREE_ATTEMPTS_OF_A_SITE: Final = 20
LONGEST_PAUSE_S: Final = 300

_COUNTED_FOR_S: Final = 3600
_KNOWN_FOR_S: Final = 30 * 24 * 3600
_SITE_PREFIX: Final = 48


class LoginThrottle:
    """Counts login attempts before the password is verified, so that concurrent attempts gain nothing.

    Args:
        counters: Used for nothing else: counters per request would evict these.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def check(self, name: str, address: str) -> Applicant:
        """The applicant as which an attempt queues for its password to be hashed; counts nothing.

        An account at an address where it has logged in before queues by itself: neither behind attempts for
        the same account from elsewhere, nor behind attempts for other accounts from the same address.

        Raises:
            TooOftenError: The pause after earlier failures is not over.
        """
        is_known = await self._is_known(name, address)
        for each in _counted(name, address, is_known=is_known):
            await self._check_pause(each)
        if is_known:
            return Applicant(frozenset({_known(name, address)}), is_known=True)
        return Applicant(frozenset({f"account/{_digest(name)}", *_networks(address)}))

    async def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed; call `succeeded` if it succeeds.

        From `FREE_ATTEMPTS` failures on, each is followed by a pause: 1 s, 2 s, 4 s ... `LONGEST_PAUSE_S`.

        Raises:
            TooOftenError: The pause is not over; nothing was counted.
        """
        counted = _counted(name, address, is_known=await self._is_known(name, address))
        for each in counted:
            await self._check_pause(each)
        for each in counted:
            await self._count(each)

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the failures; the account is known at this address for 30 days."""
        for counted in _counted(name, address, is_known=False):
            await self._counters.clear(counted.failures, counted.pause)
        await self._counters.count(_known(name, address), _KNOWN_FOR_S)

    async def _is_known(self, name: str, address: str) -> bool:
        known = await self._counters.get(_known(name, address))
        return known.value > 0

    async def _count(self, counted: _Counted) -> None:
        failures = (await self._counters.count(counted.failures, _COUNTED_FOR_S)).value
        if failures < counted.free_attempts:
            return
        pause_s = min(2 ** min(failures - counted.free_attempts, 16), LONGEST_PAUSE_S)
        pause = await self._counters.count(counted.pause, pause_s)
        if pause.value > 1:  # of concurrent attempts, the first starts the pause and the others are refused
            raise _too_often(pause)

    async def _check_pause(self, counted: _Counted) -> None:
        pause = await self._counters.get(counted.pause)
        if pause.value:
            raise _too_often(pause)


class _Counted(NamedTuple):
    """The counters of an account at an address or site."""

    failures: str
    pause: str
    free_attempts: int


def _counted(name: str, address: str, *, is_known: bool) -> list[_Counted]:
    """The counters of an attempt; where the account is known, those of its site are left out."""
    networks = [address] if is_known else _networks(address)
    free_attempts = (FREE_ATTEMPTS, FREE_ATTEMPTS_OF_A_SITE)
    pairs = [
        (_digest(f"{network} {name}"), free) for network, free in zip(networks, free_attempts, strict=False)
    ]
    return [_Counted(f"guess/{pair}", f"pause/{pair}", free) for pair, free in pairs]


def _too_often(pause: Count) -> TooOftenError:
    return TooOftenError(
        "Too many logins with a wrong password from your address; wait before the next.",
        retry_after_s=max(pause.expires_at - time.monotonic(), 1.0),
    )


def _known(name: str, address: str) -> str:
    return f"known/{_digest(f'{address} {name}')}"


def _networks(address: str) -> list[str]:
    """The address and, of IPv6, its site."""
    if ":" not in address:
        return [address]
    try:
        network = ipaddress.IPv6Network(address)
    except ValueError:  # a trusted proxy wrote something that is no address
        return [address]
    return [address, str(network.supernet(new_prefix=min(_SITE_PREFIX, network.prefixlen)))]


def _digest(text: str) -> str:
    """A key of bounded length, for names of any length."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
