"""Files of the embedded mode that are nobody else's: locks, logs, keys."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_OURS: Final = stat.S_IRUSR | stat.S_IWUSR


def open_private(path: Path) -> BinaryIO:
    """Open a file, which is made if there is none, to append to, read and lock.

    Only its owner may open it, also if it was made before and others could: who can read a file can lock it,
    and have its owner wait for ever.

    Raises:
        OSError: It can't be opened.
    """
    file = open(path, "a+b", opener=_opened)  # noqa: SIM115 - the caller closes it
    with suppress(PermissionError):  # another's file that we may write to: who else may is for them to say
        os.fchmod(file.fileno(), _OURS)
    return file


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, _OURS)
