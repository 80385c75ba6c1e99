"""Mutants that no test can tell from the original, each with the reason, in ``equivalents.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.programs.mutants.mutant import Mutant

_LIST: Final = Path(__file__).with_name("equivalents.toml")


def read_equivalents() -> dict[tuple[str, str, str], str]:
    """The reason of each that is listed, by `Mutant.key`: files and lines move."""
    listed = tomllib.loads(_LIST.read_text()).get("equivalent", [])
    return {(each["in"], each["was"], each["now"]): each["because"] for each in listed}


def unknown_equivalents(mutants: Iterable[Mutant]) -> list[tuple[str, str, str]]:
    """Those that are listed and are no mutants (any more)."""
    return sorted(read_equivalents().keys() - {mutant.key for mutant in mutants})
