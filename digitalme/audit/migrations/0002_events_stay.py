"""Have the database refuse to change events, and to delete them before their time."""

from django.db import migrations

from digitalme.audit import triggers


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(triggers.create, triggers.remove)]
