from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from controlplane.access.roles import BUILT_IN


def make(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    role = apps.get_model("access", "Role")
    for slug, (name, description, verbs) in BUILT_IN.items():
        values = {"name": name, "description": description, "verbs": sorted(verbs), "built_in": True}
        role.objects.update_or_create(slug=slug, defaults=values)


class Migration(migrations.Migration):
    dependencies = [("access", "0003_grants")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
