"""A client of Isoline's gateway for Python programs: asynchronous, typed, with retries.

```python
async with open_client("https://isoline.example.org", user="ada", password=...) as isoline:
    result = await isoline.submit_and_wait({"id": "10", "date": "2023-07-30", "leads": [...]})
    print(result.leads[0].name, result.leads[0].findings)
```

Signals may be lists, or arrays of 16 or 32 bits (NumPy's, ``array.array``, any with the buffer protocol),
which are sent in binary form: faster, and as long as a day of three leads.

It needs aiohttp and nothing else of this project.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import ssl
import struct
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Status: TypeAlias = Literal["queued", "completed", "failed"]


class _SampleType(NamedTuple):
    """A width of samples: its name in a header, and its code of `array`."""

    name: str
    code: str


# The gateway holds a long poll for at most 30 s; we poll again well before proxies time out.
_LONG_POLL_S: Final = 20.0
_RESPONSE_WITHIN_S: Final = 60.0
_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 10.0
# A token that is about to expire could expire on the way to the gateway.
_RENEW_BEFORE_S: Final = 30.0
_PAGE: Final = 100

# The slowest upload that the gateway accepts.
_SLOWEST_BYTES_PER_S: Final = 32 * 1024

# Required keys of a response, so that another server's is not taken for the gateway's.
_NOTHING: Final[frozenset[str]] = frozenset()
_RESULT: Final = frozenset({"id", "status"})
# Optional keys of a response, with the same names in `Result`.
_OPTIONAL_FIELDS: Final = ("date", "sampling_rate_hz", "unit", "submitted_at", "completed_at", "generation")
_PAGE_OF_ECGS: Final = frozenset({"ecgs"})
_WEBHOOK: Final = frozenset({"id", "url", "state"})
_WEBHOOKS: Final = frozenset({"webhooks"})
_SECRET: Final = frozenset({"secret"})
_DELIVERY: Final = frozenset({"id", "event_id", "state"})
_PAGE_OF_DELIVERIES: Final = frozenset({"deliveries"})
_PAGE_OF_EVENTS: Final = frozenset({"events", "cursor", "has_more"})
_TOKENS: Final = frozenset({"access_token", "expires_in"})

_BINARY: Final = "application/vnd.isoline.ecg"
_PREAMBLE: Final = struct.Struct("<7sBI")
_VERSION: Final = 1
# 64 or 128 KiB at a time, for a signal of any length.
_PIECE_SAMPLES: Final = 32 * 1024
_SAMPLE_TYPES: Final = {2: _SampleType("int16", "h"), 4: _SampleType("int32", "i")}

# OpenSSL's words for a response that is no TLS.
_NO_TLS: Final = frozenset({"HTTP_REQUEST", "UNKNOWN_PROTOCOL", "WRONG_VERSION_NUMBER"})
_REDIRECTS: Final = 300  # and above
_ERRORS: Final = 400  # and above
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
# And not `.` or `..`, which clients remove from a path.
_ECG_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_WEBHOOK_ID: Final = re.compile(r"[0-9A-Fa-f-]{32,36}")
_DELIVERY_ID: Final = re.compile(r"[0-9]{1,18}")


class IsolineError(Exception):
    """The root of this client's errors."""


class UrlError(IsolineError):
    """The URL of the gateway is invalid or holds a password; the message does not repeat it."""


class RefusedError(IsolineError):
    """The gateway refused the request: sending it again would change nothing.

    Attributes:
        status: Of HTTP.
        detail: What was found and what was expected.
        errors: All errors in the body: dictionaries of ``pointer`` and ``detail``.
    """

    def __init__(self, status: int, detail: str, errors: tuple[Mapping[str, str], ...] = ()) -> None:
        lines = "".join(f"\n  {error.get('pointer') or '/'}: {error.get('detail', '')}" for error in errors)
        super().__init__(f"{status}: {detail}{lines}")
        self.status = status
        self.detail = detail
        self.errors = errors


class UnavailableError(IsolineError):
    """The gateway was unavailable, overloaded or not done within ``retry_for_s``; trying later is safe.

    A certificate that is not trusted and a port without TLS are reported at once: no retry mends them.
    """


