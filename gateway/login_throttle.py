"""Guessing passwords, made slow: each failure for an account from an address makes the next try wait longer.

The pair counts, not the account: whoever guesses from one address locks nobody out at another. Of IPv6 the
pair of account and site counts too: a site, which is a /48, has 65,536 networks to guess from.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.fair_semaphore import Applicant
from shared.domain.errors import TooOftenError

if TYPE_CHECKING:
    from gateway.counters import Count, Counters

# People mistype; machines that need more tries than this are guessing.
FREE_TRIES: Final = 5
FREE_TRIES_OF_A_SITE: Final = 20
LONGEST_WAIT_S: Final = 300

_FORGET_AFTER_S: Final = 3600
_KNOWN_FOR_S: Final = 30 * 24 * 3600
_SITE_PREFIX: Final = 48


class Guesses:
    """Counts tries before they are made, so that many at a time gain nothing.

    Args:
        counters: Theirs alone: others, which anybody can make as many of as they like, would push these out.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def check(self, name: str, address: str) -> Applicant:
        """Who tries to log in, for whom a place among those who do is to be found.

        An account where it has logged in before waits for nobody but itself: neither those who try the same
        account elsewhere nor those who try others at the same address.

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
        """Count a try to log in; to be followed by `succeeded` if it does.

        After `FREE_TRIES` failures a try is followed by a pause of 1 s, 2 s, 4 s ... `LONGEST_WAIT_S`.

        Raises:
            TooOftenError: The pause is not over; nothing was counted.
        """
        counted = _counted(name, address, is_known=await self._is_known(name, address))
        for each in counted:
            await self._check_pause(each)
        for each in counted:
            await self._count(each)

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the failures: it was the right owner, who is known here from now on."""
        for counted in _counted(name, address, is_known=False):
            await self._counters.clear(counted.tries, counted.pause)
        await self._counters.count(_known(name, address), _KNOWN_FOR_S)

    async def _is_known(self, name: str, address: str) -> bool:
        known = await self._counters.get(_known(name, address))
        return known.value > 0

    async def _count(self, counted: _Counted) -> None:
        tries = (await self._counters.count(counted.tries, _FORGET_AFTER_S)).value
        if tries < counted.free_tries:
            return
        wait_s = min(2 ** min(tries - counted.free_tries, 16), LONGEST_WAIT_S)
        pause = await self._counters.count(counted.pause, wait_s)
        if pause.value > 1:  # of several at a time, the first begins the pause and the others are in it
            raise _too_often(pause)

    async def _check_pause(self, counted: _Counted) -> None:
        pause = await self._counters.get(counted.pause)
        if pause.value:
            raise _too_often(pause)


class _Counted(NamedTuple):
    """What tries are counted for, and the names of its counters."""

    tries: str
    pause: str
    free_tries: int


def _counted(name: str, address: str, *, is_known: bool) -> list[_Counted]:
    """The pairs that a try counts for; an address where the account is known answers for itself alone."""
    networks = [address] if is_known else _networks(address)
    free_tries = (FREE_TRIES, FREE_TRIES_OF_A_SITE)
    pairs = [
        (_digest(f"{network} {name}"), free) for network, free in zip(networks, free_tries, strict=False)
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
    """What an address is part of, the narrowest first: itself and, of IPv6, its site."""
    if ":" not in address:
        return [address]
    try:
        network = ipaddress.IPv6Network(address)
    except ValueError:  # what a proxy of ours wrote and is no address
        return [address]
    return [address, str(network.supernet(new_prefix=min(_SITE_PREFIX, network.prefixlen)))]


def _digest(text: str) -> str:
    """A name of bounded length, whatever somebody sends."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
