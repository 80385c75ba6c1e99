from __future__ import annotations

import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement

from tests.support.releases import RELEASE_BEFORE, file_of


def test_what_the_release_before_depends_on_is_installed() -> None:
    project = tomllib.loads(file_of(RELEASE_BEFORE, "pyproject.toml"))["project"]
    needed = [Requirement(it) for it in project["dependencies"]]

    assert [str(it) for it in needed if not it.specifier.contains(version(it.name))] == []
