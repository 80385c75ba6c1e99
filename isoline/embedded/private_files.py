"""Files of the embedded mode that only their owner can open: locks, logs, keys."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_OWNER_ONLY: Final = stat.S_IRUSR | stat.S_IWUSR


def open_private(path: Path) -> BinaryIO:
    """Open a file to append, read and lock; create it if it does not exist.

    Only its owner may open it; an existing file is closed to others, who could else lock it and have its
    owner wait for ever.

    Raises:
        OSError: It can't be opened.
    """
    file = open(path, "a+b", opener=_opened)  # noqa: SIM115 - the caller closes it
    with suppress(PermissionError):  # the file belongs to another user, who decides about its mode
        os.fchmod(file.fileno(), _OWNER_ONLY)
    return file


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)