@dataclass(frozen=True, slots=True)
class LeadFindings:
    """What was found in one lead.

    Attributes:
        findings: By the names of insights, which the gateway's contract describes.
    """

    name: str
    findings: Mapping[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the findings."""
        return tuple(self.findings.get("warnings", ()))

    @property
    def absent(self) -> Mapping[str, str]:
        """The reasons why insights found nothing, by name."""
        reasons: Mapping[str, str] = self.findings.get("absent", {})
        return reasons


@dataclass(frozen=True, slots=True)
class Result:
    """The status of an ECG, and the findings.

    Attributes:
        leads: In the order sent; empty unless completed.
        ecg: What was found in the ECG as a whole, by the names of insights.
        error: Why it was given up; None unless failed.
        document: The whole response, also what later versions of the gateway add.
        date: When it was recorded, as sent; None in the response to a submission, like what follows.
        sampling_rate_hz: None also where none was sent, and so with the unit.
        submitted_at: ISO 8601.
        completed_at: When it was completed or failed, ISO 8601; None while it is queued.
        generation: Which analysis this is.
        is_analysed_again: Whether the next one is queued, and this the last that was finished.
    """

    id: str
    status: Status
    leads: tuple[LeadFindings, ...] = ()
    error: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    ecg: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None
    sampling_rate_hz: float | None = None
    unit: str | None = None
    submitted_at: str | None = None
    completed_at: str | None = None
    generation: int | None = None
    is_analysed_again: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """An ECG in the list; its attributes are those of `Result`."""

    id: str
    status: Status
    submitted_at: str
    is_analysed_again: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventsPage:
    """Some events, oldest first.

    Attributes:
        events: CloudEvents documents. Drop one whose ``id`` you know.
        cursor: Keep it: with it as ``after`` the next page is what followed, now or later.
        has_more: Whether it is worth asking again at once.
    """

    events: tuple[Mapping[str, Any], ...]
    cursor: str
    has_more: bool


class Client:
    """Talks to one gateway as one user; opened by `open_client`.

    Every method logs in when necessary, and retries after a temporary failure (429, 502, 503, 504, a lost
    connection, a timeout) after ``Retry-After`` or an exponential backoff.

    No redirect is followed: requests go to the given gateway only.

    Every method raises `RefusedError` when the gateway refuses and `UnavailableError` when retries end.

    Attributes:
        webhooks: Where events are sent over HTTP.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        user: str | None,
        password: str | None,
        token: str | None,
        refresh_token: str | None,
        retry_for_s: float,
    ) -> None:
        self._session = session
        self._url = url
        self._credentials = {"user": user, "password": password} if user is not None else None
        self._token = token
        self._refresh_token = refresh_token
        self._renew_at = float("inf")
        self._renewing = asyncio.Lock()
        self._retry_for_s = retry_for_s
        self.webhooks = Webhooks(self._request)

    async def submit(self, ecg: Mapping[str, Any] | bytes) -> Result:
        """Submit an ECG: a mapping, or JSON as bytes. Submitting the same again is safe and changes nothing.

        Equal content is the same ECG, whether its signals are lists or arrays. Arrays must not change until
        the method returns.

        Returns:
            Its id and status. It is stored, and will be analysed even if this client ends.

        Raises:
            TypeError: A signal is an array of something else than integers of 16 or 32 bits.
        """
        return _result(await self._request("POST", "/ecg/process", _RESULT, **_body(ecg)))

    async def get(self, ecg_id: str) -> Result:
        """The status of an ECG, and the findings."""
        return _result(await self._request("GET", _path(ecg_id), _RESULT))

    async def wait(self, ecg_id: str, *, timeout_s: float = 60.0) -> Result:
        """The ECG's result as soon as it is completed or failed, and is not being analysed again.

        If it is still being analysed again after ``timeout_s``: its last finished result.

        Raises:
            UnavailableError: It is still queued after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0.0)
            params = {"wait": f"{min(left_s, _LONG_POLL_S):.3f}"}
            result = _result(await self._request("GET", _path(ecg_id), _RESULT, params=params))
            is_late = time.monotonic() >= deadline
            if result.status != "queued" and (is_late or not result.is_analysed_again):
                return result
            if is_late:
                raise UnavailableError(f"ECG {ecg_id} is still queued after {timeout_s:g} s")

    async def submit_and_wait(self, ecg: Mapping[str, Any] | bytes, *, timeout_s: float = 60.0) -> Result:
        """Submit an ECG and return its result as soon as it is completed or failed."""
        return await self.wait((await self.submit(ecg)).id, timeout_s=timeout_s)

    async def list(self, *, status: Status | None = None) -> AsyncIterator[Summary]:
        """Every ECG of the user, newest first; pages are fetched as they are needed.

        With a ``status``: ECGs that are analysed again count as queued.
        """
        query = {"limit": str(_PAGE)} | ({"status": status} if status else {})
        while True:
            page = await self._request("GET", "/ecg", _PAGE_OF_ECGS, params=query)
            for ecg in page["ecgs"]:
                yield Summary(ecg["id"], ecg["status"], ecg["submitted_at"], "reanalysis" in ecg, ecg)
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    async def events(
        self,
        *,
        after: str | None = None,
        since: str | None = None,
        types: Sequence[str] = (),
        limit: int = 100,
    ) -> EventsPage:
        """What happened to the user's ECGs, or with the role ``subscriber`` to all, at most ``limit`` events.

        Args:
            after: The cursor of the page before; ``latest`` for what happens from now on; None for the
                oldest that is kept.
            since: A time in ISO 8601; nothing that was logged before.
            types: Of ``ecg.processed``, ``ecg.failed``, ``ecg.deleted``; all if empty.
            limit: 1 to 1,000.

        Raises:
            RefusedError: With ``status`` 410, what followed the cursor is kept no longer: begin anew.
        """
        asked = {"after": after, "since": since, "types": ",".join(types) or None, "limit": str(limit)}
        params = {name: value for name, value in asked.items() if value is not None}
        page = await self._request("GET", "/events", _PAGE_OF_EVENTS, params=params)
        return EventsPage(tuple(page["events"]), page["cursor"], page["has_more"])

    async def delete(self, ecg_id: str) -> bool:
        """Erase an ECG with its findings; its id is free again.

        Returns:
            Whether it existed. False may also mean that it was erased and the response was lost.
        """
        try:
            await self._request("DELETE", _path(ecg_id), _NOTHING)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def _request(self, method: str, path: str, fields: frozenset[str], **options: Any) -> Any:
        """The JSON of the response to a request with our token; a refused token is renewed once."""
        token = await self._valid_token()
        status, document = await self._send_with_retries(method, path, token=token, **options)
        if status == _UNAUTHORIZED and self._can_renew:
            token = await self._valid_token(refused=token)
            status, document = await self._send_with_retries(method, path, token=token, **options)
        return _accepted(status, document, fields)

    @property
    def _can_renew(self) -> bool:
        return self._credentials is not None or self._refresh_token is not None

    async def _valid_token(self, *, refused: str | None = None) -> str:
        """A token with 30 s or more left; concurrent callers renew it once."""
        async with self._renewing:
            is_old = self._token in {None, refused} or time.monotonic() >= self._renew_at
            if is_old and self._can_renew:
                await self._renew()
        if self._token is None:
            raise RefusedError(_UNAUTHORIZED, "There is neither a token nor a user and a password.")
        return self._token

    async def _renew(self) -> None:
        """Use the refresh token if there is one; else, or if it is refused, log in again."""
        status: int = _UNAUTHORIZED
        document: Any = None
        if self._refresh_token is not None:
            spent, self._refresh_token = self._refresh_token, None
            status, document = await self._send_with_retries(
                "POST", "/token/refresh", json={"refresh_token": spent}
            )
        if status >= _ERRORS and self._credentials is not None:
            status, document = await self._send_with_retries("POST", "/token", json=self._credentials)
        tokens = _accepted(status, document, _TOKENS)
        self._token, self._refresh_token = tokens["access_token"], tokens.get("refresh_token")
        self._renew_at = time.monotonic() + tokens["expires_in"] - _RENEW_BEFORE_S

    async def _send_with_retries(
        self, method: str, path: str, *, token: str | None = None, once: bool = False, **options: Any
    ) -> tuple[int, Any]:
        """Send with retries after temporary failures; the status and the JSON of the response.

        With ``once`` without any, for what would be done twice.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        deadline, attempt = time.monotonic() + (0 if once else self._retry_for_s), 1
        while True:
            try:
                async with self._session.request(
                    method, f"{self._url}{path}", headers=headers, allow_redirects=False, **options
                ) as response:
                    if response.status not in _RETRIED_STATUSES:
                        _check_no_redirect(response)
                        return response.status, await _json(response)
                    reason, asked_s = f"{response.status} {response.reason}", _retry_after_s(response)
            except aiohttp.ClientConnectorCertificateError as error:
                raise UnavailableError(f"{method} {path}: {error.certificate_error}") from error
            except (aiohttp.ClientError, TimeoutError) as error:
                if _speaks_no_tls(error):
                    raise UnavailableError(f"{method} {path}: {error}") from error
                reason, asked_s = str(error) or type(error).__name__, None
            wait_s = _backoff_s(attempt) if asked_s is None else asked_s
            if time.monotonic() + wait_s > deadline:
                raise UnavailableError(f"{method} {path}: {reason}, {attempt} attempts")
            await asyncio.sleep(wait_s)
            attempt += 1


