"""RabbitMQ with the insides of its libraries, and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.broker.rabbitmq import aiormq_internals

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Versions of the libraries that were not proven."""
    monkeypatch.setattr(aiormq_internals, "installed_versions", lambda: {"aiormq": "0"})
    aiormq_internals.is_proven.cache_clear()
    yield
    aiormq_internals.is_proven.cache_clear()


@pytest.fixture(params=["many_to_a_write", "one_by_one"])
def versions(request: pytest.FixtureRequest) -> None:
    """Versions that were proven, and others."""
    if request.param == "one_by_one":
        request.getfixturevalue("one_by_one")
