"""The registry of formats in which an ECG may be submitted; each is one entry, also shown in the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from gateway.contract.route import BinaryForm
from gateway.formats import binary_reader as recordings
from gateway.formats.binary_reader import BinaryReader
from gateway.formats.json_reader import JsonReader
from gateway.formats.models import BinaryHeader
from gateway.http.bodies.body_stream import peek_body
from gateway.http.bodies.content_encoding import check_content_length, content_encoding_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from gateway.formats.spool import SpoolDirectory
    from gateway.http.request import Request
    from shared.domain.ecg import Ecg
    from shared.domain.recording import Recording
    from shared.ports.ecgs import Receipt
    from shared.runtime.settings import GatewayOnlySettings

    Submit: TypeAlias = Callable[[Ecg | Recording], Awaitable[Receipt]]

# A content type that tells nothing; aiohttp's default for a missing Content-Type too.
_GENERIC_TYPE: Final = "application/octet-stream"
_BINARY: Final = (
    "`ISOLINE`, a byte of value 1, the length of the header as 4 bytes, and the header in JSON: an ECG's "
    "fields, with `num_samples` and `sample_type` in the place of each lead's `signal`. Then all samples of "
    "the first lead, all of the second, and so on; nothing between or behind them. All little-endian."
)


class Reader(Protocol):
    """Reads the bodies of one format.

    Attributes:
        accepts_recordings: Whether they may be as long as a day of three leads.
    """

    accepts_recordings: bool

    def max_bytes(self, encoding: str | None) -> int:
        """The size limit of a body as it is sent, in a content encoding or without."""

    async def read(self, request: Request, submit: Submit, *, now: datetime) -> Receipt:
        """Submit the ECG in the request's body; a recording can be read only until ``submit`` returns.

        Raises:
            ProblemError: The body is no ECG of this format, or could not be received.
            UnavailableError: There is no disk space for it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: how it is detected, its part of the contract, and its reader.

    Attributes:
        content_type: Of its bodies.
        first_bytes: Of its bodies; detects it if the content type is generic. Empty: not detected so.
        form: Its part of the contract; None for JSON, which is the route's ``request``.
        reader: Makes the reader.
    """

    content_type: str
    first_bytes: bytes = b""
    form: BinaryForm | None = None
    reader: Callable[[GatewayOnlySettings, SpoolDirectory], Reader]


# The first is the default; it refuses other content types with the expected one.
FORMATS: Final = (
    Format(content_type="application/json", reader=lambda settings, _: JsonReader(settings)),
    Format(
        content_type=recordings.CONTENT_TYPE,
        first_bytes=recordings.MAGIC,
        form=BinaryForm(content_type=recordings.CONTENT_TYPE, header=BinaryHeader, description=_BINARY),
        reader=BinaryReader,
    ),
)
_MOST_FIRST_BYTES: Final = max(len(format_.first_bytes) for format_ in FORMATS)


class FormatRegistry:
    """The readers of all formats."""

    def __init__(self, settings: GatewayOnlySettings, spool_directory: SpoolDirectory) -> None:
        readers = [(format_, format_.reader(settings, spool_directory)) for format_ in FORMATS]
        self._by_type = {format_.content_type: reader for format_, reader in readers}
        self._by_first_bytes = {
            format_.first_bytes: reader for format_, reader in readers if format_.first_bytes
        }
        self._default = readers[0][1]

    async def reader_for(self, request: Request) -> Reader:
        """The reader for the request's body, by its content type or its first bytes.

        Raises:
            ProblemError: The content type is too long; or the first bytes are needed, and were not received,
                or the body is too large for each format or in an unsupported content encoding.
        """
        declared = request.content_type
        if reader := self._by_type.get(declared):
            return reader
        if declared == _GENERIC_TYPE:
            encoding = content_encoding_of(request)
            limit = max(reader.max_bytes(encoding) for reader in self._by_type.values())
            check_content_length(request, limit, is_compressed=encoding is not None)
            beginning = await peek_body(request, _MOST_FIRST_BYTES)
            for first, reader in self._by_first_bytes.items():
                if beginning.startswith(first):
                    return reader
        return self._default
