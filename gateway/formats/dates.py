"""The date of a recording: ISO 8601 in the forms that devices send."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from pydantic_core import PydanticCustomError

# The fast path: `datetime.fromisoformat` parses these in a tenth of the time. Alone it would accept too much:
# any character between date and time, 12:00:00:123 for a fraction and +02:60 for an offset.
_COMMON_FORM: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-5][0-9])?)?"
)
# Calendar, week and ordinal dates and times of ISO 8601-1:2019, extended or basic; RFC 3339's small letters,
# and the spaces of "2018-06-05 09:40:13 +0000".
_DATE: Final = re.compile(
    r"""(?P<year>[0-9]{4})
        (?: (?P<dash>-?)(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})
          | (?P<week_dash>-?)W(?P<week>[0-9]{2})(?:(?P=week_dash)(?P<weekday>[1-7]))?
          | -?(?P<ordinal>[0-9]{3})
        )
        (?: [Tt\ ]
            (?P<hour>[0-9]{2}) (?: (?P<colon>:?)(?P<minute>[0-9]{2}) (?: (?P=colon)(?P<second>[0-9]{2}) )? )?
            (?: [.,](?P<fraction>[0-9]+) )?
            (?: \ ?(?: [Zz] | (?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?: :?(?P<zone_minute>[0-9]{2}) )? ) )?
        )?""",
    re.VERBOSE,
)
_MAX_LENGTH: Final = 64
_CLOCK_TOLERANCE: Final = timedelta(hours=24)

_LAST_HOUR, _LAST_MINUTE, _LAST_SECOND = 23, 59, 59
_MINUTES_OF_DAY: Final = 24 * 60


def recording_date(value: str, *, now: datetime) -> str:
    """The date as it was sent.

    Raises:
        PydanticCustomError: It is no date, or too far ahead.
    """
    try:
        recorded = _instant(value)
    except (ValueError, OverflowError):
        raise PydanticCustomError("date", "expected an ISO 8601 date or date-time, e.g. 2023-07-30") from None
    if recorded > now + _CLOCK_TOLERANCE:
        raise PydanticCustomError("date_ahead", "this date is more than 24 hours ahead")
    return value


def _instant(value: str) -> datetime:
    """The instant of a date; without an offset it is in UTC, without a time it is midnight.

    Raises:
        ValueError: It is no date.
    """
    if _COMMON_FORM.fullmatch(value):
        try:
            common = datetime.fromisoformat(value)
        except ValueError:  # a leap second or midnight as 24:00, which it does not parse
            pass
        else:
            return common if common.tzinfo else common.replace(tzinfo=UTC)
    found = _DATE.fullmatch(value) if len(value) <= _MAX_LENGTH else None
    if found is None:
        raise ValueError("no date")
    zone = _zone(found)
    return datetime.combine(_day(found), datetime.min.time(), zone) + _time_of_day(found, zone)


def _day(found: re.Match[str]) -> date:
    year = int(found["year"])
    if found["month"]:
        return date(year, int(found["month"]), int(found["day"]))
    if found["week"]:
        return date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
    day = date(year, 1, 1) + timedelta(days=int(found["ordinal"]) - 1)
    if day.year != year:
        raise ValueError("no day of this year")
    return day


def _zone(found: re.Match[str]) -> timezone:
    hours, minutes = int(found["zone_hour"] or 0), int(found["zone_minute"] or 0)
    if hours > _LAST_HOUR or minutes > _LAST_MINUTE:
        raise ValueError("no offset")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if found["sign"] == "-" else offset)


def _time_of_day(found: re.Match[str], zone: timezone) -> timedelta:
    """Time since midnight; a fraction is of the smallest unit given, and truncated to microseconds."""
    hour, minute, second = (int(found[unit] or 0) for unit in ("hour", "minute", "second"))
    unit_us = 1_000_000 if found["second"] else 60_000_000 if found["minute"] else 3_600_000_000
    fraction = found["fraction"] or "0"
    fraction_us = int(fraction) * unit_us // 10 ** len(fraction)
    time = timedelta(hours=hour, minutes=minute, seconds=second, microseconds=fraction_us)
    is_end_of_day = hour == _LAST_HOUR + 1 and time == timedelta(days=1)
    if minute > _LAST_MINUTE or (hour > _LAST_HOUR and not is_end_of_day):
        raise ValueError("no time")
    if second > _LAST_SECOND and not (second == _LAST_SECOND + 1 and _is_leap(hour, minute, zone)):
        raise ValueError("no second")
    return time


def _is_leap(hour: int, minute: int, zone: timezone) -> bool:
    """Whether a 61st second may follow this minute: only 23:59 in UTC has one."""
    offset_minutes = zone.utcoffset(None) // timedelta(minutes=1)
    return (hour * 60 + minute - offset_minutes) % _MINUTES_OF_DAY == _MINUTES_OF_DAY - 1
