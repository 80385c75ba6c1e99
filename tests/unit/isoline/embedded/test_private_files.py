from __future__ import annotations

import os
from typing import TYPE_CHECKING

from isoline.embedded.all_in_one import write_key
from isoline.embedded.private_files import open_private
from isoline.embedded.state import hold_state

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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
