"""The jobs of warnings and deliveries."""

from digitalme.alerts import tasks as alerts
from digitalme.notifications import tasks as notifications


def test_they_may_run_when_there_is_nothing_to_do(db: None) -> None:
    jobs = (alerts.watch_limits, alerts.watch_keys, alerts.watch_spending, alerts.watch_pace, alerts.forget)
    assert [job() for job in (*jobs, notifications.deliver, notifications.forget)] == [0] * 7
