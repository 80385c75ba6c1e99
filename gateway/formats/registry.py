"""The formats in which an ECG may come: each is one entry of a table, which the contract shows too."""

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

    from gateway.formats.spool import Spools
    from gateway.http.request import Request
    from shared.domain.ecg import Ecg
    from shared.domain.recording import Recording
    from shared.ports.ecgs import Receipt
    from shared.runtime.settings import GatewayOnlySettings

    Take: TypeAlias = Callable[[Ecg | Recording], Awaitable[Receipt]]

# What a body is declared as that says nothing of it; aiohttp's word for no Content-Type at all, too.
_VAGUE: Final = "application/octet-stream"
_BINARY: Final = (
    "`ISOLINE`, a byte of value 1, the length of the header as 4 bytes, and the header in JSON: an ECG's "
    "fields, with `num_samples` and `sample_type` in the place of each lead's `signal`. Then all samples of "
    "the first lead, all of the second, and so on; nothing between or behind them. All little-endian."
)


class Reader(Protocol):
    """What reads the bodies of one format.

    Attributes:
        takes_recordings: Whether they may be as long as a day of three leads.
    """

    takes_recordings: bool

    def max_bytes(self, encoding: str | None) -> int:
        """How many bytes a body may be sent as, packed or not."""

    async def read(self, request: Request, take: Take, *, now: datetime) -> Receipt:
        """What ``take`` returns for the ECG in the request's body; a recording is gone once it has.

        Raises:
            ProblemError: The body is no ECG of this format, or did not come as it should.
            UnavailableError: There is no room for it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: how it is told from the others, what the contract says of it, and what reads it.

    Attributes:
        content_type: By which it is told.
        first_bytes: By which it is told where the content type is vague; none, and it never is.
        form: As the contract shows it; None for JSON, which is the form that a route's request has.
        reader: Makes the reader.
    """

    content_type: str
    first_bytes: bytes = b""
    form: BinaryForm | None = None
    reader: Callable[[GatewayOnlySettings, Spools], Reader]


# The first takes what is none of the others, and says what it expected.
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


class Formats:
    """The readers of a gateway."""

    def __init__(self, settings: GatewayOnlySettings, spools: Spools) -> None:
        readers = [(format_, format_.reader(settings, spools)) for format_ in FORMATS]
        self._by_type = {format_.content_type: reader for format_, reader in readers}
        self._by_first_bytes = {
            format_.first_bytes: reader for format_, reader in readers if format_.first_bytes
        }
        self._otherwise = readers[0][1]

    async def reader_of(self, request: Request) -> Reader:
        """What reads the request's body.

        Raises:
            ProblemError: Its type is longer than any; its beginning, which had to be looked at, did not come,
                or would be that of a body which is too large for each of them or packed in an unknown way.
        """
        declared = request.content_type
        if reader := self._by_type.get(declared):
            return reader
        if declared == _VAGUE:
            encoding = content_encoding_of(request)
            most = max(reader.max_bytes(encoding) for reader in self._by_type.values())
            check_content_length(request, most, is_compressed=encoding is not None)
            beginning = await peek_body(request, _MOST_FIRST_BYTES)
            for first, reader in self._by_first_bytes.items():
                if beginning.startswith(first):
                    return reader
        return self._otherwise
