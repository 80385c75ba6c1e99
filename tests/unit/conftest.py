"""Unit tests need no server; hypothesis has no deadline, since the machine may be busy."""

from __future__ import annotations

from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("isoline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("isoline")


def _no_server() -> NoReturn:
    pytest.fail("a unit test needs no server; one that does belongs to tests/contracts, http or processor")


@pytest.fixture(scope="session")
def postgres_url() -> NoReturn:
    """No PostgreSQL."""
    _no_server()


@pytest.fixture(scope="session")
def amqp_url() -> NoReturn:
    """No RabbitMQ."""
    _no_server()
