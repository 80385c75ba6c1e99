"""Posted ECGs about which nothing is unusual, read without the models.

What a field may hold is asked of the functions that the models ask, and of the domain. Nothing is refused
here: what is unusual is left to the models, which say what is wrong with it, if anything is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.ecg_fields import MAX_RATE_HZ, MIN_RATE_HZ, ecg_id, signal_of
from gateway.recording_dates import recording_date
from shared.domain.ecg import Ecg, Lead
from shared.domain.errors import InvalidEcgError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from shared.settings import SubmissionLimits

# What `usual_ecg` raises, among it what Python does where a value is not of the type that is expected.
UNUSUAL: Final = (AttributeError, LookupError, TypeError, ValueError, InvalidEcgError)

_ECG_FIELDS: Final = frozenset({"id", "date", "leads", "sampling_rate_hz", "unit"})
_LEAD_FIELDS: Final = frozenset({"name", "signal", "num_samples", "baseline", "adc_gain"})


def usual_ecg(document: object, *, limits: SubmissionLimits, now: datetime) -> Ecg:
    """The ECG that the models would make of a document, if they need not be asked.

    Raises:
        AttributeError, LookupError, TypeError, ValueError, InvalidEcgError: They are to be asked.
    """
    fields = _known(document, _ECG_FIELDS)
    leads, rate_hz, unit = fields["leads"], _number(fields, "sampling_rate_hz"), fields.get("unit")
    if type(leads) is not list or len(leads) > limits.max_leads:
        raise ValueError("no leads, or too many")
    if (rate_hz is not None and not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ) or unit not in (None, "uV", "mV"):
        raise ValueError("no sampling rate, or no unit")
    ecg = Ecg(
        ecg_id(fields["id"]),
        recording_date(fields["date"], now=now),
        tuple([_lead(lead, limits) for lead in leads]),
        rate_hz,
        unit,
    )
    if ecg.num_samples > limits.max_ecg_samples:
        raise ValueError("too many samples")
    return ecg


def _lead(document: object, limits: SubmissionLimits) -> Lead:
    fields = _known(document, _LEAD_FIELDS)
    signal = signal_of(fields["signal"], longest=limits.max_lead_samples)
    if len(fields) == 2:  # noqa: PLR2004 - its name and its signal
        return Lead(fields["name"], signal)
    if _integer(fields, "num_samples", len(signal)) != len(signal):
        raise ValueError("another number of samples")
    gain = _number(fields, "adc_gain")
    return Lead(fields["name"], signal, _integer(fields, "baseline", 0), 1.0 if gain is None else gain)


def _known(document: object, names: AbstractSet[str]) -> dict[str, Any]:
    if type(document) is not dict or not document.keys() <= names:
        raise TypeError("no object, or one of other fields")
    return document


def _integer(fields: dict[str, Any], name: str, default: int) -> int:
    value = fields.get(name)
    if value is not None and type(value) is not int:
        raise TypeError("no integer")
    return default if value is None else value


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is not None and type(value) not in (int, float):
        raise TypeError("no number")
    return None if value is None else float(value)
