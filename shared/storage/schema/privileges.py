"""The privileges that each service needs in PostgreSQL, and the SQL that grants these and no others.

Tables are named whole where a service writes whole rows, so that a column that a migration adds needs no new
grant. Columns are named where the rest of a row is no business of the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_OF_ALL: Final = {
    "_pogo_migration": "SELECT",
    "schema_compatibility": "SELECT",
    "installation": "SELECT",
}

# By service and table. A row lock (FOR NO KEY UPDATE) needs UPDATE of any column.
PRIVILEGES: Final[Mapping[Service, Mapping[str, str]]] = {
    Service.GATEWAY: _OF_ALL
    | {
        "account": "SELECT, INSERT, UPDATE (password_hash, roles, version, changed_at, deleted_at)",
        "login": "SELECT, INSERT, UPDATE (token_hash), DELETE",
        "api_key": "SELECT, INSERT, UPDATE (last_used_at), DELETE",
        "ecg": (
            "SELECT, INSERT, UPDATE (generation, status, attempts, claimed_by, republished, due_at, error, "
            "content_hash, num_samples, traceparent, submitted_at, finished_at)"
        ),
        "ecg_signal": "SELECT, INSERT, DELETE",
        "ecg_insights": "SELECT, DELETE",
        "recording": "SELECT, INSERT, UPDATE (row)",
        "recording_part": "INSERT",
        "outbox": "SELECT, INSERT, UPDATE (event_ids, types, bodies), DELETE",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        "attempt": "SELECT, DELETE",
        "event_log": "SELECT, INSERT",
        "event_log_start": "SELECT",
        "webhook": (
            "SELECT, INSERT, UPDATE (url, description, types, secret, previous_secret, "
            "previous_secret_until, is_enabled, disabled_at, disabled_reason, failures, failing_since, "
            "resume_at), DELETE"
        ),
        "webhook_delivery": "SELECT, INSERT, UPDATE (state, due_at, give_up_at), DELETE",
    },
    Service.PROCESSOR: _OF_ALL
    | {
        "ecg": "SELECT, UPDATE (status, attempts, claimed_by, republished, due_at, error, finished_at)",
        "ecg_signal": "SELECT",
        # Webhooks send events, with their results.
        "ecg_insights": "SELECT (row, generation, document, past_error), INSERT",
        "recording": "SELECT",
        "recording_part": "SELECT",
        "outbox": "SELECT, INSERT, UPDATE (event_ids, types, bodies, republished, due_at), DELETE",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        # A round of the retention, and its record.
        "retention": "SELECT, UPDATE (next_at, after_row, pruned)",
        "operation": "INSERT",
        "attempt": "SELECT, INSERT",
        "throughput": "SELECT, INSERT, UPDATE, DELETE",
        "intake": "SELECT",
        "event_log": "SELECT, INSERT",
        "event_log_start": "SELECT",
        "account": "SELECT (name, roles, deleted_at)",
        "webhook": (
            "SELECT, UPDATE (after_xid, after_place, since, failures, failing_since, last_error, resume_at, "
            "last_delivered_at, is_enabled, disabled_at, disabled_reason, lease, leased_until)"
        ),
        "webhook_delivery": "SELECT, INSERT, UPDATE, DELETE",
    },
    Service.OPERATOR: _OF_ALL
    | {
        "ecg": (
            "SELECT, "
            "UPDATE (generation, status, attempts, claimed_by, republished, due_at, error, finished_at)"
        ),
        # No result can be read, and none be written: the trigger `generation_is_kept` has the owner's rights.
        "ecg_insights": "SELECT (row, generation, past_error, past_finished_at)",
        # Bodies of events hold results.
        "outbox": "SELECT (event_ids, republished, due_at, created_at)",
        "operation": "SELECT, INSERT",
        "process": "SELECT",
        "attempt": "SELECT, INSERT",
        "throughput": "SELECT",
        "intake": "SELECT, INSERT, UPDATE",
        "webhook": "SELECT (is_enabled, failing_since, last_error, disabled_reason)",
        "webhook_delivery": "SELECT",
    },
    # What `deploy/kubernetes` asks, and `isoline ops backlog` too: how many are queued, and for how long.
    Service.SCALER: {"ecg": "SELECT (due_at, submitted_at, generation)"},
}

# They run with the rights of the tables' owner, and are all that these services may delete of finished ECGs.
_PRUNE: Final = (
    "prune_ecgs(timestamptz, bigint, integer, bigint, boolean)",
    "prune_signals(timestamptz, integer)",
    "drop_signal_partition()",
    "prune_records()",
)
FUNCTIONS: Final[Mapping[Service, tuple[str, ...]]] = {
    Service.PROCESSOR: (
        *_PRUNE,
        "extend_signal_partitions(bigint, integer)",
        "extend_event_log()",
        "drop_event_log(integer)",
    ),
    Service.OPERATOR: _PRUNE,
}

TABLES: Final = sorted({table for tables in PRIVILEGES.values() for table in tables})
# Identity columns need no privilege; `deploy/compose` once granted their sequences.
_SEQUENCES: Final = ("ecg_row_seq", "operation_row_seq", "recording_id_seq")


def grant_statements(roles: Mapping[str, set[Service]]) -> list[str]:
    """The SQL after which each role has the privileges of its services, and no others on our tables.

    It belongs into one transaction, executed as the owner of the tables: sessions see all of it or nothing.

    Args:
        roles: The services of each role, by its name.
    """
    return [statement for role, services in roles.items() for statement in _statements(role, services)]


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _statements(role: str, services: set[Service]) -> Iterator[str]:
    grantee = quoted(role)
    for kind, names in ("TABLE", TABLES), ("SEQUENCE", _SEQUENCES):
        yield f"REVOKE ALL ON {kind} {', '.join(f'public.{name}' for name in names)} FROM {grantee}"
        yield f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON {kind}S FROM {grantee}"
    functions = sorted({name for names in FUNCTIONS.values() for name in names})
    yield f"REVOKE ALL ON FUNCTION {', '.join(f'public.{name}' for name in functions)} FROM {grantee}"
    # Where the database does not belong to who executes this, PostgreSQL warns and goes on.
    yield (
        "DO $do$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), "
        f"{_literal(role)}); END $do$"
    )
    yield f"GRANT USAGE ON SCHEMA public TO {grantee}"
    for service in sorted(services):
        for table, privileges in PRIVILEGES[service].items():
            yield f"GRANT {privileges} ON TABLE public.{table} TO {grantee}"
        for function in FUNCTIONS.get(service, ()):
            yield f"GRANT EXECUTE ON FUNCTION public.{function} TO {grantee}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
