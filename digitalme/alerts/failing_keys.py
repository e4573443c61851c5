"""Keys that providers rejected in calls: tested at once, so that their owners hear of it before the day is over.

One rejected call alone proves nothing about a key, since providers also say "unauthorized" of a single thing that is
asked for. The test decides.
"""

from datetime import datetime, timedelta

from django.db.models import F, Q

from apikeys import checks, rechecks
from apikeys.models import Credential
from usage.models import UsageRecord

LOOKED_AT = timedelta(minutes=5)
# A key that is rejected again and again and yet passes its test is not tested more often.
REST = timedelta(hours=1)
AT_ONCE = 5
_UNAUTHORIZED = 401


def run(*, now: datetime) -> int:
    """Test keys that were just rejected, and tell owners of dead ones; return how many were tested. Safe to run twice:
    each key is taken by one run only."""
    rejected = UsageRecord.objects.filter(
        timestamp__gte=now - LOOKED_AT, http_status=_UNAUTHORIZED, credential_id__isnull=False
    )
    ids = {one for one in rejected.order_by().values_list("credential_id", flat=True).distinct() if one}
    if not ids:
        return 0
    rested = Q(checked_at=None) | Q(checked_at__lte=now - REST)
    due = Credential.objects.filter(rested, id__in=ids, is_active=True).exclude(status__in=checks.DEAD)
    tested = 0
    for credential in due.select_related("salt").order_by(F("checked_at").asc(nulls_first=True), "id")[:AT_ONCE]:
        tested += rechecks.test(credential, now)
    rechecks.tell(now=now)
    return tested
