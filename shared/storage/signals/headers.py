"""How an ECG's header lies in storage: as JSON, without its id, which is the row's."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import orjson

from shared.domain.errors import InvalidEcgError
from shared.domain.header import Header, LeadHeader
from shared.storage.signals.samples import damaged

# Content hashes are taken of these words in this order: they never change.
_OF_ECGS: Final = ("date", "sampling_rate_hz", "unit")
_OF_LEADS: Final = ("name", "baseline", "adc_gain", "num_samples")
# What was added since is written only where it was said, so that other content keeps its hash.
_ADDED_TO_LEADS: Final = tuple(field.name for field in fields(LeadHeader) if field.name not in _OF_LEADS)
_NOTHING_ADDED: Final = (None,) * len(_ADDED_TO_LEADS)

_ecg_values: Final = attrgetter(*_OF_ECGS)
_lead_values: Final = attrgetter(*_OF_LEADS)
_added_values: Final = attrgetter(*_ADDED_TO_LEADS)

# Release 0.1.0 would overlook it, and measure samples that are none. An encoding with this mark is unknown to
# it, so that it fails the ECG and says why; `isoline replay` has that analysed again when all are replaced.
_MARK: Final = "headed-"


def stored_leads(header: Header) -> bytes:
    """The headers of the leads as they are stored: an array of objects."""
    return orjson.dumps([_lead_json(lead) for lead in header.leads])


def stored_header(header: Header, leads: bytes) -> bytes:
    """The whole header as it is stored, an object; ``leads`` is what `stored_leads` makes of it."""
    said: dict[str, object] = dict(zip(_OF_ECGS, _ecg_values(header), strict=True))
    said["leads"] = orjson.Fragment(leads)
    return orjson.dumps(said)


def read_header(ecg_id: str, stored: bytes) -> Header:
    """The header as it was stored.

    Raises:
        InvalidEcgError: It is damaged, or says what this version does not know.
    """
    try:
        said: dict[str, Any] = orjson.loads(stored)
        leads = tuple([LeadHeader(**lead) for lead in said.pop("leads")])
        return Header(id=ecg_id, leads=leads, **said)
    except (AttributeError, InvalidEcgError, LookupError, TypeError, ValueError) as error:
        raise damaged(f"can't be read: {type(error).__name__}") from error


def stored_encoding(header: Header, encoding: str) -> str:
    """What is stored as the encoding of an ECG's samples: its name, marked where the header says more."""
    says_more = any(_added_values(lead) != _NOTHING_ADDED for lead in header.leads)
    return _MARK + encoding if says_more else encoding


def read_encoding(stored: str) -> str:
    """The encoding that was stored."""
    return stored.removeprefix(_MARK)


def _lead_json(lead: LeadHeader) -> dict[str, object]:
    said = dict(zip(_OF_LEADS, _lead_values(lead), strict=True))
    added = _added_values(lead)
    if added != _NOTHING_ADDED:
        said |= {name: value for name, value in zip(_ADDED_TO_LEADS, added, strict=True) if value is not None}
    return said
