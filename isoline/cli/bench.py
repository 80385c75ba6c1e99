"""``isoline bench ...``: the benchmarks, which only a developer's checkout has."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer  # noqa: TC002 - typer reads the annotations of commands

import isoline
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

_PROGRAM: Final = "tests.programs.benchmarks.__main__"


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(
        "bench",
        context_settings={
            "allow_extra_args": True,
            "ignore_unknown_options": True,
            "help_option_names": [],  # the benchmarks explain themselves
        },
    )(bench)


def bench(context: typer.Context) -> None:
    """Measure: scale, simulate, growth, plans, soak (--help lists them). Needs a developer's checkout."""
    sys.exit(_benchmarks(Path(isoline.__file__).parents[1]).main(context.args))


def _benchmarks(root: Path) -> ModuleType:
    """The program of the benchmarks.

    Raises:
        ConfigurationError: This is no checkout, or libraries for development are missing.
    """
    if (root / "tests" / "programs" / "benchmarks").is_dir():
        try:
            return import_module(_PROGRAM)
        except ModuleNotFoundError as error:
            missing = f" ({error.name} is not installed)"
    else:
        missing = ""
    raise ConfigurationError(
        f"isoline bench needs a developer's checkout{missing}: clone the repository, run "
        "`make .venv/.dev rabbitmq wrk` in it, and then its .venv/bin/isoline bench."
    )
