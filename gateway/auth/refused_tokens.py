"""The log of refused tokens, for operators: the client learns only that its token is not valid."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from gateway.auth.token_bucket import TokenBucket
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.access_tokens import InvalidTokenError

# Per reason and claim: a flood of one does not hide the others.
_BURST: Final = 10
_EVERY_S: Final = 1.0

_log = Logger(__name__)


class RefusedTokenLog:
    """Logs each refused token; in a flood one per second and kind, with the number of suppressed records.

    A record has the reason and the name of the claim or header field. The only value of the token in it is
    the name of another issuer, shortened and escaped, beside the expected one.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], _RefusalKind] = {}

    def add(self, refused: InvalidTokenError) -> None:
        """Log a refusal, or count it for the next record of its kind."""
        kind = self._kinds.setdefault((refused.reason, refused.claim), _RefusalKind(self._clock))
        if not kind.bucket.take():
            kind.suppressed += 1
            return
        fields: dict[str, Any] = {
            "claim": refused.claim,
            "expected": refused.expected,
            "found": refused.found,
            "more": kind.suppressed,
        }
        kind.suppressed = 0
        _log.info(
            "a token was refused",
            reason=refused.reason,
            **{name: value for name, value in fields.items() if value},
        )


class _RefusalKind:
    """Refusals of one reason and claim, and how many of them were not logged."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.bucket = TokenBucket(_BURST, every_s=_EVERY_S, clock=clock)
        self.suppressed = 0
