"""Events and schemas of each release; ``python -m tests.support.golden_events`` writes those of this one.

Only while the release is not out: what is out stays as it is.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.contract.event_schemas import event_schemas
from shared.domain.findings import Absent, Finding, Insights
from shared.events import EcgKey, deleted_event, failed_event, processed_event, submitted_event
from shared.release import RELEASE

if TYPE_CHECKING:
    from shared.events import Event

FOLDER: Final = Path(__file__).parents[1] / "data/events"
THIS_RELEASE: Final = RELEASE.partition(".dev")[0]
RELEASES: Final = sorted(path.name.removesuffix(".jsonl") for path in FOLDER.glob("*.jsonl"))

_KEY: Final = EcgKey("demo", "10", 1)
_OTHER_KEY: Final = EcgKey("https://login.example.org/realms/hospital#7c9e6679", "mitdb:100", 2)
_SOURCE: Final = "urn:uuid:8d124754-a6c1-46a9-9fcb-1d5b6ead48b6"
_TRACEPARENT: Final = "00-90975aee2a8df4e82024e5519608a0ac-90975aee2a8df4e8-01"
_AT: Final = datetime(2026, 11, 30, 8, 40, 4, 228410, tzinfo=UTC)

_PLAIN: Final = Insights(
    leads=(
        ("I", {"zero_crossings": Finding(2)}),
        ("II", {"zero_crossings": Finding(0, ("signal_never_near_zero",))}),
    ),
    versions={"zero_crossings": 1},
)
_WITH_EACH_KEY: Final = Insights(
    leads=(
        (
            "MDC_ECG_ELEC_POTL_II",
            {
                "zero_crossings": Finding(26, ("missing_samples",), counts={"missing_samples": 3}),
                "quality": Absent("The sampling rate is not known."),
            },
        ),
    ),
    ecg={"heart_rate": Finding({"bpm": 72.5}, ("few_beats",)), "rhythm": Absent("It is too short.")},
    versions={"zero_crossings": 1, "quality": 1, "heart_rate": 1, "rhythm": 1},
)


def present_events() -> list[Event]:
    """Events of each type and with each key that this release writes."""
    full: dict[str, Any] = {"source": _SOURCE, "now": _AT, "traceparent": _TRACEPARENT}
    bare: dict[str, Any] = {"source": _SOURCE, "now": _AT.replace(microsecond=0), "traceparent": None}
    return [
        submitted_event([_KEY], **full),
        submitted_event([_KEY, _OTHER_KEY], **bare),
        processed_event(_KEY, _PLAIN.document(), **full),
        processed_event(_OTHER_KEY, _WITH_EACH_KEY.document(), **bare),
        failed_event(_KEY, "Given up after 5 attempts.", **full),
        deleted_event(_KEY, **full),
    ]


def present_schemas() -> dict[str, Any]:
    """The schemas of whole events that this release serves, by type and version."""
    return {f"{type_} {of.version}": of.event for type_, of in event_schemas().items()}


def events_of(release: str) -> list[bytes]:
    """The events of a release."""
    return (FOLDER / f"{release}.jsonl").read_bytes().splitlines()


def schemas_of(release: str) -> dict[str, Any]:
    """The schemas of a release."""
    schemas: dict[str, Any] = json.loads((FOLDER / f"{release}.schemas.json").read_text())
    return schemas


if __name__ == "__main__":
    (FOLDER / f"{THIS_RELEASE}.jsonl").write_bytes(b"".join(event.body + b"\n" for event in present_events()))
    schemas = f"{json.dumps(present_schemas(), indent=1, sort_keys=True)}\n"
    (FOLDER / f"{THIS_RELEASE}.schemas.json").write_text(schemas)
