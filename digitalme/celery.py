"""The Celery application and the whole beat schedule."""

import logging.config
import os
from typing import Any

from celery import Celery, signals
from celery.schedules import crontab
from django.conf import settings

from digitalme import logs

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")

app = Celery("digitalme")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect  # type: ignore[untyped-decorator]  # it comes without types
def set_up_logs(**facts: Any) -> None:
    """Write the product's logs, with their redaction: Celery would add handlers of its own."""
    logging.config.dictConfig(settings.LOGGING)


@signals.task_prerun.connect  # type: ignore[untyped-decorator]
def begin(**facts: Any) -> None:
    """A task's log watches for the task's own secrets only."""
    logs.forget()


# Everything that runs by the clock. Correctness never waits for one of these: periods come into
# being at the first call in them, and a page reads what has not been rolled up yet.
app.conf.beat_schedule = {
    "sweep-expired-leases": {"task": "gateway.sweep_leases", "schedule": 20.0},
    "roll-up-usage": {"task": "usage.roll_up", "schedule": 60.0},
    "look-after-exports": {"task": "usage.look_after_exports", "schedule": 60.0},
    "tell-of-unpriced-models": {"task": "usage.tell_of_unpriced", "schedule": 600.0},
    "keep-usage-records": {"task": "usage.keep_records", "schedule": 3600.0},
    "forget-kept-keys": {"task": "transfer.forget_kept_keys", "schedule": 3600.0},
    "look-after-audit-trail": {"task": "gateway.look_after_audit_trail", "schedule": 86400.0},
    "remind-of-ends-of-keys": {"task": "apikeys.remind", "schedule": 3600.0},
    "test-stored-keys": {"task": "apikeys.recheck", "schedule": 900.0},
    "adjust-limits": {"task": "gateway.adjust_limits", "schedule": crontab(hour=0, minute=0)},
    "watch-limits": {"task": "alerts.watch_limits", "schedule": 60.0},
    "watch-keys": {"task": "alerts.watch_keys", "schedule": 60.0},
    "watch-spending": {"task": "alerts.watch_spending", "schedule": 900.0},
    "make-forecasts": {"task": "forecasts.make", "schedule": crontab(minute=5)},
    "watch-pace": {"task": "alerts.watch_pace", "schedule": 3600.0},
    "forget-reached-limits": {"task": "alerts.forget", "schedule": 86400.0},
    "deliver-notifications": {"task": "notifications.deliver", "schedule": 20.0},
    "forget-old-notifications": {"task": "notifications.forget", "schedule": 86400.0},
    "open-new-periods": {"task": "quotas.open_periods", "schedule": 300.0},
}
