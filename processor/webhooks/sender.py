"""Send an event to a receiver by HTTP: one attempt, from which nothing can be learned but its status.

What comes back is from a stranger: redirects are not followed, cookies not kept, bodies not unpacked. Of an
answer only its status and ``Retry-After`` are used.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
from yarl import URL

from processor.webhooks.egress import RefusedAddressError, checked_connector
from processor.webhooks.name_lookup import LOOKUP_S, NameLookupError, open_name_lookup, system_lookup
from processor.webhooks.signature import signature_headers
from shared.domain.errors import ConfigurationError
from shared.ports.webhook_dispatch import LONGEST_WAIT_S, Attempt
from shared.release import RELEASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from processor.webhooks.message import WebhookMessage
    from processor.webhooks.name_lookup import SystemLookup
    from shared.egress import EgressRules

ATTEMPT_S: Final = 15.0  # Standard Webhooks recommends 15 to 30
CONNECT_S: Final = 5.0  # to one address after the other, with TLS
MAX_ANSWER_BYTES: Final = 64 * 1024

# Each takes a socket, and the least that Linux allows a process are 1,024. The dispatcher begins as many, so
# that receivers which hang keep no other waiting.
_MOST_ATTEMPTS: Final = 512
# What an answer says is read for the next request on its connection alone.
_READ_ANSWER_S: Final = 1.0
_HEADERS: Final = {
    "User-Agent": f"Isoline-Webhook/{RELEASE}",
    "Accept-Encoding": "identity",
}
_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)
_GONE: Final = 410
_CLOSED: Final = "the receiver closed the connection without an answer"
# The first that an error is an instance of.
_REASONS: Final = (
    (aiohttp.ClientConnectorSSLError, "the receiver does not speak TLS as it should"),
    (aiohttp.ClientConnectorError, "the receiver could not be reached"),
    (aiohttp.ServerTimeoutError, f"the receiver took no connection within {CONNECT_S:.0f} s"),
    (TimeoutError, f"the receiver did not answer within {ATTEMPT_S:.0f} s"),
    (aiohttp.ServerDisconnectedError, _CLOSED),
    (OSError, _CLOSED),
    (aiohttp.ClientError, "the receiver's answer is no HTTP, or its head is too long"),
)


class _Answer(NamedTuple):
    """The parts of an answer that are used.

    Attributes:
        retry_after: The header of that name; empty without.
    """

    status: int
    retry_after: str


class WebhookSender:
    """Sends events to receivers, `_MOST_ATTEMPTS` at a time.

    Args:
        rules: Which addresses may be called.
        sessions: Of each scheme the one whose connections the rules allow.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        rules: EgressRules,
        sessions: Mapping[str, aiohttp.ClientSession],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._sessions = sessions
        self._clock = clock
        self._free_attempts = asyncio.Semaphore(_MOST_ATTEMPTS)

    async def send(self, url: str, secrets: Sequence[str], message: WebhookMessage) -> Attempt:
        """Send an event once, within `ATTEMPT_S`; whether it was taken and, if not, why, is in the result.

        A webhook's secrets sign it, all that are valid. A cancellation alone is raised.
        """
        async with self._free_attempts:
            began_s = time.monotonic()
            try:
                answer = await self._attempt(url, secrets, message)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return Attempt(None, _reason(error), time.monotonic() - began_s)
            return _attempt_of(answer, time.monotonic() - began_s, now=self._clock())

    async def _attempt(self, url: str, secrets: Sequence[str], message: WebhookMessage) -> _Answer:
        """Send and get an answer.

        Raises:
            ValueError: The URL or a secret can't be used.
            OSError, ClientError: There was no answer.
        """
        checked = URL(self._rules.checked_url(url), encoded=True)
        headers = signature_headers(
            message.id, message.body, secrets=secrets, timestamp=math.floor(self._clock())
        )
        headers["Content-Type"] = message.content_type
        if message.traceparent is not None:
            headers["traceparent"] = message.traceparent
        async with asyncio.timeout(ATTEMPT_S):
            while True:
                connection = SimpleNamespace(is_reused=False)
                try:
                    return await self._post(checked, headers, message.body, connection)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    # A receiver may close an idle connection at the moment at which it is used again.
                    if not connection.is_reused:
                        raise

    async def _post(
        self, url: URL, headers: Mapping[str, str], body: bytes, connection: SimpleNamespace
    ) -> _Answer:
        async with self._sessions[url.scheme].post(
            url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=connection
        ) as response:
            if not await _is_read_to_its_end(response):
                response.close()
            return _Answer(response.status, response.headers.get("Retry-After", ""))


