"""Parameters in paths, by their names in braces, and in headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.domain.account import RESERVED_NAMES, USER_NAME
from shared.events import EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

# `gateway.formats.fields.ECG_ID` as JSON Schema, whose expressions know no \Z.
ECG_ID_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,128}$",
}

PATH_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "owner": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 600},
        "example": "ada",
        "description": "The owner: an account's name, or `<issuer>#<sub>`.",
    },
    "id": {"schema": ECG_ID_SCHEMA, "example": "10", "description": "The ECG's id."},
    "name": {
        "schema": {
            "type": "string",
            "pattern": f"^{USER_NAME.pattern}$",
            "not": {"enum": list(RESERVED_NAMES)},
        },
        "example": "grace@example.org",
        "description": "The account's name.",
    },
    "key_id": {
        "schema": {"type": "string", "format": "uuid"},
        "example": "7c1f4c5e-3a52-4f6b-9a0e-2d8f6d3c1b7a",
        "description": "The API key's id, not the key itself.",
    },
    "webhook_id": {
        "schema": {"type": "string", "format": "uuid"},
        "example": "2f0c7a58-6f0e-4d55-9a37-0d6a3f6b9c11",
        "description": "The webhook's id.",
    },
    "delivery_id": {
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "example": "1802",
        "description": "The delivery's id, as the list shows it.",
    },
    "folder": {"schema": {"type": "string"}, "example": "parts", "description": "The files' folder."},
    "file": {"schema": {"type": "string"}, "example": "swagger-ui.css", "description": "The file's name."},
    "type": {
        "schema": {"type": "string", "enum": [type_.value for type_ in EventType]},
        "example": "ecg.processed",
        "description": "The event's type.",
    },
    "version": {
        "schema": {"type": "string", "enum": ["1"]},
        "example": "1",
        "description": "The version, the last part of the event's `dataschema`.",
    },
}

HEADER_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "traceparent": {
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "description": "The trace that its analysis and events continue (W3C Trace Context).",
    }
}
