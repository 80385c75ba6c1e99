"""What was measured, for the terminal, for ``var/bench`` and for docs/performance.md."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import orjson

from tests.programs.benchmarks.ratios import RATIOS, Ratio, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.programs.benchmarks.ratios import Series

_ROOT: Final = Path(__file__).parents[3]
_RATIOS_FOLDER: Final = _ROOT / "var" / "bench"
_PAGE: Final = _ROOT / "docs" / "performance.md"
_BEGIN: Final = "<!-- make bench writes from here -->\n"
_END: Final = "<!-- to here -->\n"


def print_figures(turn: str, figures: Mapping[str, float]) -> None:
    """Print one line of figures, as soon as they were measured."""
    told = ", ".join(f"{name} {number(value)}" for name, value in figures.items())
    print_line(f"{turn}: {told}")


def print_line(sentence: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def print_table_head(*columns: str) -> None:
    """Begin a Markdown table of numbers."""
    print_line(f"\n| {' | '.join(columns)} |\n| {' | '.join(['---:'] * len(columns))} |")


def print_row(*values: float) -> None:
    """Go on with it, as soon as there is a row."""
    print_line(f"| {' | '.join(map(number, values))} |")


def number(value: float) -> str:
    """A number with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def tables(series: Series) -> str:
    """Ratios, and the figures that they are made of, in Markdown."""
    return "\n".join([*_ratio_rows(series), "", *_figure_rows(series)])


def write_ratios(series: Series, *, only: str, is_quick: bool) -> None:
    """Write the ratios under their keys: ``latest.json`` when everything was measured."""
    _RATIOS_FOLDER.mkdir(parents=True, exist_ok=True)
    spreads = {key: spread for key, ratio in RATIOS.items() if (spread := ratio.of(series))}
    document = {
        **{key: spread.median for key, spread in spreads.items()},
        "spread": {key: [spread.smallest, spread.largest] for key, spread in spreads.items()},
        "figures": {name: {"median": median(values), "turns": values} for name, values in series.items()},
        "run": {"at": datetime.now(UTC), "only": only, "quick": is_quick, **machine()},
    }
    file = _RATIOS_FOLDER / f"{only or 'latest'}.json"
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print_line(f"\n{file.relative_to(_ROOT)} was written")


def write_page(series: Series) -> None:
    """Put the tables into docs/performance.md, between its markers."""
    told = ", ".join(f"{name} {value}" for name, value in machine().items())
    before, begin, rest = _PAGE.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{begin}\n{tables(series)}\n\nMeasured with {told}.\n{end}{after}")
    print_line(f"{_PAGE.relative_to(_ROOT)} was written")


def machine() -> dict[str, object]:
    """Where it was measured."""
    libraries = {name: version(name) for name in ("aiohttp", "aio-pika", "asyncpg", "uvloop", "numpy")}
    return {"cores": os.cpu_count(), "python": platform.python_version(), **libraries}


def _ratio_rows(series: Series) -> list[str]:
    rows = ["| ratio | median | smallest | largest | wanted |", "| --- | ---: | ---: | ---: | ---: |"]
    for key, ratio in RATIOS.items():
        spread = ratio.of(series)
        if spread:
            rows.append(_ratio_row(key, ratio, spread))
    return rows


def _ratio_row(key: str, ratio: Ratio, spread: Spread) -> str:
    wanted = f">= {ratio.at_least}" if ratio.at_least else f"<= {ratio.at_most}" if ratio.at_most else ""
    missed = "" if ratio.is_kept(spread.median) else " **missed**"
    numbers = " | ".join(f"{value:.2f}" for value in spread)
    return f"| {ratio.what} (`{key}`) | {numbers} | {wanted}{missed} |"


def _figure_rows(series: Series) -> list[str]:
    rows = ["| figure | median | smallest | largest |", "| --- | ---: | ---: | ---: |"]
    return rows + [_figure_row(name, values) for name, values in series.items()]


def _figure_row(name: str, values: Sequence[float]) -> str:
    numbers = " | ".join(map(number, (median(values), min(values), max(values))))
    return f"| {name.replace('_', ' ')} | {numbers} |"
