"""How money, amounts and times are written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from digitalme.web.templatetags import formats

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (None, "unpriced"),
        (Decimal(0), "$0.00"),
        (Decimal("0.005"), "$0.0050"),
        (Decimal("0.000001234"), "$0.0000012"),
        (Decimal("0.01"), "$0.01"),
        (Decimal("61.4"), "$61.40"),
        (Decimal("1234567.899"), "$1,234,567.90"),
    ],
)
def test_money_shows_cents_or_two_digits(amount: Decimal | None, written: str) -> None:
    assert formats.money(amount) == written


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (None, "0"),
        (950, "950"),
        (9_500, "9,500"),
        (12_345, "12.3\xa0k"),
        (2_000_000, "2\xa0M"),
        (4_800_000_000, "4.8\xa0B"),
    ],
)
def test_big_numbers_are_shortened(amount: int | None, written: str) -> None:
    assert formats.short(amount) == written


@pytest.mark.parametrize(
    ("left", "written"),
    [
        (timedelta(seconds=1), "1 min"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(hours=6, minutes=12), "6 h 12 min"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
        (timedelta(seconds=-5), "0 min"),
    ],
)
def test_the_time_left_is_rounded_up_to_the_minute(left: timedelta, written: str) -> None:
    assert formats.until(NOW + left, NOW) == written


def test_a_fingerprint_is_grouped() -> None:
    assert formats.fingerprint("9F2CA41BXY" + "Z" * 42) == "9F2CA·41BXY"
    assert formats.fingerprint("") == ""
