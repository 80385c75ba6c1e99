from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from isoline.embedded.all_in_one import write_key
from isoline.embedded.private_files import (
    isoline_var_errors,
    make_folder,
    open_existing,
    open_private,
    replace_private,
)
from isoline.embedded.state import hold_state, read_state
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with open_private(tmp_path / "a.lock"):
            pass
        with hold_state(tmp_path):
            write_key(tmp_path / "token.key", "key")
    finally:
        os.umask(umask)

    assert {path.name: mode(path) for path in tmp_path.iterdir()} == {
        "a.lock": 0o600,
        "embedded.json": 0o600,
        "token.key": 0o600,
    }


def test_a_file_that_others_could_open_is_closed_to_them_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "postgres.log"
    path.write_text("a line\n")
    path.chmod(0o644)

    with open_private(path) as file:
        assert file.tell() == len("a line\n")
        file.write(b"another\n")

    assert mode(path) == 0o600
    assert path.read_text() == "a line\nanother\n"


def test_anothers_file_that_we_may_write_to_stays_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refuse)

    with open_private(tmp_path / "a.lock") as file:
        assert file.writable()


@pytest.mark.parametrize(
    "path", [Path("/proc/none"), Path("/proc/none/below"), Path("/dev/null"), Path("x" * 300)]
)
def test_a_folder_that_can_not_be_made_is_an_error_of_the_setting(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^ISOLINE_VAR: can't use \S+: \w"):
        make_folder(path)


@pytest.mark.parametrize("use", [open_private, open_existing, read_state])
def test_a_folder_of_another_user_is_an_error_of_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], object]
) -> None:
    def refuse(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)  # root is refused nothing

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(
        ConfigurationError, match=rf"^ISOLINE_VAR: can't use {tmp_path}\S*: Permission denied$"
    ):
        use(tmp_path)


@pytest.mark.parametrize("use", [open_private, open_existing])
def test_a_named_pipe_does_not_block(tmp_path: Path, use: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "token.key")

    with pytest.raises(ConfigurationError, match=r"token\.key: not a regular file$"):
        use(tmp_path / "token.key")


def test_a_full_disk_is_an_error_of_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(
            ConfigurationError, match=rf"^ISOLINE_VAR: can't use {tmp_path}: No space left on device$"
        ),
        isoline_var_errors(tmp_path),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"key")


def test_errors_of_other_files_are_not_those_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), isoline_var_errors(tmp_path):
        Path("/proc/none").read_bytes()
    with pytest.raises(ConnectionRefusedError), isoline_var_errors(tmp_path):
        raise ConnectionRefusedError(111, "Connection refused")


def test_a_file_that_is_replaced_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "made" / "token.key"
    assert open_existing(path) is None

    for content in (b"a long key", b"key"):
        replace_private(path, content)

        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
