from datetime import UTC, datetime

from django.db import migrations, models

from usage import partitions


def divide(apps, schema_editor):
    """On PostgreSQL, months take the place of the one table, with all that is in it."""
    partitions.divide(now=datetime.now(UTC))


class Migration(migrations.Migration):

    dependencies = [
        ('usage', '0005_rollups_by_token_and_tag'),
    ]

    operations = [
        migrations.AddField(
            model_name='rollupmark',
            name='kept_from',
            field=models.DateTimeField(help_text='Of the hours before it records are deleted (retention).', null=True),
        ),
        migrations.RunPython(divide, migrations.RunPython.noop),
    ]
