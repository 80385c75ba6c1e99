"""A client of Isoline's gateway for Python programs: asynchronous, typed, patient.

```python
async with open_client("https://isoline.example.org", user="ada", password=...) as isoline:
    result = await isoline.submit_and_wait({"id": "10", "date": "2023-07-30", "leads": [...]})
    print(result.leads[0].name, result.leads[0].findings)
```

Signals may be lists, or arrays of 16 or 32 bits (NumPy's, ``array.array``, whatever has the buffer protocol),
which go in binary form: nobody has to write or parse them, and they may be as long as a day of three leads.

It needs aiohttp and nothing else of this project.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import struct
import sys
import time
from array import array
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Status: TypeAlias = Literal["queued", "completed", "failed"]


class _SampleType(NamedTuple):
    """A width of samples: what a header calls it, and what `array` does."""

    name: str
    code: str


# The gateway holds a waiting request for 30 s at the most; we ask again well before proxies lose patience.
_ASK_FOR_S: Final = 20.0
_ANSWER_WITHIN_S: Final = 60.0
_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 10.0
# A token that is about to expire would not survive the way to the gateway.
_RENEW_BEFORE_S: Final = 30.0
_PAGE: Final = 100

# The slowest that the gateway waits for.
_SLOWEST_BYTES_PER_S: Final = 32 * 1024

# What an answer has at the least, so that another server's is not taken for one.
_NOTHING: Final[frozenset[str]] = frozenset()
_RESULT: Final = frozenset({"id", "status"})
# What else it may have, as a `Result` does.
_TOLD: Final = ("date", "sampling_rate_hz", "unit", "submitted_at", "completed_at", "generation")
_PAGE_OF_ECGS: Final = frozenset({"ecgs"})
_TOKENS: Final = frozenset({"access_token", "expires_in"})

_BINARY: Final = "application/vnd.isoline.ecg"
_PREAMBLE: Final = struct.Struct("<7sBI")
_VERSION: Final = 1
# 64 or 128 KiB at a time, however long the signal.
_PIECE_SAMPLES: Final = 32 * 1024
_SAMPLE_TYPES: Final = {2: _SampleType("int16", "h"), 4: _SampleType("int32", "i")}

_ELSEWHERE: Final = 300  # and above
_ERRORS: Final = 400  # and above
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_PASSING: Final = frozenset({429, 502, 503, 504})
# Beside `.` and `..`, which end no path.
_ECG_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class IsolineError(Exception):
    """The root of what this client raises."""


class UrlError(IsolineError):
    """The URL of the gateway is none, or holds what it must not; the message does not repeat it."""


class RefusedError(IsolineError):
    """The gateway refused: sending the same again would change nothing.

    Attributes:
        status: Of HTTP.
        detail: What was found and what was expected.
        errors: All that is wrong with the body: dictionaries of ``pointer`` and ``detail``.
    """

    def __init__(self, status: int, detail: str, errors: tuple[Mapping[str, str], ...] = ()) -> None:
        lines = "".join(f"\n  {error.get('pointer') or '/'}: {error.get('detail', '')}" for error in errors)
        super().__init__(f"{status}: {detail}{lines}")
        self.status = status
        self.detail = detail
        self.errors = errors


class AwayError(IsolineError):
    """The gateway was away, overloaded or not done for as long as we had patience; trying later is safe."""


@dataclass(frozen=True, slots=True)
class Lead:
    """What was found in one lead.

    Attributes:
        findings: All of it, by the names of insights, which the gateway's contract describes.
    """

    name: str
    findings: Mapping[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the findings must know."""
        return tuple(self.findings.get("warnings", ()))

    @property
    def absent(self) -> Mapping[str, str]:
        """Why an insight found nothing, by its name."""
        reasons: Mapping[str, str] = self.findings.get("absent", {})
        return reasons


@dataclass(frozen=True, slots=True)
class Result:
    """Where an ECG stands, and what was found.

    Attributes:
        leads: In the order sent; empty unless completed.
        ecg: What was found in the ECG as a whole, by the names of insights.
        error: Why it was given up; None unless failed.
        document: The whole answer, also what later versions of the gateway add.
        date: When it was recorded, as sent; None in the answer to a submission, like what follows.
        sampling_rate_hz: None also where none was sent, and so with the unit.
        submitted_at: ISO 8601.
        completed_at: When it was completed or failed, ISO 8601; None while it is queued.
        generation: Which analysis this is.
        is_analysed_again: Whether the next one is queued, and this the last that was finished.
    """

    id: str
    status: Status
    leads: tuple[Lead, ...] = ()
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


