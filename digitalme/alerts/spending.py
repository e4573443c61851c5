"""Tell people of a day that costs much more than theirs usually do, while it is still that day."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncHour

from digitalme.accounts.models import User
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from digitalme.notifications.notices import Message
from usage.models import DailyUsage, HourlyUsage, RollupMark, UsageRecord
from usage.rollups import hour_of

# How far back a person's own days are looked at, and how many of them must have cost something.
DAYS, FEWEST_DAYS = 28, 5
# Today is unusual from three times the usual on, if it beats the dearest day by a fifth and by a dollar at least.
TIMES_USUAL, TIMES_DEAREST, LEAST = Decimal(3), Decimal("1.2"), Decimal(1)
AT_ONCE = 500
_LONGEST_DAY = timedelta(hours=25)

Spent = dict[UUID, Decimal]


def unusual(today: Decimal, days: Sequence[Decimal]) -> Decimal | None:
    """Return what a day usually costs, if today is far from it; else None.

    `days` are the costs of the days before today, in US dollars; those without cost say nothing about how much one
    spends when one does. With few days of any cost nothing is usual yet.
    """
    spent = [one for one in days if one > 0]
    if len(spent) < FEWEST_DAYS:
        return None
    usual = median(spent)
    bound = max(usual * TIMES_USUAL, max(spent) * TIMES_DEAREST, max(spent) + LEAST)
    return usual if today >= bound else None


def run(*, now: datetime) -> int:
    """Tell everybody whose day is unusual, once a day; return how many were told. Safe to run twice.

    It reads the rollups, and of the records only those that are in none yet.
    """
    spenders = sorted(_spenders(now))
    return sum(_tell_of(spenders[at : at + AT_ONCE], now) for at in range(0, len(spenders), AT_ONCE))


def _spenders(now: datetime) -> Iterable[UUID]:
    """Return who spent enough within the longest day for it to matter."""
    spent: Spent = {}
    for rows in (_rolled(now), _tail(now)):
        for user_id, cost in rows.values_list("user_id").annotate(Sum("cost")):
            spent[user_id] = spent.get(user_id, Decimal(0)) + (cost or 0)
    return [user_id for user_id, cost in spent.items() if cost >= LEAST]


def _tell_of(user_ids: Collection[UUID], now: datetime) -> int:
    people = list(User.objects.filter(pk__in=user_ids, is_active=True))
    today, before = _of_today(people, now), _of_days(people, now)
    told = 0
    for person in people:
        usual = unusual(today[person.pk], before[person.pk])
        if usual is not None:
            told += notices.tell([person.pk], _message(person, today[person.pk], usual, now), now=now)
    return told


def _of_today(people: Iterable[User], now: datetime) -> Spent:
    """Return what each spent since midnight where they are. An hour belongs to the day that it begins in."""
    begins = {one.pk: hour_of(_midnight(one, now)) for one in people}
    found = dict.fromkeys(begins, Decimal(0))
    tail = _tail(now).annotate(hour=TruncHour("timestamp", tzinfo=UTC))
    for rows in (_rolled(now), tail):
        hours = rows.filter(user_id__in=begins).values_list("user_id", "hour").annotate(Sum("cost"))
        for user_id, hour, cost in hours:
            if hour >= begins[user_id]:
                found[user_id] += cost or Decimal(0)
    return found


def _of_days(people: Iterable[User], now: datetime) -> Mapping[UUID, list[Decimal]]:
    """Return what the days before today cost each of them."""
    todays = {one.pk: _today(one, now) for one in people}
    found: dict[UUID, list[Decimal]] = {one: [] for one in todays}
    since = min(todays.values(), default=now.date()) - timedelta(days=DAYS)
    rows = DailyUsage.objects.filter(user_id__in=todays, day__gte=since).order_by()
    for user_id, day, cost in rows.values_list("user_id", "day").annotate(Sum("cost")):
        if todays[user_id] - timedelta(days=DAYS) <= day < todays[user_id]:
            found[user_id].append(cost or Decimal(0))
    return found


def _rolled(now: datetime) -> QuerySet[HourlyUsage]:
    return HourlyUsage.objects.filter(hour__gte=hour_of(now - _LONGEST_DAY)).order_by()


def _tail(now: datetime) -> QuerySet[UsageRecord]:
    """The records that are in no rollup yet, of one day at most."""
    mark = RollupMark.objects.filter(id=1).values_list("rolled_until", flat=True).first()
    since = max(mark, now - _LONGEST_DAY) if mark else now - _LONGEST_DAY
    return UsageRecord.objects.filter(timestamp__gte=since).order_by()


def _today(person: User, now: datetime) -> date:
    return now.astimezone(ZoneInfo(person.time_zone)).date()


def _midnight(person: User, now: datetime) -> datetime:
    local = now.astimezone(ZoneInfo(person.time_zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _message(person: User, today: Decimal, usual: Decimal, now: datetime) -> Message:
    return Message(
        kind=Kind.SPEND,
        level=Level.WARN,
        title=f"Unusual spending today: ${today:,.2f}",
        text=f"Your calls cost ${today:,.2f} today so far; on other days it is about ${usual:,.2f}. If you do not know "
        "why, look at your latest calls, and revoke a token that you do not know.",
        link="/settings/usage/",
        key=f"spend:{_today(person, now)}",
        facts={"today": today, "usual": usual},
    )
