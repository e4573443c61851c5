"""The limits that everybody has who is in no tier."""

from decimal import Decimal

from django.db import migrations

LIMITS = [
    {"type": "demo", "provider": "*", "binds": "system", "requests": 50},
    {"type": "daily", "provider": "", "binds": "system", "requests": 1_000},
    {"type": "monthly", "provider": "", "binds": "system", "tokens": 2_000_000, "cost": Decimal(10)},
    {"type": "fair_use", "provider": "", "binds": "own", "requests": 1_000_000},
]


def make(apps, schema_editor):
    Tier, Limit = apps.get_model("quotas", "Tier"), apps.get_model("quotas", "Limit")
    if Tier.objects.filter(is_default=True).exists():
        return
    tier = Tier.objects.create(slug="free", name="Free", is_default=True)
    for limit in LIMITS:
        Limit.objects.create(tier=tier, **limit)


def remove(apps, schema_editor):
    """Leave a tier that users are in: taking the tables away is the earlier migrations' part."""
    apps.get_model("quotas", "Tier").objects.filter(slug="free", user=None).delete()


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0002_relations"),
        ("quotas", "0001_initial"),
    ]

    operations = [migrations.RunPython(make, remove)]
