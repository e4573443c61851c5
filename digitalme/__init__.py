"""DigitalMe: a self-hosted key vault and metered gateway."""

from digitalme.celery import app as celery_app

__all__ = ["celery_app"]
