"""Which modules are mutated, and which tests hold each: the one place that knows both."""

from __future__ import annotations

from typing import Final, NamedTuple


class Module(NamedTuple):
    """A file, the part of Isoline that it belongs to, and its tests, the fastest first."""

    part: str
    path: str
    tests: tuple[str, ...]


_INSIGHTS: Final = ("tests/unit/processor/test_analysis.py", "tests/unit/insights/test_registry.py")
_DOMAIN: Final = ("tests/unit/domain",)
_STORE: Final = ("tests/contracts/test_store_contract.py", "tests/contracts/test_recording_store.py")
# What keeps a look-up one by its key is noticed by its plan alone.
_PLANS: Final = "tests/contracts/test_plans.py"
# That a dry run asks for what a real one does is noticed where a privilege is missing. One test and not its
# file, whose others change the settings of the server that all trials use.
_PRIVILEGES: Final = (
    "tests/contracts/test_postgres_administration.py::test_a_privilege_that_is_given_back_is_known_at_once"
)
_REFUSED_RESULT: Final = (
    "tests/contracts/test_postgres_administration.py"
    "::test_a_refused_result_is_remembered_by_checks_that_settle_nothing"
)
_DELIVERY_UNITS: Final = ("tests/unit/processor/deliveries",)
_SETTLING: Final = "tests/processor/test_settle.py"
_DELIVERY: Final = (
    *_DELIVERY_UNITS,
    _SETTLING,
    "tests/processor/test_circuit_breaker.py",
    "tests/processor",
)
_RELAY: Final = ("tests/unit/shared/test_relay.py", _SETTLING)
_LOGINS: Final = ("tests/contracts/test_accounts.py", "tests/http/test_logins.py")
_JSON: Final = ("tests/unit/gateway/formats/test_json_reader.py", "tests/http/test_bad_ecgs.py")
# Which bodies are read before they are refused.
_BACKLOG: Final = "tests/http/test_backlog.py"

MODULES: Final = (
    Module("domain", "shared/domain/account.py", ("tests/contracts/test_accounts.py",)),
    Module("domain", "shared/domain/catalogue.py", _INSIGHTS),
    Module("domain", "shared/domain/ecg.py", _DOMAIN),
    Module("domain", "shared/domain/errors.py", _DOMAIN),
    Module("domain", "shared/domain/findings.py", (*_DOMAIN, *_INSIGHTS)),
    Module("domain", "shared/domain/header.py", _DOMAIN),
    Module("domain", "shared/domain/insights.py", (*_DOMAIN, *_INSIGHTS)),
    Module("domain", "shared/domain/lead_names.py", _DOMAIN),
    Module(
        "domain",
        "shared/domain/recording.py",
        (
            *_DOMAIN,
            "tests/unit/shared/storage/signals/test_content_hash.py",
            "tests/unit/shared/storage/signals/test_stored_ecg.py",
        ),
    ),
    Module("insights", "processor/analysis.py", _INSIGHTS),
    Module(
        "insights",
        "processor/insights/zero_crossings.py",
        ("tests/unit/insights/test_zero_crossings.py", *_INSIGHTS),
    ),
    Module(
        "insights",
        "processor/insights/signal_warnings.py",
        ("tests/unit/insights/test_signal_warnings.py", "tests/unit/insights/test_zero_crossings.py"),
    ),
    Module("delivery", "processor/deliveries/settle.py", _DELIVERY),
    Module("delivery", "processor/deliveries/tracker.py", _DELIVERY),
    Module("delivery", "processor/deliveries/messages.py", _DELIVERY),
    Module("delivery", "processor/deliveries/isolation.py", _DELIVERY_UNITS),
    Module(
        "delivery",
        "processor/deliveries/circuit_breaker.py",
        (*_DELIVERY_UNITS, "tests/processor/test_circuit_breaker.py"),
    ),
    Module("delivery", "processor/deliveries/shielding.py", _DELIVERY_UNITS),
    Module("relay", "shared/publishing.py", ("tests/unit/shared/test_publishing.py", _SETTLING)),
    Module("relay", "shared/relay.py", _RELAY),
    Module("events", "shared/events.py", ("tests/unit/shared/test_events.py",)),
    Module("outbox", "shared/storage/postgres/outbox.py", ("tests/contracts/test_store_contract.py",)),
    Module(
        "submissions",
        "gateway/ecgs/submission_batcher.py",
        ("tests/http/test_submission_batcher.py",),
    ),
    Module("submissions", "shared/storage/postgres/submissions.py", (*_STORE, _PRIVILEGES, _PLANS)),
    Module("submissions", "shared/storage/postgres/ecgs.py", (*_STORE, _PLANS, _REFUSED_RESULT, _SETTLING)),
    Module("submissions", "shared/storage/postgres/recordings.py", (*_STORE, _PRIVILEGES)),
    Module(
        "submissions",
        "shared/storage/postgres/header_column.py",
        ("tests/contracts/test_header_column.py", *_STORE),
    ),
    Module("logins", "gateway/accounts/logins.py", _LOGINS),
    Module(
        "logins",
        "gateway/limits/login_throttle.py",
        ("tests/unit/gateway/limits/test_login_throttle.py", *_LOGINS),
    ),
    Module("logins", "gateway/http/client_address.py", ("tests/unit/gateway/http/test_client_address.py",)),
    Module("logins", "shared/storage/postgres/logins.py", _LOGINS),
    Module(
        "tokens",
        "gateway/auth/access_tokens.py",
        ("tests/unit/gateway/auth/test_access_tokens.py", "tests/http/test_access.py"),
    ),
    Module("tokens", "gateway/auth/authenticator.py", ("tests/unit/gateway/auth/test_authenticator.py",)),
    Module("tokens", "gateway/auth/database_clock.py", ("tests/unit/gateway/auth/test_database_clock.py",)),
    Module("tokens", "gateway/auth/token_cache.py", ("tests/unit/gateway/auth/test_authenticator.py",)),
    Module("tokens", "gateway/auth/revocations.py", ("tests/unit/gateway/test_background_refreshes.py",)),
    Module(
        "budgets",
        "gateway/http/memory/byte_budget.py",
        ("tests/unit/gateway/http/memory/test_byte_budget.py",),
    ),
    Module(
        "budgets",
        "gateway/http/memory/body_memory.py",
        ("tests/unit/gateway/http/memory/test_body_memory.py",),
    ),
    Module("readers", "gateway/formats/fields.py", _JSON),
    Module("readers", "gateway/formats/json_reader.py", (*_JSON, _BACKLOG)),
    Module(
        "readers",
        "gateway/formats/models.py",
        ("tests/unit/gateway/formats/test_models.py", *_JSON, "tests/http/test_binary.py"),
    ),
    Module("readers", "gateway/formats/json_fast_path.py", _JSON),
    Module(
        "readers",
        "gateway/formats/json_arrays.py",
        ("tests/unit/gateway/formats/test_json_arrays.py", *_JSON),
    ),
    Module("readers", "gateway/formats/dates.py", ("tests/unit/gateway/formats/test_dates.py",)),
    Module(
        "readers",
        "gateway/formats/binary_reader.py",
        ("tests/http/test_binary.py", _BACKLOG, "tests/http/test_body_budget.py"),
    ),
    Module(
        "readers",
        "gateway/formats/registry.py",
        ("tests/http/test_binary.py", "tests/http/test_bad_ecgs.py"),
    ),
    Module(
        "readers",
        "gateway/formats/spool.py",
        ("tests/unit/gateway/formats/test_spool.py", "tests/http/test_binary.py"),
    ),
)
