"""How an ECG's header lies in storage: as JSON, without its id, which is the row's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from shared.domain.errors import InvalidEcgError
from shared.domain.header import Header, LeadHeader
from shared.storage.samples import damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

# Content hashes are taken of these words in this order: they never change.
_OF_ECGS: Final = ("date", "sampling_rate_hz", "unit")
_OF_LEADS: Final = ("name", "baseline", "adc_gain", "num_samples")


def stored_leads(header: Header) -> bytes:
    """The headers of the leads as they are stored: an array of objects."""
    return orjson.dumps([_said(lead, _OF_LEADS) for lead in header.leads])


def stored_header(header: Header, leads: bytes) -> bytes:
    """The whole header as it is stored, an object; ``leads`` is what `stored_leads` makes of it."""
    return orjson.dumps({**_said(header, _OF_ECGS), "leads": orjson.Fragment(leads)})


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


def _said(subject: Header | LeadHeader, names: tuple[str, ...]) -> Mapping[str, object]:
    return {name: getattr(subject, name) for name in names}
