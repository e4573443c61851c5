"""Stored keys tested again by the clock: each once a day at most, and their owners told when one dies."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil

from django.db import transaction
from django.db.models import F, Q, QuerySet

from apikeys import checks, environment, grants, letters
from apikeys.models import Credential
from digitalme.errors import DigitalMeError
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Level
from providers import registry

EVERY = timedelta(days=1)
# The job's own interval. Each run takes its share of the day, so that providers are not asked all at once.
INTERVAL = timedelta(minutes=15)
USED_LATELY = timedelta(days=7)
LEAST = 5
# Not longer than until the next run.
MOST_SECONDS = 600.0

log = logging.getLogger(__name__)


def run(*, now: datetime, clock: Callable[[], float] = time.monotonic) -> int:
    """Test what is due, stored or of the environment, and tell owners of dead keys; return how many keys were tested.
    Safe to run twice: each key is taken by one run only."""
    end, tested = clock() + MOST_SECONDS, 0
    for credential in _due(now):
        if clock() >= end:
            break
        tested += test(credential, now)
    tell(now=now)
    return tested + environment.run(now=now, end=end, clock=clock)


def tell(*, now: datetime) -> int:
    """Tell the owners of keys that were found dead; return about how many. Safe to run twice: each is told once."""
    untold = Credential.objects.filter(untold=True, is_active=True, status__in=checks.DEAD)
    return sum(_tell(credential, now) for credential in untold.order_by("id"))


def _watched(now: datetime) -> QuerySet[Credential]:
    """The keys that are worth a question: in use, or never asked about, and not known to be dead."""
    known = [provider.slug for provider in registry.all_providers() if provider.needs_key]
    wanted = Q(checked_at=None) | Q(last_used_at__gte=now - USED_LATELY)
    return Credential.objects.filter(wanted, is_active=True, provider__in=known).exclude(status__in=checks.DEAD)


def _due(now: datetime) -> list[Credential]:
    watched = _watched(now)
    share = max(LEAST, ceil(watched.count() * (INTERVAL / EVERY) * 1.25))
    due = watched.filter(Q(checked_at=None) | Q(checked_at__lte=now - EVERY)).select_related("salt")
    return list(due.order_by(F("checked_at").asc(nulls_first=True), "id")[:share])


def test(credential: Credential, now: datetime) -> bool:
    """Test one key, which comes with its salt, unless another run just took it; tell whether it was tested."""
    unchanged = Credential.objects.filter(id=credential.id, version=credential.version)
    at = credential.checked_at
    if not unchanged.filter(checked_at=at).update(checked_at=now):
        return False
    try:
        checks.check_again(credential, now=now)
    except DigitalMeError as problem:
        log.warning("Key %s could not be tested: %s", credential.id, problem.code)
    return True


@transaction.atomic
def _tell(credential: Credential, now: datetime) -> bool:
    if not Credential.objects.filter(id=credential.id, untold=True).update(untold=False):
        return False
    by_consent = grants.consent_of(credential) is not None
    name, mending = ("access_ended", "connected again") if by_consent else ("key_rejected", "replaced")
    text = f"{credential.status_detail} Calls that use it fail until it is {mending}."
    return letters.tell(name, credential, kind=Kind.KEY_FAILING, level=Level.BAD, text=text, now=now)
