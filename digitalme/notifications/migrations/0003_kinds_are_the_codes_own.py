from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0002_alter_notification_kind")]

    operations = [
        migrations.AlterField(
            model_name="notification",
            name="kind",
            field=models.CharField(help_text="One of kinds.Kind.", max_length=32),
        ),
    ]
