"""Fast path: builds an Ecg without pydantic and raises for anything irregular, which the models then judge.

Fields are validated by the same functions as in the models, and by the domain. Nothing is refused here: only
the models report problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.formats.dates import recording_date
from gateway.formats.fields import ecg_id, parse_signal
from shared.domain.ecg import Ecg
from shared.domain.errors import InvalidEcgError
from shared.domain.header import Header, LeadHeader, repeated_leads

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from shared.domain.ecg import Samples
    from shared.runtime.settings import SubmissionLimits

# Raised by `read_ecg_fast`, or by Python for a value of an unexpected type: fall back to the models.
FALL_BACK_ERRORS: Final = (AttributeError, LookupError, TypeError, ValueError, InvalidEcgError)

_ECG_FIELDS: Final = frozenset({"id", "date", "leads", "sampling_rate_hz", "unit"})


def read_ecg_fast(document: object, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that the models would build from a document.

    Raises:
        AttributeError, LookupError, TypeError, ValueError, InvalidEcgError: Fall back to the models.
    """
    fields = _known(document, _ECG_FIELDS)
    leads, rate_hz = fields["leads"], fields.get("sampling_rate_hz")
    if len(leads) > limits.max_leads:
        raise ValueError("too many leads")
    read = [_lead(lead, limits) for lead in leads]
    header = Header(
        ecg_id(fields["id"]),
        recording_date(fields["date"], now=now),
        tuple([lead for lead, _ in read]),
        None if rate_hz is None else _number(rate_hz),
        fields.get("unit"),
    )
    if header.num_samples > limits.max_ecg_samples:
        raise ValueError("too many samples")
    if repeated_leads([lead.name for lead in header.leads]):
        raise ValueError("two names of one lead")
    return Ecg(header, [signal for _, signal in read])


def _lead(document: object, limits: SubmissionLimits) -> tuple[LeadHeader, Samples]:
    fields = _known(document, _LEAD_FIELDS)
    signal = parse_signal(fields["signal"], longest=limits.max_lead_samples)
    if len(fields) == 2:  # noqa: PLR2004 - name and signal
        return LeadHeader(fields["name"], signal.size), signal
    stated = fields.get("num_samples")
    if stated is not None and _integer(stated) != signal.size:
        raise ValueError("another number of samples")
    optional = {
        name: read(value)
        for name, read in _OPTIONAL_FIELDS.items()
        if (value := fields.get(name)) is not None
    }
    return LeadHeader(fields["name"], signal.size, **optional), signal


def _known(document: Any, names: AbstractSet[str]) -> dict[str, Any]:
    if not document.keys() <= names:
        raise ValueError("unknown fields")
    fields: dict[str, Any] = document
    return fields


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no integer")
    return value


def _number(value: object) -> float:
    if type(value) is not int and type(value) is not float:
        raise TypeError("no number")
    return float(value)


# Optional fields of a lead and the types that they must have. A field of the header that is missing here
# makes ECGs fall back to the models, which is slower.
_OPTIONAL_FIELDS: Final[dict[str, Callable[[object], Any]]] = {
    "baseline": _integer,
    "adc_gain": _number,
    "sampling_rate_hz": _number,
    "missing_value": _integer,
}
_LEAD_FIELDS: Final = frozenset({"name", "signal", "num_samples", *_OPTIONAL_FIELDS})
