"""Classify PostgreSQL's errors: who can mend them, and whether they affect the whole session."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg.exceptions import (
    ClientConfigurationError,
    InternalClientError,
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
    TargetServerAttributeNotMatched,
)

from shared.domain.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

# SQLSTATE classes and states, https://www.postgresql.org/docs/current/errcodes-appendix.html. Errors that
# neither time nor an operator mends are raised as they are: a syntax error, a wrong type, an unexpected
# constraint; also a damaged page (XX001), for the attempts of the ECG in it are counted.
_BY_OPERATOR: Final = (
    "0P",  # no such role
    "22P05",  # the database is not UTF-8 and has no place for a character
    "28",  # a password, a role, or a line of pg_hba.conf
    "3D",  # no such database
    "3F",  # no such schema
    "42501",  # a privilege
    "42704",  # a role that was dropped under its session
    "42P01",  # a table that a pending migration will bring, or that is not in the search path
    "42703",  # a column that a pending migration will bring; of a schema that we know it is a defect
    "F0",  # the server's own configuration
)
_BY_TIME: Final = (
    "08",  # the connection
    "25006",  # read-only
    "25P03",  # idle for too long within a transaction
    "25P04",  # too long a transaction
    "26",  # a prepared statement that was dropped: DISCARD ALL, a pooler
    "40",  # rolled back
    "42P05",  # a prepared statement of another client of a pooler
    "53",  # disk, memory, connections, limits
    "55",  # locks, and objects in another state
    "57",  # an operator cancelled, ended or started something, or a time limit did
    "58",  # the system around PostgreSQL
    "XX000",  # what concurrent administration does to a statement
    "XX002",  # a damaged index
)

# Missing, or only out of sight: a role sees no table of a schema that it may not use or does not look into.
_OF_SCHEMA: Final = {"42P01", "42703"}
_HELP_OF_SCHEMA: Final = "run `isoline migrate`, or give the role its search_path and rights"

# The library's own words are of its state machine and of its pool.
_LOST: Final = "the connection was lost"
_ATTRIBUTES: Final = (
    "target_session_attrs, or PGTARGETSESSIONATTRS, is none of any, primary, standby, prefer-standby, "
    "read-only and read-write"
)
OTHER_ATTRIBUTES: Final = "it is not what target_session_attrs of the URL asks for"

# Errors of one statement: of its data, its timing, or the server's state. Any other may affect the session:
# read-only, a role, a setting, a search path, prepared statements.
_OF_STATEMENT: Final = ("22", "23", "40", "53100", "53200", "58", "XX")

# Errors that only a statement with data may meet: a row policy, the disk, memory, the system. A commit that
# waits for a lost standby times out.
_OF_WRITING: Final = ("42501", "53100", "53200", "53400", "58", "XX")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the library's errors that time or an operator mends into `UnavailableError`.

    Raises:
        ConfigurationError: The URL is invalid.
    """
    try:
        yield
    except Exception as error:
        failure = translated(error)
        if failure is None:
            raise
        raise failure from error


def translated(
    error: Exception, *, is_lost: bool = False, is_connecting: bool = False
) -> UnavailableError | ConfigurationError | None:
    """The error in our words; None for a defect.

    Args:
        error: What the library raised.
        is_lost: Whether the connection is closed by now; if not, an `InterfaceError` is a defect.
        is_connecting: Whether there is no connection yet, so that no statement of ours is the cause.
    """
    match error:
        case ClientConfigurationError():
            return ConfigurationError(f"ISOLINE_DATABASE_URL: {_describe_setting(error)}")
        case asyncpg.PostgresError():
            return _of_server(error, error.sqlstate or "", is_connecting=is_connecting)
        case asyncpg.DataError():
            return None
        case asyncpg.InterfaceError() if is_lost or is_connecting:
            return UnavailableError(f"PostgreSQL: {_LOST if is_lost else error}")
        case InternalClientError() | OSError():  # TimeoutError is an OSError
            return UnavailableError(f"PostgreSQL: {_describe(error)}", needs_operator=_is_for_operator(error))
        case _:
            return None


def is_session_error(error: Exception) -> bool:
    """Whether the next statement on this connection may meet the same error."""
    match error:
        case InternalClientError() | InvalidCachedStatementError():
            return True
        case asyncpg.PostgresError():
            return not (error.sqlstate or "").startswith(_OF_STATEMENT)
        case _:
            return False


def may_succeed_without_data(error: Exception) -> bool:
    """Whether the same statement may succeed when it writes nothing, so that a check misses the error."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        # A privilege that is missing stops every statement; a policy of rows only one with a row.
        is_privilege = getattr(error, "server_source_function", None) == "aclcheck_error"
        return state.startswith(_OF_WRITING) and not is_privilege
    return isinstance(error, TimeoutError)


def _describe_setting(error: ClientConfigurationError) -> str:
    message = str(error)
    # asyncpg's own message about these names an object in memory.
    return _ATTRIBUTES if message.startswith("target_session_attrs") else message


def _of_server(error: asyncpg.PostgresError, state: str, *, is_connecting: bool) -> UnavailableError | None:
    needs_operator = state.startswith(_BY_OPERATOR) or (is_connecting and not state.startswith(_BY_TIME))
    is_passing = state.startswith(_BY_TIME) or isinstance(error, InvalidCachedStatementError)
    if not (needs_operator or is_passing):
        return None
    # The first line only: the rest may quote a row.
    reason = str(error.args[0] if error.args else error).partition("\n")[0]
    hint = f"; {_HELP_OF_SCHEMA}" if state in _OF_SCHEMA else ""
    return UnavailableError(f"PostgreSQL: {reason} ({state}){hint}", needs_operator=needs_operator)


def _describe(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case TargetServerAttributeNotMatched():
            return OTHER_ATTRIBUTES
        case InternalClientError() if not isinstance(error, OutdatedSchemaCacheError):
            return _LOST
        case socket.gaierror():
            return f"the host's name: {error.strerror}"
        case FileNotFoundError() | PermissionError():
            return f"a socket or certificate that the URL names: {error.strerror}"
        case _:
            return str(error) or type(error).__name__


def _is_for_operator(error: Exception) -> bool:
    """Whether a failure to connect comes from the settings: a host name, or TLS."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_NONAME
    # ConnectionError itself is asyncpg's for TLS.
    return isinstance(error, ssl.SSLError | TargetServerAttributeNotMatched) or type(error) is ConnectionError