class Client:
    """Talks to one gateway as one user; opened by `open_client`.

    Every method logs in when it must, and repeats what failed for a reason that passes (429, 502, 503, 504,
    a lost connection, a time-out) after ``Retry-After`` or a backoff that doubles.

    No redirect is followed: what we send is for the gateway that was named.

    Every method raises `RefusedError` when the gateway refuses and `AwayError` when patience ends.
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
        patience_s: float,
    ) -> None:
        self._session = session
        self._url = url
        self._credentials = {"user": user, "password": password} if user is not None else None
        self._token = token
        self._refresh_token = refresh_token
        self._renew_at = float("inf")
        self._renewing = asyncio.Lock()
        self._patience_s = patience_s

    async def submit(self, ecg: Mapping[str, Any] | bytes) -> Result:
        """Submit an ECG: a mapping, or JSON as bytes. Submitting the same again is safe and changes nothing.

        The same content is the same ECG, whether its signals are lists or arrays. Arrays must not change
        meanwhile.

        Returns:
            Its id and where it stands. It is kept: it will be analysed, whatever happens to us.

        Raises:
            TypeError: A signal is an array of something else than integers of 16 or 32 bits.
        """
        return _result(await self._ask("POST", "/ecg/process", _RESULT, **_body(ecg)))

    async def get(self, ecg_id: str) -> Result:
        """Where an ECG stands, and what was found."""
        return _result(await self._ask("GET", _path(ecg_id), _RESULT))

    async def wait(self, ecg_id: str, *, timeout_s: float = 60.0) -> Result:
        """The ECG's result as soon as it is completed or failed, and is not being analysed again.

        Of one that is still analysed again after ``timeout_s``, the last finished result.

        Raises:
            AwayError: It is still queued after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0.0)
            params = {"wait": f"{min(left_s, _ASK_FOR_S):.3f}"}
            result = _result(await self._ask("GET", _path(ecg_id), _RESULT, params=params))
            is_late = time.monotonic() >= deadline
            if result.status != "queued" and (is_late or not result.is_analysed_again):
                return result
            if is_late:
                raise AwayError(f"ECG {ecg_id} is still queued after {timeout_s:g} s")

    async def submit_and_wait(self, ecg: Mapping[str, Any] | bytes, *, timeout_s: float = 60.0) -> Result:
        """Submit an ECG and return its result as soon as it is completed or failed."""
        return await self.wait((await self.submit(ecg)).id, timeout_s=timeout_s)

    async def list(self, *, status: Status | None = None) -> AsyncIterator[Summary]:
        """Every ECG of the user's, newest first; pages are fetched as they are needed.

        Of a ``status``, those that are analysed again are with the queued ones.
        """
        query = {"limit": str(_PAGE)} | ({"status": status} if status else {})
        while True:
            page = await self._ask("GET", "/ecg", _PAGE_OF_ECGS, params=query)
            for ecg in page["ecgs"]:
                yield Summary(ecg["id"], ecg["status"], ecg["submitted_at"], "reanalysis" in ecg, ecg)
            if "next_cursor" not in page:
                return
            query["cursor"] = page["next_cursor"]

    async def delete(self, ecg_id: str) -> bool:
        """Erase an ECG with all that was found; its id is free again.

        Returns:
            Whether there was one. False may also mean that we erased it and the answer was lost.
        """
        try:
            await self._ask("DELETE", _path(ecg_id), _NOTHING)
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def _ask(self, method: str, path: str, fields: frozenset[str], **options: Any) -> Any:
        """The JSON that a request with our token is answered with; a refused token is renewed once."""
        token = await self._valid_token()
        status, document = await self._repeat(method, path, token=token, **options)
        if status == _UNAUTHORIZED and self._can_renew:
            token = await self._valid_token(refused=token)
            status, document = await self._repeat(method, path, token=token, **options)
        return _accepted(status, document, fields)

    @property
    def _can_renew(self) -> bool:
        return self._credentials is not None or self._refresh_token is not None

    async def _valid_token(self, *, refused: str | None = None) -> str:
        """A token that is good for a while; of many that need a new one, one gets it for all."""
        async with self._renewing:
            is_old = self._token in {None, refused} or time.monotonic() >= self._renew_at
            if is_old and self._can_renew:
                await self._renew()
        if self._token is None:
            raise RefusedError(_UNAUTHORIZED, "There is neither a token nor a user and a password.")
        return self._token

    async def _renew(self) -> None:
        """Spend the refresh token if there is one; else, or if it is dead, log in again."""
        status: int = _UNAUTHORIZED
        answer: Any = None
        if self._refresh_token is not None:
            spent, self._refresh_token = self._refresh_token, None
            status, answer = await self._repeat("POST", "/token/refresh", json={"refresh_token": spent})
        if status >= _ERRORS and self._credentials is not None:
            status, answer = await self._repeat("POST", "/token", json=self._credentials)
        tokens = _accepted(status, answer, _TOKENS)
        self._token, self._refresh_token = tokens["access_token"], tokens.get("refresh_token")
        self._renew_at = time.monotonic() + tokens["expires_in"] - _RENEW_BEFORE_S

    async def _repeat(
        self, method: str, path: str, *, token: str | None = None, **options: Any
    ) -> tuple[int, Any]:
        """Send until there is an answer that will not pass by itself: its status and its JSON."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        deadline, attempt = time.monotonic() + self._patience_s, 1
        while True:
            try:
                async with self._session.request(
                    method, f"{self._url}{path}", headers=headers, allow_redirects=False, **options
                ) as response:
                    if response.status not in _PASSING:
                        _check_not_elsewhere(response)
                        return response.status, await _json(response)
                    reason, asked_s = f"{response.status} {response.reason}", _retry_after_s(response)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason, asked_s = str(error) or type(error).__name__, None
            wait_s = _backoff_s(attempt) if asked_s is None else asked_s
            if time.monotonic() + wait_s > deadline:
                raise AwayError(f"{method} {path}: {reason}, {attempt} attempts")
            await asyncio.sleep(wait_s)
            attempt += 1


@asynccontextmanager
async def open_client(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    refresh_token: str | None = None,
    patience_s: float = 60.0,
) -> AsyncIterator[Client]:
    """Yield a client of the gateway at an address.

    Args:
        url: Where it is, e.g. ``https://isoline.example.org`` or, below a path of a proxy's,
            ``https://example.org/isoline``.
        user: With the password: who we are.
        password: The user's.
        token: An access token, instead of user and password or beside them.
        refresh_token: Renews the access token.
        patience_s: For how long a request is repeated.

    Raises:
        UrlError: There can be no gateway at this URL.
    """
    usable = _usable(url)
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(
            session,
            usable,
            user=user,
            password=password,
            token=token,
            refresh_token=refresh_token,
            patience_s=patience_s,
        )


def _usable(url: str) -> str:
    """The URL without a last slash, to which a path is added.

    Raises:
        UrlError: It is none, or holds what it must not.
    """
    try:
        parsed = URL(url.strip())
        host = (parsed.raw_host or "").encode("idna")
        is_address = parsed.scheme in {"http", "https"} and bool(host and parsed.port) and b" " not in host
    except ValueError:  # a port or a host that is none
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
    # What an id can't hold would ask for something else: a slash, `%2e%2e`, a question mark.
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
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S + binary.size / _SLOWEST_BYTES_PER_S)
    return {"data": binary, "timeout": timeout}


class _Binary(aiohttp.Payload):
    """An ECG in binary form, written anew for each attempt; its arrays are not copied as a whole."""

    def __init__(self, ecg: Mapping[str, Any]) -> None:
        super().__init__(ecg, content_type=_BINARY)
        self._signals = [_array(lead) for lead in ecg["leads"]]
        described = [
            _described(lead, signal) for lead, signal in zip(ecg["leads"], self._signals, strict=True)
        ]
        header = json.dumps({**ecg, "leads": described}).encode()
        self._head = _PREAMBLE.pack(b"ISOLINE", _VERSION, len(header)) + header

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self._head) + sum(signal.nbytes for signal in self._signals)

    def decode(self, *_: object, **__: object) -> str:
        """Not text."""
        raise TypeError("an ECG in binary form is not text")

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Send it, no faster than it is taken."""
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
    """A lead's signal as an array, which a list beside arrays becomes."""
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


