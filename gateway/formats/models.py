"""Request bodies of ECGs, as models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from gateway.contract.parameters import ECG_ID_SCHEMA
from gateway.formats.dates import recording_date
from gateway.formats.fields import ecg_id, is_signal, parse_signal
from gateway.formats.json_arrays import UnparsedSignal
from gateway.http.problems import unprocessable_body
from gateway.http.validation import TOO_MANY_FIELDS, RequestBody, has_too_many_fields, validate
from shared.domain.ecg import Ecg, Samples, to_smallest_dtype
from shared.domain.errors import Problem
from shared.domain.header import (
    INT32_MAX,
    INT32_MIN,
    MAX_NAME_LENGTH,
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    Header,
    LeadHeader,
    Unit,
    repeated_leads,
)
from shared.domain.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
    from datetime import datetime

    from shared.runtime.settings import SubmissionLimits

_ID_SCHEMA: Final = {
    "anyOf": [ECG_ID_SCHEMA, {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}],
    "description": "Unique among your ECGs; an integer is kept as its decimal string.",
}
_DATE_SCHEMA: Final = {
    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
    "description": "When it was recorded, ISO 8601; in UTC without an offset; at most 24 h ahead.",
}
# \p{...} would say "printable" exactly, but many readers of JSON Schema, Python's among them, can't read it.
_NAME_SCHEMA: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
    "description": "Printable characters, kept as sent; unique within the ECG, ignoring case.",
}
_SIGNAL_SCHEMA: Final = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "integer", "format": "int32", "minimum": INT32_MIN, "maximum": INT32_MAX},
    "description": (
        "Samples in ADC units, written without a fraction: (sample - baseline) / adc_gain is physical."
    ),
}


@dataclass(frozen=True, slots=True)
class _ValidationContext:
    """What validation depends on besides the body."""

    limits: SubmissionLimits
    now: datetime


def _check_date(value: str, info: ValidationInfo[_ValidationContext]) -> str:
    return recording_date(value, now=info.context.now)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("printable", "expected printable characters only")
    return value


_UNCALIBRATED: Final = (
    "expected a number greater than 0; 0 is how WFDB says uncalibrated: leave out adc_gain and unit"
)
_INVERTED: Final = (
    "expected a number greater than 0; of an inverted lead send 2 * baseline - sample with the gain's amount"
)


def _usable_gain(value: object) -> object:
    """Explain what to send instead of a gain of 0 or below, which files contain; other checks follow."""
    if type(value) in (int, float):
        if value == 0:
            raise PydanticCustomError("adc_gain", _UNCALIBRATED)
        if value < 0:  # type: ignore[operator] # a number by now
            raise PydanticCustomError("adc_gain", _INVERTED)
    return value


def _signal(value: object, info: ValidationInfo[_ValidationContext]) -> Samples:
    return parse_signal(value, longest=info.context.limits.max_lead_samples)


_Int32 = Annotated[int, Field(ge=INT32_MIN, le=INT32_MAX)]
_Baseline = Annotated[_Int32, Field(description="The ADC value that means 0 V; 0 if not given.")]
_AdcGain = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False, description="ADC units per `unit`; 1 if not given."),
    BeforeValidator(_usable_gain),  # last, else the schema could not say `exclusiveMinimum`
]
_LeadName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_LENGTH),
    AfterValidator(_printable),
    WithJsonSchema(_NAME_SCHEMA),
]
_EcgId = Annotated[str, BeforeValidator(ecg_id), WithJsonSchema(_ID_SCHEMA)]
_RecordingDate = Annotated[str, AfterValidator(_check_date), WithJsonSchema(_DATE_SCHEMA)]
_Rate = Annotated[float, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]
_RateOfEcg = Annotated[_Rate, Field(description="Samples per second of each lead without a rate of its own.")]
_RateOfLead = Annotated[_Rate, Field(description="Samples per second, if others than the ECG's.")]
_MissingValue = Annotated[_Int32, Field(description="Samples of this value were not measured.")]
_PhysicalUnit = Annotated[Unit, Field(description="The physical unit that `adc_gain` refers to.")]


class _LeadBody(RequestBody):
    """Fields of a lead in both formats."""

    name: _LeadName
    baseline: _Baseline | None = None
    adc_gain: _AdcGain | None = None
    sampling_rate_hz: _RateOfLead | None = None
    missing_value: _MissingValue | None = None

    def header_of(self, num_samples: int) -> LeadHeader:
        """The domain's header of a lead with so many samples; it has each of the fields above."""
        values = {name: getattr(self, name) for name in _LeadBody.model_fields}
        optional = {name: value for name, value in values.items() if value is not None}
        return LeadHeader(num_samples=num_samples, **optional)


