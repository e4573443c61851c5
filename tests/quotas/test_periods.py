"""Days and months in a person's zone, over changing clocks and moving persons."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotas.models import LimitType
from quotas.periods import SHORTEST_DAY, SHORTEST_MONTH, period

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from(sorted(available_timezones()))
KINDS = st.sampled_from(LimitType.values)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "now", "zone", "start", "end"),
    [
        ("daily", "2026-03-10T12:00", "UTC", "2026-03-10T00:00", "2026-03-11T00:00"),
        ("daily", "2026-03-10T00:00", "UTC", "2026-03-10T00:00", "2026-03-11T00:00"),
        ("daily", "2026-03-10T20:00", "Asia/Tokyo", "2026-03-10T15:00", "2026-03-11T15:00"),
        ("demo", "2026-03-29T12:00", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("demo", "2026-10-25T12:00", "Europe/Berlin", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("fair_use", "2026-03-10T18:29", "Asia/Kolkata", "2026-03-09T18:30", "2026-03-10T18:30"),
        ("monthly", "2026-02-28T23:59", "UTC", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("monthly", "2026-03-15T00:00", "Europe/Berlin", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("monthly", "2026-12-31T12:00", "Pacific/Kiritimati", "2026-12-31T10:00", "2027-01-31T10:00"),
    ],
)
def test_a_period_is_the_day_or_month_of_the_zone(kind: str, now: str, zone: str, start: str, end: str) -> None:
    assert period(kind, utc(now), zone) == (utc(start), utc(end))


@settings(deadline=None)
@given(KINDS, MOMENTS, ZONES)
def test_a_period_covers_its_moment_and_meets_the_next(kind: str, now: datetime, zone: str) -> None:
    start, end = period(kind, now, zone)
    assert start <= now < end
    assert period(kind, start, zone) == (start, end)
    assert period(kind, end, zone)[0] == end
    assert period(kind, end - timedelta(microseconds=1), zone) == (start, end)


@settings(deadline=None)
@given(MOMENTS, ZONES)
def test_a_day_begins_at_the_first_moment_of_its_date(now: datetime, zone: str) -> None:
    start, _ = period("daily", now, zone)
    tz = ZoneInfo(zone)
    assert start.astimezone(tz).date() == now.astimezone(tz).date()
    assert (start - timedelta(microseconds=1)).astimezone(tz).date() < now.astimezone(tz).date()


def test_moving_zones_ends_no_day_early() -> None:
    ended = utc("2026-03-10T00:00")
    assert period("demo", ended, "America/New_York", after=ended) == (ended, utc("2026-03-11T04:00"))
    assert period("demo", ended, "Asia/Tokyo", after=ended) == (ended, utc("2026-03-11T15:00"))


def test_a_month_that_moves_by_hours_stays_one() -> None:
    ended = utc("2026-02-01T00:00")
    assert period("monthly", ended, "Asia/Tokyo", after=ended) == (ended, utc("2026-02-28T15:00"))
    assert period("monthly", ended, "America/New_York", after=ended) == (ended, utc("2026-03-01T05:00"))


@settings(deadline=None)
@given(KINDS, MOMENTS, st.lists(ZONES, min_size=2, max_size=6))
def test_whoever_moves_meets_no_more_periods_than_whoever_stays(kind: str, now: datetime, zones: list[str]) -> None:
    shortest = SHORTEST_MONTH if kind.startswith("monthly") else SHORTEST_DAY
    _, end = period(kind, now, zones[0])
    for zone in zones[1:]:
        start, following = period(kind, end, zone, after=end)
        assert start == end
        assert following - start >= shortest
        end = following