class Webhooks:
    """The webhooks of an account; `Client.webhooks`.

    Documents are as `docs/webhooks.md` describes them. Every method raises what those of `Client` do; with
    ``status`` 404 there is no such webhook.
    """

    def __init__(self, request: Callable[..., Awaitable[Any]]) -> None:
        self._request = request

    async def add(
        self,
        url: str,
        *,
        types: Sequence[str] = (),
        description: str = "",
        all_owners: bool = False,
        after: str | None = None,
        since: str | None = None,
    ) -> Mapping[str, Any]:
        """Create a webhook, and return it with its ``secret``, which is shown only now.

        Args:
            url: To which events are sent.
            types: Of ``ecg.processed``, ``ecg.failed``, ``ecg.deleted``; all if empty.
            description: What it is for.
            all_owners: Send the events of all owners; needs the role ``subscriber``.
            after: A cursor of `Client.events`: what followed is sent; None for what happens from now on.
            since: In place of it a time in ISO 8601: what was logged from then on is sent.

        Raises:
            UnavailableError: It may have been created, with a secret that nobody knows: look at the list.
        """
        body = {"url": url, "description": description, "all_owners": all_owners}
        body |= _given(types=list(types) or None, after=after, since=since)
        return await self._document("POST", "/webhook", _WEBHOOK | _SECRET, json=body, once=True)

    async def list(self) -> tuple[Mapping[str, Any], ...]:
        """All webhooks of the account, the newest first."""
        return tuple((await self._document("GET", "/webhook", _WEBHOOKS))["webhooks"])

    async def get(self, webhook_id: str) -> Mapping[str, Any]:
        """How a webhook does."""
        return await self._document("GET", _webhook_path(webhook_id), _WEBHOOK)

    async def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Mapping[str, Any]:
        """Change a webhook, and return how it is then; None leaves a field as it is.

        Args:
            webhook_id: Which.
            url: To which events are sent.
            types: Of events that it sends.
            description: What it is for.
            enabled: False pauses it; True has it send at once, whatever it was.
        """
        body = _given(url=url, types=types and list(types), description=description, enabled=enabled)
        return await self._document("PATCH", _webhook_path(webhook_id), _WEBHOOK, json=body)

    async def remove(self, webhook_id: str) -> bool:
        """Remove a webhook with the list of what it sent.

        Returns:
            Whether it existed. False may also mean that it was removed and the response was lost.
        """
        try:
            await self._request("DELETE", _webhook_path(webhook_id), _NOTHING)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def rotate(self, webhook_id: str) -> Mapping[str, Any]:
        """Give a webhook another ``secret``, which is shown only now; for a day it signs with both.

        Raises:
            UnavailableError: It may have another secret, which nobody knows: rotate it again.
        """
        return await self._document("POST", _webhook_path(webhook_id, "secret"), _SECRET, once=True)

    async def ping(self, webhook_id: str) -> Mapping[str, Any]:
        """Have a test event sent, and return its delivery; what becomes of it is in `deliveries`."""
        return await self._document("POST", _webhook_path(webhook_id, "ping"), _DELIVERY)

    async def deliveries(
        self, webhook_id: str, *, state: str | None = None
    ) -> AsyncIterator[Mapping[str, Any]]:
        """What a webhook sent, the newest first; pages are fetched as they are needed.

        With a ``state`` (``waiting``, ``delivered``, ``failed``, ``dropped``): only what is in it.
        """
        query = _given(limit=str(_PAGE), state=state)
        path = _webhook_path(webhook_id, "deliveries")
        while True:
            page = await self._document("GET", path, _PAGE_OF_DELIVERIES, params=query)
            for delivery in page["deliveries"]:
                yield delivery
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    async def resend(self, webhook_id: str, delivery_id: str) -> Mapping[str, Any]:
        """Have an event sent again, and return its delivery."""
        if not _DELIVERY_ID.fullmatch(delivery_id):
            raise RefusedError(_NOT_FOUND, "No delivery can have this id.")
        path = _webhook_path(webhook_id, "deliveries", delivery_id, "resend")
        return await self._document("POST", path, _DELIVERY)

    async def _document(
        self, method: str, path: str, fields: frozenset[str], **options: Any
    ) -> Mapping[str, Any]:
        document: Mapping[str, Any] = await self._request(method, path, fields, **options)
        return document


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _webhook_path(webhook_id: str, *parts: str) -> str:
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        raise RefusedError(_NOT_FOUND, "No webhook can have this id.")
    return "/".join(["/webhook", webhook_id, *parts])