def _described(lead: Mapping[str, Any], signal: memoryview) -> dict[str, Any]:
    said = {name: value for name, value in lead.items() if name != "signal"}
    return {"num_samples": len(signal), "sample_type": _SAMPLE_TYPES[signal.itemsize].name, **said}


def _little_endian(piece: memoryview) -> bytes:
    is_big = piece.format[:1] in {">", "!"} or (sys.byteorder == "big" and piece.format[:1] != "<")
    if not is_big:
        return piece.tobytes()
    samples = array(_SAMPLE_TYPES[piece.itemsize].code, piece.tobytes())
    samples.byteswap()
    return samples.tobytes()


def _result(answer: Mapping[str, Any]) -> Result:
    leads = tuple(Lead(name, found) for lead in answer.get("leads", ()) for name, found in lead.items())
    told = {name: answer.get(name) for name in _TOLD}
    return Result(
        answer["id"],
        answer["status"],
        leads,
        answer.get("error"),
        answer,
        answer.get("ecg", {}),
        is_analysed_again="reanalysis" in answer,
        **told,
    )


def _check_not_elsewhere(response: aiohttp.ClientResponse) -> None:
    """Return if the answer is the gateway's own: it does not redirect, a proxy or another host does."""
    if _ELSEWHERE <= response.status < _ERRORS:
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
    """The answer's JSON; None for an answer without, e.g. of a proxy."""
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    try:
        return max(float(response.headers["Retry-After"]), 0.0)
    except (KeyError, ValueError):
        return None


def _backoff_s(attempt: int) -> float:
    """Doubling up to a longest, half of it random: clients that failed together do not retry together."""
    pause_s = min(_FIRST_BACKOFF_S * 2.0 ** min(attempt - 1, 16), _LONGEST_BACKOFF_S)
    return pause_s * random.uniform(0.5, 1)  # nosec B311 # noqa: S311 - guessing it gains nothing
