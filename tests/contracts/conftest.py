"""The ways of publishing to RabbitMQ."""

from __future__ import annotations

import pytest

from shared.broker import rabbitmq_publisher


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions of the libraries for which publishing many to a write was not proven."""
    monkeypatch.setattr(rabbitmq_publisher, "installed_versions", lambda: {"aiormq": "0"})
