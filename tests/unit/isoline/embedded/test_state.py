from __future__ import annotations

import fcntl
import threading
from typing import TYPE_CHECKING

import pytest

from isoline.embedded.private_files import open_private
from isoline.embedded.state import EmbeddedState, hold_state, read_state
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_state_is_read_while_it_is_held_and_not_after(tmp_path: Path) -> None:
    state = EmbeddedState(7, "http://0.0.0.0:8080", "postgresql:///isoline", is_local=False)
    with hold_state(tmp_path) as write:
        before = read_state(tmp_path)
        write(state)
        held = read_state(tmp_path)

    assert before is None
    assert held == state
    assert read_state(tmp_path) is None


def test_reading_the_state_does_not_keep_a_process_from_starting(tmp_path: Path) -> None:
    with open_private(tmp_path / "embedded.json") as asked:
        fcntl.flock(asked, fcntl.LOCK_EX)
        answered = threading.Timer(0.1, fcntl.flock, (asked, fcntl.LOCK_UN))
        answered.start()

        with hold_state(tmp_path):
            answered.join()


def test_two_do_not_run_in_one_folder(tmp_path: Path) -> None:
    with hold_state(tmp_path), pytest.raises(ConfigurationError, match="runs already"), hold_state(tmp_path):
        pass