@asynccontextmanager
async def open_client(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    refresh_token: str | None = None,
    retry_for_s: float = 60.0,
) -> AsyncIterator[Client]:
    """Yield a client of the gateway at an address.

    Args:
        url: E.g. ``https://isoline.example.org`` or, with a path prefix, ``https://example.org/isoline``.
        user: To log in with.
        password: The user's.
        token: An access token, instead of user and password or beside them.
        refresh_token: Renews the access token.
        retry_for_s: For how long a request is retried.

    Raises:
        UrlError: The URL is invalid.
    """
    usable = _usable(url)
    timeout = aiohttp.ClientTimeout(total=_RESPONSE_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(
            session,
            usable,
            user=user,
            password=password,
            token=token,
            refresh_token=refresh_token,
            retry_for_s=retry_for_s,
        )


def _usable(url: str) -> str:
    """The URL without a trailing slash, so that a path can be appended.

    Raises:
        UrlError: It is invalid, or holds a password, a query or a fragment.
    """
    try:
        parsed = URL(url.strip())
        host = (parsed.raw_host or "").encode("idna")
        is_address = parsed.scheme in {"http", "https"} and bool(host and parsed.port) and b" " not in host
    except ValueError:  # an invalid port or host
        is_address = False
    if not is_address:
        raise UrlError(
            "The URL of the gateway has no http:// or https://, no host, or a port that is none: "
            "expected one like https://isoline.example.org or http://127.0.0.1:8080/isoline."
        )
    if parsed.user is not None or parsed.password is not None:
        raise UrlError("The URL of the gateway holds a user or a password: give them beside it.")
    if parsed.query_string or parsed.fragment:
        raise UrlError("The URL of the gateway ends with its path: leave out what follows ? or #.")
    return str(parsed).rstrip("/?#")


def _path(ecg_id: str) -> str:
    # Characters that an id can't have would name another path: a slash, `%2e%2e`, a question mark.
    if not _ECG_ID.fullmatch(ecg_id) or ecg_id in {".", ".."}:
        raise RefusedError(_NOT_FOUND, "No ECG can have this id.")
    return f"/ecg/{ecg_id}"


def _body(ecg: Mapping[str, Any] | bytes) -> dict[str, Any]:
    if isinstance(ecg, bytes):
        return {"data": aiohttp.BytesPayload(ecg, content_type="application/json")}
    leads = ecg.get("leads")
    if not isinstance(leads, list | tuple) or not any(_has_array(lead) for lead in leads):
        return {"json": ecg}
    binary = _Binary(ecg)
    timeout = aiohttp.ClientTimeout(total=_RESPONSE_WITHIN_S + binary.size / _SLOWEST_BYTES_PER_S)
    return {"data": binary, "timeout": timeout}


class _Binary(aiohttp.Payload):
    """An ECG in binary form, encoded again for each attempt; its arrays are not copied as a whole."""

    def __init__(self, ecg: Mapping[str, Any]) -> None:
        super().__init__(ecg, content_type=_BINARY)
        self._signals = [_array(lead) for lead in ecg["leads"]]
        described = [
            _lead_json(lead, signal) for lead, signal in zip(ecg["leads"], self._signals, strict=True)
        ]
        header = json.dumps({**ecg, "leads": described}).encode()
        self._head = _PREAMBLE.pack(b"ISOLINE", _VERSION, len(header)) + header

    @property
    def size(self) -> int:
        """Bytes in total."""
        return len(self._head) + sum(signal.nbytes for signal in self._signals)

    def decode(self, *_: object, **__: object) -> str:
        """Not text."""
        raise TypeError("an ECG in binary form is not text")

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Send it, at the speed of the connection."""
        await writer.write(self._head)
        for signal in self._signals:
            for start in range(0, len(signal), _PIECE_SAMPLES):
                await writer.write(_little_endian(signal[start : start + _PIECE_SAMPLES]))


def _has_array(lead: Any) -> bool:
    signal = lead.get("signal") if isinstance(lead, Mapping) else None
    if signal is None or isinstance(signal, list | tuple):
        return False
    try:
        memoryview(signal).release()
    except TypeError:
        return False
    return True


def _array(lead: Mapping[str, Any]) -> memoryview:
    """A lead's signal as an array; a list is converted."""
    if hasattr(lead["signal"], "mask"):
        raise TypeError(
            f"the signal of lead {lead.get('name')!r} is a masked array, whose masked samples would count as "
            "measured: send signal.filled(VALUE) with that value as missing_value"
        )
    signal = memoryview(lead["signal"] if _has_array(lead) else array("i", lead["signal"]))
    if (
        signal.ndim != 1
        or signal.format.lstrip("@=<>!") not in {"h", "i", "l"}
        or signal.itemsize not in _SAMPLE_TYPES
    ):
        raise TypeError(
            f"the signal of lead {lead.get('name')!r}: expected integers of 16 or 32 bits in one dimension, "
            f"found {signal.format!r} of {8 * signal.itemsize} bits in {signal.ndim}"
        )
    return signal


def _lead_json(lead: Mapping[str, Any], signal: memoryview) -> dict[str, Any]:
    header = {name: value for name, value in lead.items() if name != "signal"}
    return {"num_samples": len(signal), "sample_type": _SAMPLE_TYPES[signal.itemsize].name, **header}


def _little_endian(piece: memoryview) -> bytes:
    is_big = piece.format[:1] in {">", "!"} or (sys.byteorder == "big" and piece.format[:1] != "<")
    if not is_big:
        return piece.tobytes()
    samples = array(_SAMPLE_TYPES[piece.itemsize].code, piece.tobytes())
    samples.byteswap()
    return samples.tobytes()


def _result(document: Mapping[str, Any]) -> Result:
    leads = tuple(
        LeadFindings(name, found) for lead in document.get("leads", ()) for name, found in lead.items()
    )
    optional = {name: document.get(name) for name in _OPTIONAL_FIELDS}
    return Result(
        document["id"],
        document["status"],
        leads,
        document.get("error"),
        document,
        document.get("ecg", {}),
        is_analysed_again="reanalysis" in document,
        **optional,
    )


def _check_no_redirect(response: aiohttp.ClientResponse) -> None:
    """Raise RefusedError for a redirect: the gateway sends none, so that a proxy or another host answered."""
    if _REDIRECTS <= response.status < _ERRORS:
        try:
            location = response.url.join(URL(response.headers["Location"]))
            where = f" to {location.origin()}{location.path}"
        except (KeyError, ValueError):
            where = ""
        detail = f"We are sent elsewhere{where}, where nothing was sent: give the gateway's own URL."
        raise RefusedError(response.status, detail)


def _accepted(status: int, document: Any, fields: frozenset[str]) -> Any:
    if status < _ERRORS:
        if fields and not (isinstance(document, dict) and document.keys() >= fields):
            detail = "This is no answer of Isoline's: give the gateway's own URL, with its path if any."
            raise RefusedError(status, detail)
        return document
    problem = document if isinstance(document, dict) else {}
    raise RefusedError(status, problem.get("detail", "no reason was given"), tuple(problem.get("errors", ())))


async def _json(response: aiohttp.ClientResponse) -> Any:
    """The JSON of the response; None if it has none, e.g. that of a proxy."""
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None


def _speaks_no_tls(error: Exception) -> bool:
    """Whether an https URL leads to a port without TLS."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else None
    return isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """The seconds to wait that the response asks for, as a number or a date (RFC 9110); None if neither."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return math.nan


def _backoff_s(attempt: int) -> float:
    """Doubling up to a longest, half of it random: clients that failed together do not retry together."""
    pause_s = min(_FIRST_BACKOFF_S * 2.0 ** min(attempt - 1, 16), _LONGEST_BACKOFF_S)
    return pause_s * random.uniform(0.5, 1)  # nosec B311 # noqa: S311 - guessing it gains nothing
