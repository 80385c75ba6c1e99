"""Why tokens are refused, for operators to see: the client is told only that its token is not valid."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from gateway.auth.token_bucket import TokenBucket
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.access_tokens import InvalidTokenError

# Of each reason and claim: a flood of one does not hide the others.
_BURST: Final = 10
_EVERY_S: Final = 1.0

_log = Logger(__name__)


class RefusalLog:
    """One record for each token that is refused; of a flood one a second and kind, which says how many more.

    A record has the reason and the name of the claim or header field. It has no value of the token but one:
    the name of another issuer, shortened and escaped, beside the one that is expected.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(self, refused: InvalidTokenError) -> None:
        """Record a refusal, or count it for the next record of its kind."""
        kind = self._kinds.setdefault((refused.reason, refused.claim), _Kind(self._clock))
        if not kind.bucket.take():
            kind.more += 1
            return
        said: dict[str, Any] = {
            "claim": refused.claim,
            "expected": refused.expected,
            "found": refused.found,
            "more": kind.more,
        }
        kind.more = 0
        _log.info(
            "a token was refused",
            reason=refused.reason,
            **{name: value for name, value in said.items() if value},
        )


class _Kind:
    """Refusals for one reason, and how many of them no record has told of."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.bucket = TokenBucket(_BURST, every_s=_EVERY_S, clock=clock)
        self.more = 0