class _EcgBody(RequestBody):
    """Fields of an ECG in both formats, without its leads."""

    id: _EcgId
    date: _RecordingDate
    sampling_rate_hz: _RateOfEcg | None = None
    unit: _PhysicalUnit | None = None

    def header_of(self, leads: Iterable[LeadHeader]) -> Header:
        """The domain's header of an ECG with these leads."""
        return Header(leads=tuple(leads), **{name: getattr(self, name) for name in _EcgBody.model_fields})


class LeadBody(_LeadBody):
    """One lead of a submission: its name, its signal, and the scale of the signal's integers."""

    signal: Annotated[
        Samples,
        PlainValidator(_signal),
        WithJsonSchema(_SIGNAL_SCHEMA),
    ]
    num_samples: Annotated[int, Field(ge=1, description="The length of `signal`.")] | None = None


class EcgBody(_EcgBody):
    """A submission."""

    leads: Annotated[list[LeadBody], Field(min_length=1)]

    def ecg(self) -> Ecg:
        """The domain's ECG."""
        header = self.header_of(lead.header_of(lead.signal.size) for lead in self.leads)
        return Ecg(header, [lead.signal for lead in self.leads])


class BinaryLead(_LeadBody):
    """One lead of a submission in the binary format, whose signal follows the header."""

    num_samples: Annotated[int, Field(ge=1, description="How many samples of this lead follow the header.")]
    sample_type: Annotated[
        Literal["int16", "int32"], Field(description="What each of them is, little-endian.")
    ]

    @property
    def dtype(self) -> np.dtype[np.integer[Any]]:
        """The samples' type for NumPy."""
        return np.dtype("<i2") if self.sample_type == "int16" else np.dtype("<i4")


class BinaryHeader(_EcgBody):
    """A submission in binary form, but for its samples, which follow."""

    leads: Annotated[list[BinaryLead], Field(min_length=1)]

    @property
    def num_bytes(self) -> int:
        """How many bytes of samples follow."""
        return sum(lead.num_samples * lead.dtype.itemsize for lead in self.leads)

    def is_long(self, limits: SubmissionLimits) -> bool:
        """Whether it has more samples than JSON may have, and so is not held in memory."""
        longest = max(lead.num_samples for lead in self.leads)
        total = sum(lead.num_samples for lead in self.leads)
        return longest > limits.max_lead_samples or total > limits.max_ecg_samples

    def header(self) -> Header:
        """The domain's header."""
        return self.header_of(lead.header_of(lead.num_samples) for lead in self.leads)

    def ecg(self, samples: bytearray) -> Ecg:
        """The domain's ECG, from all its samples."""
        ends = np.cumsum([lead.num_samples * lead.dtype.itemsize for lead in self.leads]).tolist()
        signals = [
            to_smallest_dtype(np.frombuffer(memoryview(samples)[start:end], lead.dtype))
            for lead, start, end in zip(self.leads, [0, *ends], ends, strict=False)
        ]
        return Ecg(self.header(), signals)

    def recording(self, blocks: Callable[[], Iterator[Samples]]) -> Recording:
        """The domain's recording, with samples that are read block by block."""
        return Recording(self.header(), blocks)


