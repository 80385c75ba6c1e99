"""Rules of requests beyond JSON Schema, as hooks for schemathesis, which loads this file by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

from gateway.ecgs.query_parameters import encode_cursor
from gateway.events.query_parameters import LATEST
from gateway.ops.query_parameters import encode_position
from gateway.webhooks.query_parameters import encode_cursor as encode_delivery_cursor
from shared.ports.operators.finished_ecgs import FinishedPosition
from shared.ports.owned_ecgs import PagePosition
from tests.support.builders import a_binary_ecg, an_ecg_body

_LONGEST_NAME: Final = 32
_LAST_DAY: Final = date(2024, 12, 31)
# A schema can't say which bytes are an ECG.
_BYTES: Final = a_binary_ecg(an_ecg_body(id="bytes"))

# A recording's date is not ahead, and a cursor is one that a page has given.
_DATES: Final = st.dates(max_value=_LAST_DAY)
_TIMES: Final = st.datetimes(max_value=datetime(2024, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
schemathesis.openapi.format("date", _DATES.map(str))
schemathesis.openapi.format("date-time", _TIMES.map(datetime.isoformat))
schemathesis.openapi.format(
    "isoline-cursor",
    st.builds(PagePosition, _TIMES, st.from_regex("[a-z0-9]{1,9}", fullmatch=True)).map(encode_cursor),
)
schemathesis.openapi.format(
    "isoline-finished-cursor",
    st.builds(FinishedPosition, _TIMES, st.integers(1, 2**63 - 1)).map(encode_position),
)
# A cursor of the log names one of this database; only `latest` is of each.
schemathesis.openapi.format("isoline-log-cursor", st.just(LATEST))
schemathesis.openapi.format("isoline-delivery-cursor", st.integers(0, 2**63 - 1).map(encode_delivery_cursor))
# The only URLs that requests have are those of webhooks, and few URLs are allowed there.
schemathesis.openapi.format(
    "uri", st.from_regex("https://[a-z]{1,9}[.]example/[a-z0-9]{0,9}", fullmatch=True)
)


@schemathesis.hook
def map_case(_: Any, case: Any) -> Any:
    """Fix bodies that are valid only by the schema; deliberately invalid ones stay as they are."""
    is_good = case.meta is not None and case.meta.generation.mode.is_positive
    if is_good and case.media_type == "application/octet-stream":
        case.body = _BYTES
    if is_good and isinstance(case.body, dict):
        case.body = _integral(case.body)
    if is_good and case.operation.path == "/ecg/process" and isinstance(case.body, dict):
        for index, lead in enumerate(case.body["leads"]):
            _mend(lead, index)
    if is_good and case.operation.path == "/webhook" and isinstance(case.body, dict):
        _begin_in_the_past(case.body)
    return case


def _mend(lead: dict[str, Any], index: int) -> None:
    """Give a lead a unique printable name and the true length."""
    printable = "".join(character for character in lead["name"] if character.isprintable())
    lead["name"] = f"{index} {printable}"[:_LONGEST_NAME]
    if lead.get("num_samples") is not None:
        lead["num_samples"] = len(lead["signal"])


def _begin_in_the_past(webhook: dict[str, Any]) -> None:
    """Not beside a cursor, and not at a time to come, as the expiries of keys are that were in responses."""
    if isinstance(webhook.get("since"), str):
        webhook.pop("after", None)
        webhook["since"] = min(webhook["since"], f"{_LAST_DAY}T00:00:00Z")


def _integral(value: Any) -> Any:
    """Integers as such: to JSON Schema 1.0 is one."""
    if isinstance(value, dict):
        return {name: _integral(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_integral(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
