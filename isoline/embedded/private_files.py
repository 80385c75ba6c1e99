"""Files of the embedded mode that only their owner can open: locks, logs, keys.

They are in the folder ISOLINE_VAR: what the file system refuses there is a sentence about that setting.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_OWNER_ONLY: Final = stat.S_IRUSR | stat.S_IWUSR
_BLOCK_BYTES: Final = 4096
# A write or a lock that fails names no file.
_UNNAMED: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ENOLCK})


@contextmanager
def isoline_var_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about this path, or about one above or below it, into a sentence about ISOLINE_VAR.

    Raises:
        ConfigurationError: The path can't be used; names the reason.
    """
    try:
        yield
    except OSError as error:
        if not _is_about(error, path):
            raise
        # A folder can't be made where there is a file.
        reason = os.strerror(errno.ENOTDIR) if isinstance(error, FileExistsError) else error.strerror
        raise ConfigurationError(f"ISOLINE_VAR: can't use {error.filename or path}: {reason}") from None


def _is_about(error: OSError, path: Path) -> bool:
    if error.filename is None:
        return error.errno in _UNNAMED
    named = Path(error.filename)
    return named.is_relative_to(path) or path.is_relative_to(named)


def make_folder(path: Path) -> None:
    """Make the folder unless it exists.

    Raises:
        ConfigurationError: It can't be made, or there is a file of that name.
    """
    with isoline_var_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def check_disk_space(folder: Path) -> None:
    """Return if a block can be written in the folder.

    Raises:
        ConfigurationError: It can't; the disk is full, for instance.
    """
    with isoline_var_errors(folder), TemporaryFile(buffering=0, dir=folder) as file:
        file.write(bytes(_BLOCK_BYTES))


def open_private(path: Path) -> BinaryIO:
    """Open a file to append, read and lock; create it if it does not exist.

    Only its owner may open it; an existing file is closed to others, who could else lock it and have its
    owner wait for ever.

    Raises:
        ConfigurationError: It can't be opened.
    """
    with isoline_var_errors(path):
        file = open(path, "a+b", opener=_open_regular)  # noqa: SIM115 - the caller closes it
        with suppress(PermissionError):  # the file belongs to another user, who decides about its mode
            os.fchmod(file.fileno(), _OWNER_ONLY)
        return file


def open_existing(path: Path) -> BinaryIO | None:
    """Open a file to read and lock; None if it does not exist.

    Raises:
        ConfigurationError: It can't be opened.
    """
    with isoline_var_errors(path):
        try:
            return open(path, "rb", opener=_open_regular)
        except FileNotFoundError:
            return None


def replace_private(path: Path, content: bytes) -> None:
    """Write a file atomically, readable by its owner alone.

    Raises:
        ConfigurationError: It can't be written.
    """
    make_folder(path.parent)
    unfinished = path.with_suffix(".new")
    with isoline_var_errors(path.parent):
        unfinished.unlink(missing_ok=True)
        with open_private(unfinished) as file:
            file.write(content)
        unfinished.replace(path)


def _open_regular(path: str, flags: int) -> int:
    # Opening a named pipe for reading would block for ever.
    descriptor = os.open(path, flags | os.O_NONBLOCK, _OWNER_ONLY)
    if stat.S_ISREG(mode := os.fstat(descriptor).st_mode) or stat.S_ISDIR(mode):
        return descriptor  # `open` itself refuses a folder
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)