def read_ecg(document: object, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that a body describes.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    leads = _leads(document)
    oversize_problems = list(_oversize_problems(document, leads, limits) or _samples_problems(leads, limits))
    if oversize_problems:
        raise unprocessable_body(oversize_problems)  # too large to validate each part
    cross_problems = _cross_problems(leads)
    body, problems = validate(EcgBody, document, _ValidationContext(limits, now))
    if body is None or cross_problems:
        raise unprocessable_body([*problems, *cross_problems])
    return body.ecg()


def read_header(document: object, *, limits: SubmissionLimits, now: datetime) -> BinaryHeader:
    """The header of a submission in the binary format.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    leads = _leads(document)
    oversize_problems = _oversize_problems(document, leads, limits)
    if oversize_problems:
        raise unprocessable_body(oversize_problems)
    header, problems = validate(BinaryHeader, document, _ValidationContext(limits, now))
    problems += [*_name_problems(leads), *_total_problems(header, limits)]
    if header is None or problems:
        raise unprocessable_body(problems)
    return header


def _oversize_problems(document: object, leads: Sequence[object], limits: SubmissionLimits) -> list[Problem]:
    """Too many fields or leads, each of which would become a line in the response."""
    problems = [TOO_MANY_FIELDS] if has_too_many_fields(document) else []
    if len(leads) > limits.max_leads:
        problems.append(Problem("/leads", f"expected 1 to {limits.max_leads} leads, found {len(leads)}"))
    elif any(map(has_too_many_fields, leads)):
        problems.append(TOO_MANY_FIELDS._replace(pointer="/leads"))
    return problems


def _cross_problems(leads: Sequence[object]) -> list[Problem]:
    """Problems across fields; reported even if single fields have problems too."""
    return [*_name_problems(leads), *_length_problems(leads)]


def _leads(document: object) -> Sequence[object]:
    leads = document.get("leads") if isinstance(document, dict) else None
    if isinstance(leads, UnparsedSignal):
        return range(len(leads))  # numbers are no leads, but count as too many
    return leads if isinstance(leads, list) else []


def _name_problems(leads: Sequence[object]) -> list[Problem]:
    # A lead without a name has its own problem, and is no duplicate.
    names = [lead.get("name") if isinstance(lead, dict) else None for lead in leads]
    return repeated_leads([name if isinstance(name, str) else None for name in names])


def _length_problems(leads: Sequence[object]) -> Iterator[Problem]:
    for index, lead in enumerate(leads):
        signal = _signal_in(lead)
        stated = lead.get("num_samples") if isinstance(lead, dict) else None
        if signal is not None and type(stated) is int and stated >= 1 and stated != len(signal):
            detail = f"the signal has {len(signal)} samples, not {stated}"
            yield Problem(f"/leads/{index}/num_samples", detail)


def _samples_problems(leads: Sequence[object], limits: SubmissionLimits) -> Iterator[Problem]:
    total = sum(len(signal) for lead in leads if (signal := _signal_in(lead)) is not None)
    if total > limits.max_ecg_samples:
        detail = f"expected at most {limits.max_ecg_samples} samples in all leads, found {total}"
        yield Problem("/leads", detail)


def _signal_in(lead: object) -> Sized | None:
    """The signal of a lead; None if it has its own problem."""
    signal = lead.get("signal") if isinstance(lead, dict) else None
    return signal if is_signal(signal) else None


def _total_problems(header: BinaryHeader | None, limits: SubmissionLimits) -> Iterator[Problem]:
    total = sum(lead.num_samples for lead in header.leads) if header else 0
    if total > limits.max_recording_samples:
        detail = f"expected at most {limits.max_recording_samples} samples in all leads, found {total}"
        yield Problem("/leads", detail)
