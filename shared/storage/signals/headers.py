"""The stored form of an ECG's header: JSON, without the id, which is the row's."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import orjson

from shared.domain.errors import InvalidEcgError
from shared.domain.header import Header, LeadHeader
from shared.storage.signals.samples import damaged

# Content hashes depend on these names and their order: they never change.
_OF_ECGS: Final = ("date", "sampling_rate_hz", "unit")
_OF_LEADS: Final = ("name", "baseline", "adc_gain", "num_samples")
# Attributes that were added later are written only if they are set, so that other content keeps its hash.
_ADDED_TO_LEADS: Final = tuple(field.name for field in fields(LeadHeader) if field.name not in _OF_LEADS)
_NOTHING_ADDED: Final = (None,) * len(_ADDED_TO_LEADS)

_ecg_values: Final = attrgetter(*_OF_ECGS)
_lead_values: Final = attrgetter(*_OF_LEADS)
_added_values: Final = attrgetter(*_ADDED_TO_LEADS)

# Release 0.1.0 would ignore those attributes and measure samples that were not measured. It does not know an
# encoding with this mark, so that it fails the ECG with a reason; after the upgrade `isoline replay` analyses
# it.
_MARK_AGAINST_OLD_RELEASES: Final = "headed-"


def encode_leads(header: Header) -> bytes:
    """The stored form of the lead headers: an array of objects."""
    return orjson.dumps([_lead_json(lead) for lead in header.leads])


def encode_header(header: Header, leads: bytes) -> bytes:
    """The stored form of the whole header, an object.

    Args:
        header: Of an ECG.
        leads: Result of `encode_leads`, which is stored by itself as well.
    """
    document: dict[str, object] = dict(zip(_OF_ECGS, _ecg_values(header), strict=True))
    document["leads"] = orjson.Fragment(leads)
    return orjson.dumps(document)


def decode_header(ecg_id: str, encoded: bytes) -> Header:
    """The header of its stored form.

    Raises:
        InvalidEcgError: It is damaged, or has an attribute that this version does not know.
    """
    try:
        document: dict[str, Any] = orjson.loads(encoded)
        leads = tuple([LeadHeader(**lead) for lead in document.pop("leads")])
        return Header(id=ecg_id, leads=leads, **document)
    except (AttributeError, InvalidEcgError, LookupError, TypeError, ValueError) as error:
        raise damaged(f"can't be read: {type(error).__name__}") from error


def encoding_marked_against_old_releases(header: Header, encoding: str) -> str:
    """The stored name of a samples' encoding, marked if the header has attributes that were added later."""
    has_added = any(_added_values(lead) != _NOTHING_ADDED for lead in header.leads)
    return _MARK_AGAINST_OLD_RELEASES + encoding if has_added else encoding


def encoding_without_mark(marked: str) -> str:
    """The name of the encoding of samples, without the mark."""
    return marked.removeprefix(_MARK_AGAINST_OLD_RELEASES)


def _lead_json(lead: LeadHeader) -> dict[str, object]:
    document = dict(zip(_OF_LEADS, _lead_values(lead), strict=True))
    added = _added_values(lead)
    if added != _NOTHING_ADDED:
        document |= {
            name: value for name, value in zip(_ADDED_TO_LEADS, added, strict=True) if value is not None
        }
    return document
