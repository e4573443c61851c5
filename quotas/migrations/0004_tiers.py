"""The tiers Pro and Business, beside the default one that is made after every migration."""

from django.db import migrations

TIERS = {
    "pro": ("Pro", 500, 10_000, 2_000_000, 50),
    "business": ("Business", 5_000, 100_000, 20_000_000, 500),
}


def make_tiers(apps, schema_editor):
    """Make the tiers Pro and Business, unless there is one of the name; they are for administrators to change."""
    tier, limit = apps.get_model("quotas", "Tier"), apps.get_model("quotas", "Limit")
    for slug, (name, demo, daily, tokens, dollars) in TIERS.items():
        made, new = tier.objects.get_or_create(slug=slug, defaults={"name": name})
        if new:
            limit.objects.create(tier=made, type="demo", provider="*", binds="system", requests=demo)
            limit.objects.create(tier=made, type="daily", provider="", binds="system", requests=daily)
            limit.objects.create(tier=made, type="monthly", provider="", binds="system", tokens=tokens, cost=dollars)
            limit.objects.create(tier=made, type="fair_use", provider="", binds="own", requests=1_000_000)


class Migration(migrations.Migration):

    dependencies = [
        ('quotas', '0003_owners_of_limits'),
    ]

    operations = [
        migrations.RunPython(make_tiers, migrations.RunPython.noop),
    ]
