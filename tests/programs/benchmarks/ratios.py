"""The ratios that Isoline is held to: which figure over which, and what it should be."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Series = dict[str, list[float]]


class Spread(NamedTuple):
    """A median with the smallest and the largest of what was measured in turn."""

    median: float
    smallest: float
    largest: float


class Ratio(NamedTuple):
    """One figure over another; a figure alone where there is nothing under it."""

    what: str
    over: str
    under: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def of(self, series: Mapping[str, Sequence[float]]) -> Spread | None:
        """The ratio of the medians, and the extremes of each turn's own ratio; None if not measured."""
        over = series.get(self.over, [])
        under = series.get(self.under, []) if self.under else [1.0] * len(over)
        if not over or not under:
            return None
        turns = [a / b for a, b in zip(over, under, strict=True)]
        return Spread(median(over) / median(under), min(turns), max(turns))

    def is_kept(self, value: float) -> bool:
        """Whether it is what it should be."""
        return value >= (self.at_least or value) and value <= (self.at_most or value)


RATIOS: Final[Mapping[str, Ratio]] = {
    "small_submit_vs_bare": Ratio(
        "SMALL durable submit, 256 connections / bare handler", "small_submit_per_s", "small_bare_per_s", 0.40
    ),
    "small_e2e_vs_bare": Ratio(
        "SMALL completed over RabbitMQ, 256 connections / bare handler",
        "small_completed_per_s",
        "small_bare_per_s",
        0.40,
    ),
    "small_e2e_vs_textbook": Ratio(
        "the same / textbook pipeline with prefetch 64",
        "small_completed_per_s",
        "small_textbook_64_per_s",
        3.0,
    ),
    "small_e2e_vs_textbook_1": Ratio(
        "the same / textbook pipeline with prefetch 1", "small_completed_per_s", "small_textbook_1_per_s"
    ),
    "standard_submit_vs_orjson": Ratio(
        "STANDARD durable submit, 16 connections / bare handler with `orjson.loads`",
        "standard_submit_per_s",
        "standard_orjson_per_s",
        0.80,
    ),
    "standard_e2e_vs_json": Ratio(
        "STANDARD completed / bare handler with `json.loads`, no storage",
        "standard_completed_per_s",
        "standard_json_per_s",
        2.0,
    ),
    "get_vs_bare": Ratio("GET of a finished ECG / bare GET", "get_per_s", "get_bare_per_s", 0.85),
    "processor_cpu_vs_kernel": Ratio(
        "processor CPU per STANDARD / (read + decode + count alone)",
        "standard_processor_cpu_us",
        "standard_kernel_cpu_us",
        at_most=1.8,
    ),
    "small_submit_p99_ms": Ratio("p99 of submit at half of the SMALL capacity, ms", "small_submit_p99_ms"),
    "small_result_p99_ms": Ratio(
        "p99 of 202 to result readable at half of the SMALL capacity, ms", "small_result_p99_ms"
    ),
}


def figures_needed(only: str) -> set[str]:
    """The figures of all ratios whose key holds this."""
    chosen = [ratio for key, ratio in RATIOS.items() if only in key]
    return {figure for ratio in chosen for figure in (ratio.over, ratio.under) if figure}
