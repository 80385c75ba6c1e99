"""The catalogue of insights: their descriptions, for services and programs that do not measure.

``make catalogue`` writes it from the insights themselves, which only a processor imports.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.domain.insights import Description, LeadInsight, Needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.domain.insights import Insight

CATALOGUE_FILE: Final = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The descriptions of all insights, in the order of results: of leads, and of the ECG as a whole."""

    leads: tuple[Description, ...]
    ecg: tuple[Description, ...]

    def encoded(self) -> str:
        """As JSON, the content of `CATALOGUE_FILE`."""
        return f"{json.dumps(asdict(self), indent=2)}\n"


def catalogue_of(insights: Iterable[Insight]) -> Catalogue:
    """The catalogue of these insights."""
    leads: list[Description] = []
    ecg: list[Description] = []
    for insight in insights:
        known = {each.name: getattr(insight, each.name) for each in fields(Description)}
        (leads if isinstance(insight, LeadInsight) else ecg).append(Description(**known))
    return Catalogue(tuple(leads), tuple(ecg))


@cache
def catalogue() -> Catalogue:
    """The catalogue of this release."""
    document = json.loads(CATALOGUE_FILE.read_text())
    return Catalogue(tuple(map(_description, document["leads"])), tuple(map(_description, document["ecg"])))


def _description(entry: Mapping[str, Any]) -> Description:
    needs = entry["needs"] | {"insights": tuple(entry["needs"]["insights"])}
    return Description(**{**entry, "needs": Needs(**needs)})