@asynccontextmanager
async def open_webhook_sender(
    rules: EgressRules,
    *,
    ca_file: str = "",
    look_up: SystemLookup = system_lookup,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[WebhookSender]:
    """Yield a sender; its connections are closed after it.

    Args:
        rules: Which addresses may be called.
        ca_file: Certificates of authorities that are trusted beside the system's; empty for none.
        look_up: The addresses of a name; blocks.
        clock: Seconds since 1970.

    Raises:
        ConfigurationError: The file of authorities can't be used.
    """
    tls = _tls(ca_file)
    async with (
        open_name_lookup(look_up) as names,
        _open_session(checked_connector(names, rules, scheme="https", tls=tls)) as by_https,
        _open_session(checked_connector(names, rules, scheme="http", tls=tls)) as by_http,
    ):
        yield WebhookSender(rules, {"https": by_https, "http": by_http}, clock=clock)


def _tls(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(f"ISOLINE_WEBHOOK_CA_FILE: can't use {ca_file}: {reason}") from None
    return context


def _open_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # no proxy, and no password for it
        timeout=aiohttp.ClientTimeout(total=None, connect=LOOKUP_S + CONNECT_S, sock_connect=CONNECT_S),
        trace_configs=[tracing],
    )


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: Any) -> None:
    context.trace_request_ctx.is_reused = True


async def _is_read_to_its_end(response: aiohttp.ClientResponse) -> bool:
    """Read an answer, at most `MAX_ANSWER_BYTES` of it; whether its connection can be used again."""
    num_bytes = 0
    try:
        async with asyncio.timeout(_READ_ANSWER_S):
            async for chunk in response.content.iter_any():
                num_bytes += len(chunk)
                if num_bytes > MAX_ANSWER_BYTES:
                    return False
    except (aiohttp.ClientError, OSError):  # its status has come, and counts
        return False
    return True


def _attempt_of(answer: _Answer, duration_s: float, *, now: float) -> Attempt:
    status = answer.status
    if status in _SUCCESS:
        return Attempt(status, None, duration_s)
    error = f"the receiver answered {status}"
    if status in _REDIRECT:
        error += ": redirects are not followed"
    retry_after_s = _retry_after_s(answer.retry_after, now=now)
    return Attempt(status, error, duration_s, retry_after_s=retry_after_s, is_gone=status == _GONE)


def _retry_after_s(text: str, *, now: float) -> float | None:
    """How many seconds a ``Retry-After`` (RFC 9110, 10.2.3) asks to wait; None if it is none."""
    if re.fullmatch(r"[0-9]{1,300}", text):
        return min(float(text), LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _reason(error: Exception) -> str:
    """Why there was no answer: for the webhook's owner, without an address or what the receiver wrote."""
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError(verify_message=problem)
        ):
            return f"the receiver's certificate is not accepted: {problem}"
        case aiohttp.ClientConnectorError(os_error=RefusedAddressError() | NameLookupError() as refused):
            return f"the receiver can't be called: {refused}"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "the receiver refused the connection"
    return next(
        (reason for kind, reason in _REASONS if isinstance(error, kind)),
        f"the receiver can't be called: {error}",
    )
