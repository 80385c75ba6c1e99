from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from gateway.formats.dates import recording_date

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "date",
    [
        "2023-07-30",
        "20230730",
        "2023-W30-7",
        "2023W307",
        "2023-W30",
        "2023-211",
        "2023211",
        "2024-366",
        "2023-07-30T10",
        "2023-07-30T10:00",
        "2023-07-30T1000",
        "20230730T100000Z",
        "2023-07-30T10:00:00Z",
        "2023-07-30t10:00:00z",
        "2023-07-30 10:00:00",
        "2023-07-30T10:00:00.123456+02:00",
        "2023-07-30T10:00:00,5-0330",
        "2023-07-30T10:00:00.1234567890123+02",
        "2023-07-30T10:00.5",
        "2023-07-30T10,25Z",
        "2018-06-05 09:40:13 +0000",
        "2018-06-05 09:40:13 Z",
        "2018-06-05T09:40:13-00:00",
        "2023-07-30T24:00:00",
        "2023-07-30T24",
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60",
        "2017-01-01T08:59:60+09:00",
        "2016-12-31T18:29:60.5-0530",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_each_iso_8601_form_is_accepted_and_kept_as_sent(date: str) -> None:
    assert recording_date(date, now=_NOW) == date


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "30.07.2023",
        "2023-07",
        "202307",
        "2023",
        "2023-02-30",
        "2023-0730",
        "2023-00-01",
        "0000-01-01",
        "2023-000",
        "2023-366",
        "2023-W00",
        "2023-W53",
        "2023-W30-0",
        "2023-W30-8",
        "2023-W307",
        "2023-07-30T",
        "2023-07-30T25:00",
        "2023-07-30T10:60",
        "2023-07-30T10:00:61",
        "2023-07-30T10:0000",
        "2023-07-30T24:00:01",
        "2023-07-30T24:30",
        "2023-07-30T12:00:00:123",
        "2023-07-30T12:00:00.",
        "2023-07-30T12:00:00.123:4",
        "2023-07-30T12:00:00+24:00",
        "2023-07-30T12:00:00+02:60",
        "2023-07-30T12:00:00+02:00:30",
        "2023-07-30T12:00:00 +02:00 ",
        "2023-07-30T12:00:00ZZ",
        "2023-07-30Z",
        "2016-12-31T23:58:60Z",
        "2016-12-31T23:59:61Z",
        "2016-12-31T23:60:00Z",
        "2016-12-31T23:59:60+01:00",
        "2023-07-30x10:00",
        "2023-07-30\x0010:00",
        "2023-07-30\n",
        "\uff12\uff10\uff12\uff13-07-30",
        "2023-07-30T10:00:00." + "1" * 60,
    ],
)
def test_an_invalid_date_is_refused(date: str) -> None:
    with pytest.raises(PydanticCustomError, match="ISO 8601"):
        recording_date(date, now=_NOW)


@pytest.mark.parametrize(
    ("date", "is_accepted"),
    [
        ("2026-01-02", True),
        ("2026-01-02T00:00:00Z", True),
        ("2026-01-02T00:00:00.000001Z", False),
        ("20260102T01Z", False),
        ("2026-01-02T02:00:00+02:00", True),
        ("2026-01-01T23:59:59-00:01", False),
        ("2026-002", True),
        ("2026-003", False),
        ("2026-W01-5", True),
        ("2026-W01-6", False),
        ("2026-01-01T24:00", True),
        ("2026-01-01T23:59:60Z", True),
        ("9999-12-31T23:59:59-12:00", False),
    ],
)
def test_a_date_in_any_form_may_be_24_hours_ahead_and_no_more(date: str, *, is_accepted: bool) -> None:
    if is_accepted:
        assert recording_date(date, now=_NOW) == date
    else:
        with pytest.raises(PydanticCustomError, match="more than 24 hours ahead"):
            recording_date(date, now=_NOW)


_DAY = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "instant"),
    [
        ("2026-01-02", _DAY),
        ("20260102", _DAY),
        ("2026-W01", datetime(2025, 12, 29, tzinfo=UTC)),
        ("2026-W02-3", datetime(2026, 1, 7, tzinfo=UTC)),
        ("2026-005", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-02T03:30:45", _DAY.replace(hour=3, minute=30, second=45)),
        ("20260102T033045", _DAY.replace(hour=3, minute=30, second=45)),
        ("20260102T235959Z", _DAY.replace(hour=23, minute=59, second=59)),
        ("2026-01-02T03:30:00+01:30", _DAY.replace(hour=2)),
        ("2026-01-02T03:30 +0130", _DAY.replace(hour=2)),
        ("2026-01-02T03:30 -0130", _DAY.replace(hour=5)),
        ("2026-01-02T03 -01", _DAY.replace(hour=4)),
        ("2026-01-03T00:00 +2359", _DAY.replace(minute=1)),
        ("2026-01-02T03,5Z", _DAY.replace(hour=3, minute=30)),
        ("2026-01-02T03:30.5Z", _DAY.replace(hour=3, minute=30, second=30)),
        ("20260102T033045.25Z", _DAY.replace(hour=3, minute=30, second=45, microsecond=250_000)),
        ("20260102T03.9999999999Z", _DAY.replace(hour=3, minute=59, second=59, microsecond=999_999)),
        ("20260102T0330.9999999999Z", _DAY.replace(hour=3, minute=30, second=59, microsecond=999_999)),
        ("20260102T033045.9999999999Z", _DAY.replace(hour=3, minute=30, second=45, microsecond=999_999)),
        ("2026-01-01T24:00Z", _DAY),
        ("2026-01-01T23:59:60Z", _DAY),
        ("2026-01-01T23:59:60.5Z", _DAY.replace(microsecond=500_000)),
    ],
)
def test_it_is_the_instant_of_a_date_that_may_be_24_hours_ahead(date: str, instant: datetime) -> None:
    day, tick = timedelta(days=1), timedelta(microseconds=1)

    assert recording_date(date, now=instant - day) == date
    with pytest.raises(PydanticCustomError, match="more than 24 hours ahead"):
        recording_date(date, now=instant - day - tick)


def test_a_date_has_64_characters_at_the_most() -> None:
    longest = "2023-07-30T10:00:00.".ljust(64, "1")

    assert recording_date(longest, now=_NOW) == longest
    with pytest.raises(PydanticCustomError, match="ISO 8601"):
        recording_date(longest + "1", now=_NOW)


_OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(max_value=datetime(2025, 12, 30), timezones=st.one_of(st.none(), _OFFSETS)))  # noqa: DTZ001
def test_each_isoformat_of_python_is_accepted(moment: datetime) -> None:
    assert recording_date(moment.isoformat(), now=_NOW) == moment.isoformat()


@given(st.text("0123456789-:TWZ +.,", max_size=40))
def test_any_other_text_is_a_date_or_refused(text: str) -> None:
    with suppress(PydanticCustomError):
        assert recording_date(text, now=_NOW) == text
