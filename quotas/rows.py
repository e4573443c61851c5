"""Ids and times that hand-written SQL reads over and over: converted once."""

from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from digitalme.database import as_time


def same_id(value: Any) -> UUID:
    """Return an id as a UUID. SQLite hands it over as text."""
    return value if isinstance(value, UUID) else _id(value)


def moment(value: Any) -> datetime:
    """Return a time, which is never empty, as an aware datetime in UTC. SQLite hands it over as text."""
    return _moment(value)


@lru_cache(16384)
def _id(value: str) -> UUID:
    return UUID(value)


@lru_cache(4096)
def _moment(value: Any) -> datetime:
    found = as_time(value)
    if found is None:
        raise ValueError("This column is never empty.")
    return found
