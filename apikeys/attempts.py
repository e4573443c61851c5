"""How many tests of keys may be asked for: this server is no place to find out which of many found keys work.

Decided before the provider is asked, under a lock in the database: a slot is taken, and given back if the provider did
not reject the key. So many tries at once get no further than the same tries one by one, and nothing that is
deleted and entered anew is forgotten.
"""

from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apikeys.models import KeyTest, KeyTestLock
from digitalme.accounts.models import User
from digitalme.audit import context
from digitalme.errors import QuotaExceeded
from providers.outcomes import Category
from providers.registry import Provider

REJECTIONS = 3
WINDOW = timedelta(minutes=15)
HOUR = timedelta(hours=1)
# A test takes 10 seconds at most: one that is older and still open lost its process, and counts as rejected.
RUNNING = timedelta(seconds=15)
COMMAND_LINE = "command"
# What the provider says against a key. Its outages, rate limits and empty accounts are nobody's guess.
_REJECTED = frozenset({Category.INVALID, Category.EXPIRED, Category.LIMITED})


def begin(actor: User | None, provider: Provider, *, now: datetime) -> KeyTest:
    """Take a slot for one test. Without `actor` it is whoever is signed in, or the command line.

    Raises QuotaExceeded, which says when to try again: three rejections of a person's tests with this provider
    within 15 minutes, or too many tests from this address, or of all people, within an hour. The counts are
    the asking person's own: nobody uses up another's.
    """
    who, origin = _name(actor), context.current()
    address = origin.address if origin else ""
    with transaction.atomic():
        KeyTestLock.objects.get_or_create(id=1)
        KeyTestLock.objects.select_for_update().get(id=1)
        _check_rejections(who, provider, now)
        if who != COMMAND_LINE:
            lately = KeyTest.objects.filter(started_at__gt=now - HOUR).exclude(actor=COMMAND_LINE)
            if address:
                _check_hour("from your network address", lately.filter(address=address), _per_address(), now)
            _check_hour("on this server", lately, settings.KEY_TESTS_PER_HOUR, now)
        return KeyTest.objects.create(actor=who, provider=provider.slug, address=address, started_at=now)


def end(test: KeyTest, category: Category, *, asked: bool) -> None:
    """Note what came of a test. One for which the provider was not `asked` was none."""
    if not asked:
        test.delete()
        return
    test.state = KeyTest.State.REJECTED if category in _REJECTED else KeyTest.State.PASSED
    test.save(update_fields=["state"])


def forget(*, now: datetime) -> int:
    """Delete what counts for nothing any more; return how many rows."""
    return KeyTest.objects.filter(started_at__lte=now - HOUR).delete()[0]


def _name(actor: User | None) -> str:
    origin = context.current()
    person: Any = actor or (origin.person() if origin else None)
    return f"user:{person.pk}" if person is not None and person.is_authenticated else COMMAND_LINE


def _per_address() -> int:
    return int(settings.KEY_TESTS_PER_ADDRESS)


def _check_rejections(who: str, provider: Provider, now: datetime) -> None:
    counted = KeyTest.objects.filter(actor=who, provider=provider.slug, started_at__gt=now - WINDOW)
    found = list(counted.exclude(state=KeyTest.State.PASSED).order_by("started_at").values_list("started_at", "state"))
    if len(found) < REJECTIONS:
        return
    running = [at for at, state in found if state == KeyTest.State.RUNNING and at > now - RUNNING]
    if len(found) - len(running) < REJECTIONS:
        raise _refusal(f"Other tests of your {provider.name} keys are running.", running[0] + RUNNING, now)
    raise _refusal(
        f"{provider.name} rejected {REJECTIONS} of your keys within {WINDOW.seconds // 60} minutes, so it is not asked "
        "for a while. What you save is kept and used all the same.",
        found[-REJECTIONS][0] + WINDOW,
        now,
    )


def _check_hour(where: str, lately: QuerySet[KeyTest], most: int, now: datetime) -> None:
    if lately.count() < most:
        return
    # There is room again once all but most - 1 of them are an hour old.
    newest = lately.order_by("-started_at").values_list("started_at", flat=True)
    raise _refusal(f"Too many keys were tested {where} within the last hour.", newest[most - 1] + HOUR, now)


def _refusal(message: str, at: datetime, now: datetime) -> QuotaExceeded:
    seconds = max(1, ceil((at - now).total_seconds()))
    again = timezone.localtime(at + timedelta(minutes=1) - timedelta(microseconds=1))
    when = f" Test again after {again:%H:%M}." if seconds > 60 else f" Test again in {seconds} seconds."
    return QuotaExceeded(message + when, retry_after=seconds, retry_at=at.isoformat(timespec="seconds"))
