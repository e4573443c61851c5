"""Enter and remove the house's prices; every process prices by them within a second."""

from datetime import UTC, datetime, time

from django.db import transaction

from digitalme.database import to_nano
from providers import definitions
from providers.models import ModelPrice
from providers.prices import Agreed, Prices


def read() -> Prices:
    """Return all prices by provider: exact names first, then the longer beginnings, of each the latest first."""
    found: dict[str, list[Agreed]] = {}
    for row in ModelPrice.objects.all():
        found.setdefault(row.provider, []).append(_agreed(row))
    return {
        slug: tuple(sorted(rows, key=lambda one: (one.model.endswith("*"), -len(one.model), -one.minute)))
        for slug, rows in found.items()
    }


def _agreed(row: ModelPrice) -> Agreed:
    begins = datetime.combine(row.valid_from, time(), UTC)
    plain = to_nano(row.input) if row.input is not None else 0
    return Agreed(
        model=row.model,
        minute=int(begins.timestamp()) // 60,
        version=f"house {row.pk} of {row.valid_from}",
        input=None if row.input is None else plain,
        output=to_nano(row.output) if row.output is not None else 0,
        cached=plain if row.cached is None else to_nano(row.cached),
        cache_write=plain if row.cache_write is None else to_nano(row.cache_write),
        search=to_nano(row.search) * 1_000 if row.search is not None else 0,
        each=None if row.each is None else to_nano(row.each),
    )


@transaction.atomic
def add(row: ModelPrice) -> None:
    """Enter a price."""
    row.save(force_insert=True)
    definitions.announce()


@transaction.atomic
def remove(row: ModelPrice) -> None:
    """Remove a price. What was priced by it stays, until it is priced again."""
    row.delete()
    definitions.announce()
