"""``isoline bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from isoline.cli import bench
from isoline.cli.app import app
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_in_a_checkout_it_is_the_program_of_the_benchmarks() -> None:
    result = CliRunner().invoke(app, ["bench", "scale", "--help"])

    assert result.exit_code == 0
    assert "--processors" in result.output


def test_elsewhere_one_sentence_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs a developer's checkout: clone"):
        bench._benchmarks(tmp_path)
