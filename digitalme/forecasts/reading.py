"""Forecasts that can still be told."""

from datetime import datetime
from uuid import UUID

from digitalme.forecasts.models import Forecast


def of(owner_id: UUID, *, now: datetime) -> list[Forecast]:
    """Return what is foreseen of the running periods of a user, team or access token: one query."""
    return [one for one in Forecast.objects.filter(owner_id=owner_id) if one.holds(now)]


def of_user(user_id: UUID, *, now: datetime) -> list[Forecast]:
    """Return what is foreseen of a user's running periods, those of their access tokens included: one query."""
    return [one for one in Forecast.objects.filter(user_id=user_id) if one.holds(now)]
