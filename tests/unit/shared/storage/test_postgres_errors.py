"""What PostgreSQL and poolers say of themselves is a temporary unavailability, with their words."""

from __future__ import annotations

import asyncpg
import pytest

from shared.domain.errors import UnavailableError
from shared.storage.pool.errors import translated


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("08P01", "no more connections allowed (max_client_conn)"),
        ("08P01", "query_wait_timeout"),
        ("08P01", "server login has been failing, try again later (server_login_retry)"),
        ("08P01", "pgbouncer cannot connect to server"),
        ("25006", "cannot execute INSERT in a read-only transaction"),
        ("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"),
        ("57P01", "terminating connection due to administrator command"),
        ("57P02", "terminating connection because of crash of another server process"),
        ("57P03", "the database system is starting up"),
        ("57P05", "terminating connection due to idle-session timeout"),
    ],
)
@pytest.mark.parametrize("is_connecting", [True, False])
def test_a_server_or_pooler_that_is_busy_read_only_or_leaving_is_unavailable_by_its_own_words(
    state: str, message: str, *, is_connecting: bool
) -> None:
    error = asyncpg.PostgresError.new({"S": "FATAL", "C": state, "M": message})

    failure = translated(error, is_connecting=is_connecting)

    assert isinstance(failure, UnavailableError)
    assert str(failure) == f"PostgreSQL: {message} ({state})"
    assert not failure.needs_operator
