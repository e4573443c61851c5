"""The Celery application and the whole beat schedule."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")

app = Celery("digitalme")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Everything that runs by the clock. Correctness never waits for one of these: periods come into
# being at the first call in them, and a page reads what has not been rolled up yet.
app.conf.beat_schedule = {
    "sweep-expired-leases": {"task": "gateway.sweep_leases", "schedule": 20.0},
    "roll-up-usage": {"task": "usage.roll_up", "schedule": 60.0},
    "forget-kept-keys": {"task": "transfer.forget_kept_keys", "schedule": 3600.0},
    "open-new-periods": {"task": "quotas.open_periods", "schedule": 300.0},
}
