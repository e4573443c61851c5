"""Forecasts that can still be told."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import DateTimeField, UUIDField

from digitalme.database import as_time, as_uuid, parameters
from digitalme.forecasts.models import Forecast
from digitalme.statements import Rows, Statement

_COLUMNS = [field.attname for field in Forecast._meta.concrete_fields]
_READ: dict[str, Any] = {
    field.attname: as_time if isinstance(field, DateTimeField) else as_uuid
    for field in Forecast._meta.concrete_fields
    if isinstance(field, DateTimeField) or isinstance(getattr(field, "target_field", field), UUIDField)
}
WIDTH = len(_COLUMNS)
_OF_OWNER = "SELECT {} FROM forecasts_forecast WHERE owner_id = %s".format(  # noqa: S608 (names of our own columns)
    ", ".join(f'"{name}"' for name in _COLUMNS)
)


def of_owner(owner_id: UUID) -> Statement[Rows]:
    """Ask for all rows of a user, team or access token: as wide as WIDTH, to be read by `from_rows`."""
    return Statement(_OF_OWNER, parameters([owner_id]), tuple)


def from_rows(rows: Rows, *, now: datetime) -> list[Forecast]:
    """Return those of these rows that are of a running period and not too old. Rows of nothing are passed over."""
    found = [
        Forecast(**{name: _READ.get(name, _as_it_is)(value) for name, value in zip(_COLUMNS, row, strict=True)})
        for row in rows
        if row[0] is not None
    ]
    return [one for one in found if one.holds(now)]


def of_user(user_id: UUID, *, now: datetime) -> list[Forecast]:
    """Return what is foreseen of a user's running periods, those of their access tokens included: one query."""
    return [one for one in Forecast.objects.filter(user_id=user_id) if one.holds(now)]


def _as_it_is(value: Any) -> Any:
    return value
