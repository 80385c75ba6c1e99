"""The previous release, unpacked from the history of this repository to run beside this one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final, NamedTuple

_ROOT: Final = Path(__file__).parents[2]


class Release(NamedTuple):
    """A release.

    Attributes:
        name: What it calls itself.
        commit: Where it is, for a tag does not travel with every copy of the history.
        schema: The newest schema that it knows.
    """

    name: str
    commit: str
    schema: int


# The last minor release. On a new one, change this, and `OLDEST_SCHEMA` to its schema.
RELEASE_BEFORE: Final = Release("0.1.0", "071960aac0daad35fb40917a38c22df33addd31c", 8)


def file_of(release: Release, path: str) -> str:
    """A file as it was in the release.

    Raises:
        FileNotFoundError: As of ``unpack``.
    """
    return _git(release, "show", f"{release.commit}:{path}").decode()


def unpack(release: Release, folder: Path) -> Path:
    """The folder, which holds the code of the release afterwards.

    Raises:
        FileNotFoundError: This copy of the repository lacks the commit, or has no history at all.
    """
    archive = _git(release, "archive", release.commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(release: Release, *arguments: str) -> bytes:
    git = subprocess.run(  # noqa: S603
        ["git", "-c", "safe.directory=*", "-C", str(_ROOT), *arguments],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if git.returncode:
        raise FileNotFoundError(
            f"release {release.name} is commit {release.commit}, which this copy of the repository lacks: "
            f"clone it with its history, or `git fetch --unshallow` (git: {git.stderr.decode().strip()})"
        )
    return git.stdout
