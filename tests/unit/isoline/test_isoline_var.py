"""The commands on an ISOLINE_VAR that can't be used: exit status 2 and one sentence."""

from __future__ import annotations

import re
import sys
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from isoline.cli.app import main
from isoline.embedded import all_in_one, private_files

if TYPE_CHECKING:
    from collections.abc import Callable

# Each command that uses the folder.
_COMMANDS: Final = ("embedded", "up", "down", "status", "create-admin", "user list", "keys rotate")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISOLINE_DATABASE_URL", "ISOLINE_TOKEN_KEY", "ISOLINE_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(all_in_one, "configure_logs", lambda *_: None)


@pytest.fixture
def sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str, Path], str]:
    """Runs a command on a folder; what it printed."""

    def run(command: str, var: Path) -> str:
        monkeypatch.setenv("ISOLINE_VAR", str(var))
        monkeypatch.setattr(sys, "argv", ["isoline", *command.split()])
        with pytest.raises(SystemExit) as exited:
            main()
        assert exited.value.code == 2
        return "".join(capfd.readouterr())

    return run


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_file_in_place_of_the_folder_is_named(
    sentence: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    var = tmp_path / "var"
    var.write_text("no folder\n")

    printed = sentence(command, var)

    assert re.fullmatch(rf"ISOLINE_VAR: can't use {var}(/\S+)?: Not a directory\n", printed)
    assert var.read_text() == "no folder\n"


@pytest.mark.parametrize("command", sorted({*_COMMANDS} - {"status"}))
def test_a_folder_that_can_not_be_made_is_named(sentence: Callable[[str, Path], str], command: str) -> None:
    printed = sentence(command, Path("/proc/none"))

    assert printed == "ISOLINE_VAR: can't use /proc/none: No such file or directory\n"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("isoline.log", "up"),
        ("turn.lock", "down"),
        ("embedded.json", "status"),
        ("embedded.json", "embedded"),
        ("postgres.log", "embedded"),
        ("postgres.lock", "user list"),
        ("token.key", "keys rotate"),
        ("token.new", "keys rotate"),
    ],
)
def test_a_folder_in_place_of_a_file_is_named(
    sentence: Callable[[str, Path], str], tmp_path: Path, name: str, command: str
) -> None:
    (tmp_path / name).mkdir()

    assert sentence(command, tmp_path) == f"ISOLINE_VAR: can't use {tmp_path / name}: Is a directory\n"


@pytest.mark.parametrize("command", ["embedded", "user list"])
def test_a_file_in_place_of_the_database_is_named(
    sentence: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "postgres").write_text("no database\n")

    printed = sentence(command, tmp_path)

    assert re.fullmatch(rf"ISOLINE_VAR: can't use {tmp_path / 'postgres'}(/\S+)?: Not a directory\n", printed)


def test_a_full_disk_is_named_by_a_start_whose_log_could_not_name_it(
    sentence: Callable[[str, Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_files, "TemporaryFile", lambda **_: FileIO("/dev/full", "r+"))

    assert sentence("up", tmp_path) == f"ISOLINE_VAR: can't use {tmp_path}: No space left on device\n"
