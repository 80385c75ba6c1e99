"""Posted ECGs about which nothing is unusual, read without the models.

What a field may hold is asked of the functions that the models ask, and of the domain. Nothing is refused
here: what is unusual is left to the models, which say what is wrong with it, if anything is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.formats.dates import recording_date
from gateway.formats.fields import ecg_id, signal_of
from shared.domain.ecg import Ecg
from shared.domain.errors import InvalidEcgError
from shared.domain.header import Header, LeadHeader, repeated_leads

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from shared.domain.ecg import Samples
    from shared.runtime.settings import SubmissionLimits

# What `usual_ecg` raises, among it what Python does where a value is not of the type that is expected.
UNUSUAL: Final = (AttributeError, LookupError, TypeError, ValueError, InvalidEcgError)

_ECG_FIELDS: Final = frozenset({"id", "date", "leads", "sampling_rate_hz", "unit"})


def usual_ecg(document: object, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that the models would make of a document, if they need not be asked.

    Raises:
        AttributeError, LookupError, TypeError, ValueError, InvalidEcgError: They are to be asked.
    """
    fields = _known(document, _ECG_FIELDS)
    leads, rate_hz = fields["leads"], fields.get("sampling_rate_hz")
    if type(leads) is not list or len(leads) > limits.max_leads:
        raise ValueError("no leads, or too many")
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
    signal = signal_of(fields["signal"], longest=limits.max_lead_samples)
    if len(fields) == 2:  # noqa: PLR2004 - its name and its signal
        return LeadHeader(fields["name"], signal.size), signal
    stated = fields.get("num_samples")
    if stated is not None and _integer(stated) != signal.size:
        raise ValueError("another number of samples")
    said = {name: read(value) for name, read in _SAID.items() if (value := fields.get(name)) is not None}
    return LeadHeader(fields["name"], signal.size, **said), signal


def _known(document: object, names: AbstractSet[str]) -> dict[str, Any]:
    if type(document) is not dict or not document.keys() <= names:
        raise TypeError("no object, or one of other fields")
    return document


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no integer")
    return value


def _number(value: object) -> float:
    if type(value) is not int and type(value) is not float:
        raise TypeError("no number")
    return float(value)


# What may be said of a lead beside its name, by the type that it must have. A field of the header that is
# missing here is read by the models, more slowly.
_SAID: Final[dict[str, Callable[[object], Any]]] = {
    "baseline": _integer,
    "adc_gain": _number,
    "sampling_rate_hz": _number,
    "missing_value": _integer,
}
_LEAD_FIELDS: Final = frozenset({"name", "signal", "num_samples", *_SAID})
