from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import folders
from tests.support.servers.folders import has_room, remove_leftovers, server_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[3]
_OWNER = """
import sys
from pathlib import Path
from tests.support.servers import folders
folders._MEMORY = folders._DISK = Path(sys.argv[1])
with folders.server_folder() as folder:
    (folder / "data").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def killed_owner(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A test process in whose folder something lies, and which a test may kill."""
    command = [sys.executable, "-c", _OWNER, str(tmp_path)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip()), process
        process.kill()


def test_a_folder_is_open_to_the_servers_user_and_gone_afterwards() -> None:
    with server_folder() as folder:
        (folder / "data").mkdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755

    assert not folder.exists()


def test_a_folder_that_is_on_a_disk_is_not_taken_for_memory(tmp_path: Path) -> None:
    assert not has_room(tmp_path)


def test_memory_with_too_little_space_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_ENOUGH_BYTES", 2**62)

    with server_folder() as folder:
        assert folder.parent == folders._DISK


def test_what_a_killed_test_process_left_is_removed_by_the_next(
    killed_owner: tuple[Path, subprocess.Popen[str]],
) -> None:
    folder, process = killed_owner
    remove_leftovers(folder.parent)
    assert (folder / "data").exists(), "its owner lives"

    process.send_signal(signal.SIGKILL)
    process.wait(10)
    remove_leftovers(folder.parent)

    assert not folder.exists()
