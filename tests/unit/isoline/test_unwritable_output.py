"""Commands whose output can't be written end with one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[3]
_FULL: Final = Path("/dev/full")


def run(*arguments: str, output: Path) -> subprocess.CompletedProcess[str]:
    with output.open("w") as file:
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "isoline", *arguments],
            check=False,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            timeout=60,
        )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/file", "No such file or directory"),
        ("", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str, reason: str) -> None:
    file = tmp_path / name

    ended = run("openapi", "export", str(file), output=tmp_path / "printed")

    assert (ended.returncode, ended.stderr) == (1, f"can't use {file}: {reason}\n")


@pytest.mark.parametrize("arguments", [("openapi", "export"), ("openapi", "export", str(_FULL)), ("--help",)])
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, output=_FULL)

    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert ended.stderr.count("\n") == 1
