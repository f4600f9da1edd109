"""The three environments that nearly everybody has; they can be renamed and removed."""

from django.db import migrations

NAMES = ("Development", "Staging", "Production")


def seed(apps, schema_editor):
    environment = apps.get_model("hosts", "Environment")
    for position, name in enumerate(NAMES):
        environment.objects.get_or_create(slug=name.lower(), defaults={"name": name, "position": position})


class Migration(migrations.Migration):
    dependencies = [("hosts", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
