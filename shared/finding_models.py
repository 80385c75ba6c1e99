"""The findings of insights in their JSON form, as models for the contracts of HTTP and of events."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.domain.insights import Description


def _with_insights(described: Iterable[Description], schema: dict[str, Any]) -> None:
    """Put the insights of the catalogue before the other properties of a schema."""
    insights = {insight.name: _property(insight) for insight in described}
    schema["properties"] = insights | schema["properties"]


def _property(insight: Description) -> dict[str, Any]:
    unit = {"x-isoline-unit": insight.unit} if insight.unit else {}
    return {**insight.schema, "description": insight.sentence, **unit}


class _Findings(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    warnings: Annotated[list[str], Field(description="What a reader of these values must know.")] = []
    absent: Annotated[dict[str, str], Field(description="Why a measurement is not there, by its name.")] = {}


class LeadFindings(_Findings):
    """Findings about one lead; later versions may add keys."""

    model_config = ConfigDict(json_schema_extra=partial(_with_insights, catalogue().leads))

    missing_samples: Annotated[
        int, Field(description="How many samples were not measured. With the warning of this name.")
    ] = 0
    canonical_name: Annotated[
        str, Field(description="The lead's name, where a standard's or a device's own was sent.")
    ] = ""


class EcgFindings(_Findings):
    """Findings about the ECG as a whole; later versions may add keys."""

    model_config = ConfigDict(json_schema_extra=partial(_with_insights, catalogue().ecg))
